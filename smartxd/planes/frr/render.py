"""FRR state as the lines that ``show running-config`` of FRR prints for it: what is rendered converges.

FRR leaves out a line that is its default, and the defaults depend on the profile (``frr defaults``). Timers
are not among them: FRR 8.4 prints them whenever they were given, so they are always rendered.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from smartxd.objects import ObjectRef
from smartxd.planes.frr.running import IPV4_UNICAST, Path, Section
from smartxd.planes.frr.state import Neighbor, Network, Router

MARK_PREFIX = "smartxd:"
"""A neighbour's description begins with ``smartxd:Kind/name`` when smartxd made it."""

_POLICY = "bgp ebgp-requires-policy"
_NO_POLICY = f"no {_POLICY}"

DESCRIPTION_MAX = 255
"""Characters of a description, the mark included. FRR 8.4 keeps any length, but not a line over 4 kB."""


@dataclass(frozen=True, slots=True)
class Context:
    """What of the section decides how a neighbour in it is printed."""

    activates_ipv4: bool = True

    @classmethod
    def of(cls, section: Section | None) -> Context:
        """The context of ``section``, or of the one that is made where there is none."""
        return cls(section is None or section.activates_ipv4)


def router(state: Router, profile: str) -> tuple[Path, ...]:
    """The section's own settings.

    Routes of eBGP neighbours pass without a policy: kinds for policy do not exist yet, and without this line
    a session would come up and carry nothing. The datacenter profile has that as its default.

    ``bgp network import-check`` stays FRR's default, on: a declared network is announced as long as the box
    itself has a route to it (a loopback or gateway address, a connected or static route), so that no box
    draws traffic that it can only drop.
    """
    lines: list[Path] = []
    if state.router_id is not None:
        lines.append((f"bgp router-id {state.router_id}",))
    if profile != "datacenter":
        lines.append((_NO_POLICY,))
    return tuple(lines)


def is_setting(path: Path) -> bool:
    """Whether a line of a section is one of its own settings that ``router`` renders."""
    return len(path) == 1 and (path[0].startswith("bgp router-id ") or path[0] in (_NO_POLICY, _POLICY))


def passes_ebgp(paths: tuple[Path, ...], profile: str) -> bool:
    """Whether a section lets routes of eBGP neighbours through without a policy."""
    default = profile == "datacenter"
    return (_NO_POLICY,) in paths or (default and (_POLICY,) not in paths)


def network(state: Network) -> tuple[Path, ...]:
    """The announcement of a prefix."""
    return ((IPV4_UNICAST, f"network {state.prefix}"),)


def neighbor(state: Neighbor, context: Context) -> tuple[Path, ...]:
    """A neighbour; its AS number comes first, because FRR makes the neighbour by it."""
    name = f"neighbor {state.address}"
    lines: list[Path] = [
        (f"{name} remote-as {state.remote_as}",),
        (f"{name} description {description(state.owner, state.description)}",),
        (f"{name} timers {state.keepalive_s} {state.hold_s}",),
        (f"{name} timers connect {state.connect_retry_s}",),
    ]
    if not context.activates_ipv4:
        lines.append((IPV4_UNICAST, f"{name} activate"))
    return tuple(lines)


def description(owner: ObjectRef, text: str) -> str:
    """The mark and the free text behind it, on one line whatever the text holds."""
    return " ".join([f"{MARK_PREFIX}{owner}", *free_text(text).split()])[:DESCRIPTION_MAX].rstrip()


def free_text(text: str) -> str:
    """Text as FRR keeps it in a description and as frr-reload compares it.

    Control characters, line separators and unassigned code points become blanks, and so does ``|``: vtysh
    cuts a line there, even one of a file. FRR folds blanks; frr-reload rewrites IPv6 addresses.
    """
    words = "".join(c if c.isprintable() and c != "|" else " " for c in text).split()
    return " ".join(_canonical(word) for word in words)


def _canonical(word: str) -> str:
    if ":" not in word:
        return word
    try:
        if "/" in word:
            return str(ipaddress.ip_network(word, strict=False))
        return str(ipaddress.IPv6Address(word))
    except ValueError:
        return word


def mark(address: str, paths: frozenset[Path]) -> ObjectRef | None:
    """The owner that a running neighbour's description names; None where it bears no mark of ours."""
    text = _values(address, paths).get("description", "")
    word = text.split(" ")[0]
    if not word.startswith(MARK_PREFIX):
        return None
    try:
        return ObjectRef.parse(word.removeprefix(MARK_PREFIX))
    except ValueError:
        return None


def read_neighbor(owner: ObjectRef, asn: int, address: str, paths: frozenset[Path]) -> Neighbor:
    """The running neighbour as state; what a line does not say is FRR's default."""
    values = _values(address, paths)
    remote_as = values.get("remote-as", "")
    keepalive, _, hold = values.get("timers", "60 180").partition(" ")
    return Neighbor(
        owner=owner,
        address=address,
        remote_as=int(remote_as) if remote_as.isdecimal() else 0,
        description=values.get("description", "").partition(" ")[2],
        keepalive_s=int(keepalive),
        hold_s=int(hold),
        connect_retry_s=int(values.get("timers connect", "120")),
        asn=asn,
    )


def attribute(address: str, path: Path) -> tuple[str, str] | None:
    """Name and value of a neighbour's line, ``("timers connect", "10")``; None for one never rendered."""
    rest = path[0].removeprefix(f"neighbor {address} ") if len(path) == 1 else ""
    for name in ("remote-as", "description", "timers connect", "timers"):
        if rest.startswith(f"{name} "):
            return name, rest.removeprefix(f"{name} ")
    return None


def _values(address: str, paths: frozenset[Path]) -> dict[str, str]:
    return dict(found for path in paths if (found := attribute(address, path)) is not None)
