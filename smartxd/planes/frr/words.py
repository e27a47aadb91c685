"""FRR's statements: which part of the state a line is of, and what of it the line sets. Pure.

A statement is seen as a path: the line itself behind the headers of the sections that it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

Path = tuple[str, ...]
"""A statement behind the headers of the sections that it is in, in FRR's own spacing."""

FAMILIES = {
    "ipv4": "address-family ipv4 unicast",
    "ipv6": "address-family ipv6 unicast",
    "evpn": "address-family l2vpn evpn",
}
"""The header of each family's section."""
_BY_HEADER = {header: family for family, header in FAMILIES.items()}

COMMUNITY_LISTS = {
    "standard": "community-list",
    "extended": "extcommunity-list",
    "large": "large-community-list",
}
"""What each type of list is called."""
_BY_LIST = {word: type for type, word in COMMUNITY_LISTS.items()}

_UNICAST = {"ip": "ipv4", "ipv6": "ipv6"}
_SETTINGS = ("bgp router-id ", "bgp cluster-id ", "bgp ebgp-requires-policy")
_EVPN_SETTINGS = ("advertise-all-vni", "advertise-svi-ip")
_POLICIES = ("route-map", "prefix-list", "filter-list")
_GRACEFUL = ("graceful-restart", "graceful-restart-helper", "graceful-restart-disable")
_VALUELESS = ("on-match goto", "set as-path prepend")
_LONG = frozenset({"ip", "ipv6", "evpn", "extcommunity"})
"""Second words of a map's ``match`` and ``set`` that need a third to say what is meant."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a line says."""

    part: str
    """The id of the part that it is of."""
    field: str
    """What of the part it sets, or the part itself where empty: a line of the same field replaces it."""
    value: str


@lru_cache(maxsize=1 << 16)
def read(path: Path) -> Statement | None:
    """What a statement or its negation is about; None where it is of nothing that this plane makes."""
    words = tuple(path[-1].removeprefix("no ").split())
    if len(path) == 1:
        return _top(words)
    head = tuple(path[0].split())
    match head:
        case ("router", "bgp", _):
            return _inner(path[0], path[1:-1], words)
        case ("route-map", name, _, seq):
            key = _clause(words)
            return _statement(f"route-map {name}", f"{seq} {key}", " ".join(words), key)
        case ("bfd",):
            profile = words[1] if len(path) == 2 else path[1].removeprefix("profile ")
            if not path[1].removeprefix("no ").startswith("profile "):
                return None
            field = "" if len(path) == 2 else words[0]
            return Statement(f"bfd-profile {profile}", field, " ".join(words[1:]))
    return None


def part_of(path: Path) -> str | None:
    """The id of the part that a statement or its negation is of."""
    found = read(path)
    return found.part if found is not None else None


def subject(path: Path) -> Path:
    """What a statement sets, so that another of the same subject replaces it."""
    found = read(path)
    if found is None or found.part.startswith("redistribute "):  # keeps the words that are not given again
        return path
    return found.part, found.field


def entry(path: Path) -> Path | None:
    """What an entry of a list says, whatever its number; None for other statements.

    FRR takes no notice of an entry that says what another of the list says.
    """
    found = read(path)
    if len(path) > 1 or found is None or found.field.split()[-2:-1] != ["seq"]:
        return None
    return found.part, found.value


def negated(statement: str) -> str:
    """The statement that takes another back; some FRR knows without their values only."""
    if statement.startswith("no "):
        return statement.removeprefix("no ")
    return f"no {next((short for short in _VALUELESS if statement.startswith(f'{short} ')), statement)}"


def removal(part: str, paths: frozenset[Path]) -> tuple[Path, ...]:  # noqa: PLR0911 (a line per kind)
    """The commands that take a whole part away, of which ``paths`` are the lines."""
    kind, _, rest = part.partition(" ")
    name = rest.rpartition(" ")[2]
    match kind:
        case "prefix-list":
            return ((f"no {'ip' if rest.startswith('ipv4 ') else 'ipv6'} prefix-list {name}",),)
        case "as-path-list":
            return ((f"no bgp as-path access-list {name}",),)
        case "community-list":
            styles = sorted({path[0].split()[2] for path in paths})
            return tuple((f"no bgp {COMMUNITY_LISTS[rest.split()[0]]} {style} {name}",) for style in styles)
        case "route-map":
            return ((f"no route-map {name}",),)
        case "bfd-profile":
            return (("bfd", f"no profile {name}"),)
        case "router":
            return ((f"no {part}",),)
        case "neighbor":
            section = next(iter(paths))[0]
            unnumbered = any(_is_unnumbered(path[-1].split()) for path in paths)
            return ((section, f"no neighbor {name}{' interface' if unnumbered else ''}"),)
        case "vni":
            return tuple((*path[:2], f"no {part}") for path in sorted(paths) if path[-1] == part)
    return tuple((*path[:-1], negated(path[-1])) for path in sorted(paths))


def _is_unnumbered(words: list[str]) -> bool:
    """Whether a line makes a link a neighbour; one that is an address may be bound to a link."""
    return words[2:3] == ["interface"] and words[3:4] in ([], ["remote-as"], ["peer-group"], ["v6only"])


