"""Lists that policies match."""

from __future__ import annotations

from smartxd.planes.frr.render.text import description
from smartxd.planes.frr.state import ASPathList, CommunityList, PrefixEntry, PrefixList
from smartxd.planes.frr.words import COMMUNITY_LISTS, Path

_WELL_KNOWN = {
    "internet": 0,
    "graceful-shutdown": 0xFFFF0000,
    "accept-own": 0xFFFF0001,
    "blackhole": 0xFFFF029A,
    "no-export": 0xFFFFFF01,
    "no-advertise": 0xFFFFFF02,
    "local-AS": 0xFFFFFF03,
    "no-peer": 0xFFFFFF04,
}
"""The communities that have names (IANA, BGP Well-known Communities); ``internet`` is FRR's own."""


def prefix_list(part: PrefixList) -> tuple[Path, ...]:
    """The list, its description first: what is cut off is marked."""
    start = f"{'ip' if part.family == 'ipv4' else 'ipv6'} prefix-list {part.name}"
    entries = ((f"{start} seq {entry.seq} {_prefix(entry)}",) for entry in part.entries)
    return ((f"{start} description {description(part.owner)}",), *entries)


def _prefix(entry: PrefixEntry) -> str:
    words = f"{entry.action} {entry.prefix}"
    if entry.ge is not None:
        words += f" ge {entry.ge}"
    return f"{words} le {entry.le}" if entry.le is not None else words


def community_list(part: CommunityList) -> tuple[Path, ...]:
    """The list; FRR keeps lists of communities and of expressions apart."""
    return tuple(
        (
            f"bgp {COMMUNITY_LISTS[part.type]} {'expanded' if entry.regex else 'standard'} {part.name}"
            f" seq {entry.seq} {entry.action} {_folded(entry.regex) or _communities(entry.communities)}",
        )
        for entry in part.entries
    )


def _communities(given: tuple[str, ...]) -> str:
    return " ".join(communities(given))


def as_path_list(part: ASPathList) -> tuple[Path, ...]:
    """The list."""
    return tuple(
        (f"bgp as-path access-list {part.name} seq {entry.seq} {entry.action} {_folded(entry.regex)}",)
        for entry in part.entries
    )


def communities(given: tuple[str, ...]) -> tuple[str, ...]:
    """Communities of one type as FRR keeps them: each once, in numerical order."""
    return tuple(sorted(dict.fromkeys(given), key=_number))


def _number(community: str) -> tuple[int, ...]:
    if community in _WELL_KNOWN:
        value = _WELL_KNOWN[community]
        return value >> 16, value & 0xFFFF
    kind, _, numbers = community.rpartition(" ")
    parts = [int(n) for n in numbers.replace(".", ":").split(":")]
    return (0 if kind == "rt" else 1, *parts) if kind else tuple(parts)


def _folded(text: str) -> str:
    return " ".join(text.split())
