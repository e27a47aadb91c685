"""Lists that policies match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smartxd.planes.frr.render.text import description
from smartxd.planes.frr.state import ASPathList, CommunityList, PrefixEntry, PrefixList
from smartxd.planes.frr.words import COMMUNITY_LISTS, Path

_NAMES: dict[tuple[int, ...], str] = {
    (0, 0): "internet",
    (0xFFFF, 0): "graceful-shutdown",
    (0xFFFF, 1): "accept-own",
    (0xFFFF, 2): "route-filter-translated-v4",
    (0xFFFF, 3): "route-filter-v4",
    (0xFFFF, 4): "route-filter-translated-v6",
    (0xFFFF, 5): "route-filter-v6",
    (0xFFFF, 6): "llgr-stale",
    (0xFFFF, 7): "no-llgr",
    (0xFFFF, 8): "accept-own-nexthop",
    (0xFFFF, 666): "blackhole",
    (0xFFFF, 0xFF01): "no-export",
    (0xFFFF, 0xFF02): "no-advertise",
    (0xFFFF, 0xFF03): "local-AS",
    (0xFFFF, 0xFF04): "no-peer",
}
"""The communities that FRR prints by a name, however they were given; ``internet`` is FRR's own."""
_NUMBERS = {name: number for number, name in _NAMES.items()}


def prefix_list(part: PrefixList) -> tuple[Path, ...]:
    """The list, its description first: what is cut off is marked."""
    start = f"{'ip' if part.family == 'ipv4' else 'ipv6'} prefix-list {part.name}"
    return (
        (f"{start} description {description(part.owner)}",),
        *_entries(start, ((entry.seq, _prefix(entry)) for entry in part.entries)),
    )


def _entries(start: str, entries: Iterable[tuple[int, str]]) -> Iterator[Path]:
    """A line for each entry, but for one that repeats another: FRR takes no notice of it."""
    said: set[str] = set()
    for seq, text in entries:
        if text not in said:
            yield (f"{start} seq {seq} {text}",)
        said.add(text)


def _prefix(entry: PrefixEntry) -> str:
    words = f"{entry.action} {entry.prefix}"
    if entry.ge is not None:
        words += f" ge {entry.ge}"
    return f"{words} le {entry.le}" if entry.le else words  # le 0 FRR takes for none, which is the same


def community_list(part: CommunityList) -> tuple[Path, ...]:
    """The list; FRR keeps lists of communities and of expressions apart."""
    style = "expanded" if any(entry.regex for entry in part.entries) else "standard"
    entries = (
        (entry.seq, f"{entry.action} {_folded(entry.regex) or ' '.join(communities(entry.communities))}")
        for entry in part.entries
    )
    return tuple(_entries(f"bgp {COMMUNITY_LISTS[part.type]} {style} {part.name}", entries))


def as_path_list(part: ASPathList) -> tuple[Path, ...]:
    """The list."""
    entries = ((entry.seq, f"{entry.action} {_folded(entry.regex)}") for entry in part.entries)
    return tuple(_entries(f"bgp as-path access-list {part.name}", entries))


def communities(given: tuple[str, ...]) -> tuple[str, ...]:
    """Communities of one type as FRR keeps them: each once, in the order of their bytes, by name."""
    found = {_number(community): community for community in given}
    return tuple(_NAMES.get(number, found[number]) for number in sorted(found))


def _number(community: str) -> tuple[int, ...]:
    """The bytes of a community; those of an extended one begin with its type (RFC 4360, RFC 5668)."""
    if community in _NUMBERS:
        return _NUMBERS[community]
    kind, _, value = community.rpartition(" ")
    numbers = tuple(int(n) for n in value.replace(".", ":").split(":"))
    if not kind:
        return numbers
    type = 1 if "." in value else 2 if numbers[0] > 0xFFFF else 0
    return (type, 2 if kind == "rt" else 3, *numbers)


def _folded(text: str) -> str:
    return " ".join(text.split())