def closer(header: str) -> str:
    """The line that leaves a section."""
    if header.startswith("address-family "):
        return "exit-address-family"
    return "exit-vni" if header.startswith("vni ") else "exit"


def _statement(part: str, field: str, text: str, start: str) -> Statement:
    """The statement of a line whose value is what follows the words of its key."""
    return Statement(part, field, text.removeprefix(start).strip())


def _top(words: tuple[str, ...]) -> Statement | None:  # noqa: PLR0911 (a line per kind)
    match words:
        case ("router", "bgp", asn):
            return Statement(f"router bgp {asn}", "", asn)
        case ("ip" | "ipv6" as version, "prefix-list", name, *rest):
            return _entry(f"prefix-list {_UNICAST[version]} {name}", rest)
        case ("bgp", "as-path", "access-list", name, *rest):
            return _entry(f"as-path-list {name}", rest)
        case ("bgp", list, style, name, *rest) if list in _BY_LIST:
            found = _entry(f"community-list {_BY_LIST[list]} {name}", rest)
            return Statement(found.part, f"{style} {found.field}".rstrip(), found.value)
        case ("route-map", name):
            return Statement(f"route-map {name}", "", "")
        case ("route-map", name, action, seq):
            return Statement(f"route-map {name}", seq, action)
        case ("ip" | "ipv6", "route", prefix, *rest):
            table = f" table {rest[rest.index('table') + 1]}" if "table" in rest[:-1] else ""
            return Statement(f"route {prefix}{table}", f"via {' '.join(rest)}", "")
    return None


def _entry(part: str, rest: list[str]) -> Statement:
    """A line of a list: an entry by its number, or the list's description."""
    match rest:
        case ["seq", seq, *value]:
            return Statement(part, f"seq {seq}", " ".join(value))
        case [field, *value]:
            return Statement(part, field, " ".join(value))
    return Statement(part, "", "")


def _clause(words: tuple[str, ...]) -> str:
    """What a line within an entry of a route map sets."""
    match words:
        case ("match" | "set", second, third, *_) if second in _LONG:
            next_hop = words[2:4] if third == "next-hop" and words[0] == "set" else ()
            kind = " ".join(w for w in next_hop[1:] if w in ("global", "peer-address", "unchanged"))
            return f"{words[0]} {second} {third} {kind}".rstrip()
        case ("match" | "set", second, *_):
            return f"{words[0]} {second}"
    return words[0]


def _inner(  # noqa: PLR0911 (a line per kind)
    section: str, above: Path, words: tuple[str, ...]
) -> Statement | None:
    """A line within a ``router bgp`` section."""
    text = " ".join(words)
    if above and above[0] not in _BY_HEADER:
        return None
    family = _BY_HEADER[above[0]] if above else ""
    match words:
        case ("neighbor", name, *rest) if len(above) < 2:
            key = _attribute(rest)
            field = f"{family} {key}".strip()
            return Statement(f"neighbor {name}", field, _attribute_value(rest, key))
        case ("network", prefix, *rest) if family in ("ipv4", "ipv6"):
            return Statement(f"network {prefix}", "", " ".join(rest))
        case ("redistribute", source, *rest) if family in ("ipv4", "ipv6"):
            return Statement(f"redistribute {family} {source}", "", " ".join(rest))
        case ("vni", number) if family == "evpn" and len(above) == 1:
            return Statement(f"vni {number}", "", "")
        case ("maximum-paths", *rest) if family in ("ipv4", "ipv6"):
            key = "maximum-paths ibgp" if rest[:1] == ["ibgp"] else "maximum-paths"
            return _statement(section, f"{family} {key}", text, key)
        case (("advertise-all-vni" | "advertise-svi-ip") as setting,) if family == "evpn" and len(above) == 1:
            return Statement(section, setting, "")
    if len(above) == 2 and above[1].startswith("vni "):
        return Statement(above[1], text if words[0] == "route-target" else words[0], " ".join(words[1:]))
    if not above and text.startswith(_SETTINGS):
        return _statement(section, words[1], text, f"bgp {words[1]}")
    return None


def _attribute(rest: list[str]) -> str:
    """What of a neighbour a line sets."""
    match rest:
        case ["timers", "connect", *_] | ["bfd", "profile", *_]:
            return " ".join(rest[:2])
        case [policy, _, direction] if policy in _POLICIES:
            return f"{policy} {direction}"
        case ["send-community", *_]:
            return " ".join(rest)
        case [word, *_] if word in _GRACEFUL:
            return "graceful-restart"
    return rest[0] if rest else ""


def _attribute_value(rest: list[str], key: str) -> str:
    if rest and rest[0] in _POLICIES and len(rest) == 3:
        return rest[1]
    if rest and rest[0] in _GRACEFUL:
        return rest[0].removeprefix("graceful-restart").removeprefix("-")
    return " ".join(rest[len(key.split()) :])


def in_speaker(part: str) -> bool:
    """Whether a part is the speaker or stands in its section."""
    return part.startswith(("router ", "network ", "redistribute ", "vni ", "neighbor "))


def opens(statement: str) -> bool:
    """Whether a statement opens a section that smartxd writes."""
    match statement.split():
        case (
            ["router", "bgp", _]
            | ["route-map", _, _, _]
            | ["profile", _]
            | ["vni", _]
            | ["address-family", *_]
        ):
            return True
    return False
