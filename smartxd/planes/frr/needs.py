"""What a part or a running line names of others: what it cannot be without. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from smartxd.planes.frr.state import Match, Neighbor, Part, Redistribution, RouteMap
from smartxd.planes.frr.words import Path

DAEMONS = ("zebra", "bgpd")
"""The daemons without which nothing here can be converged."""

_NAMED = {
    **dict.fromkeys(
        ("route-map", "call", "unsuppress-map", "advertise-map", "exist-map", "non-exist-map", "table-map"),
        ("route-map",),
    ),
    "prefix-list": ("prefix-list ipv4", "prefix-list ipv6"),
    **dict.fromkeys(("filter-list", "as-path"), ("as-path-list",)),
    **dict.fromkeys(("community", "comm-list"), ("community-list standard",)),
    **dict.fromkeys(("extcommunity", "extended-comm-list"), ("community-list extended",)),
    **dict.fromkeys(("large-community", "large-comm-list"), ("community-list large",)),
    "profile": ("bfd-profile",),
}
"""What the word behind one of these is the name of."""


def needs(part: Part) -> Iterator[str]:
    """The ids of the parts that it names."""
    match part:
        case Redistribution(route_map=name) if name:
            yield f"route-map {name}"
        case RouteMap():
            for entry in part.entries:
                yield from _match(entry.match)
                if entry.call:
                    yield f"route-map {entry.call}"
                if entry.set.delete_communities:
                    yield f"community-list {entry.set.delete_type} {entry.set.delete_communities}"
        case Neighbor():
            yield from _neighbor(part)


_VALUES = frozenset(("as-path", "community", "extcommunity", "large-community"))
"""Behind these a route map matches a list, but sets values."""
_LISTS = ("ip prefix-list ", "ipv6 prefix-list ", "bgp ")
"""How the lines of lists begin, whose words are their own names and values."""


def named(path: Path) -> Iterator[str]:
    """The ids of the parts that a line may name, whoever made it; a list and free text name nothing."""
    if len(path) == 1 and path[0].startswith(_LISTS):
        return
    other, words = _other_family(path), path[-1].split()
    for word, name in pairwise(words[2:] if words[0] == "neighbor" else words):
        if word == "description" or (word, name) == ("shutdown", "message"):
            return
        if words[0] == "set" and word in _VALUES:
            continue
        yield from (f"{kind} {name}" for kind in _NAMED.get(word, ()) if not kind.endswith(other))


def _other_family(path: Path) -> str:
    """The end of a kind of list that a line cannot mean, because it is about the other family."""
    where = f"{path[-2] if len(path) > 1 else ''} {path[-1]}"
    if "address-family ipv4 " in where or " match ip " in where:
        return " ipv6"
    return " ipv4" if "address-family ipv6 " in where or " match ipv6 " in where else " of none"


def _match(match: Match) -> Iterator[str]:
    if match.prefix_list:
        yield f"prefix-list {match.prefix_list_family} {match.prefix_list}"
    if match.next_hop_prefix_list:
        yield f"prefix-list {match.next_hop_family} {match.next_hop_prefix_list}"
    if match.community_list:
        yield f"community-list {match.community_type} {match.community_list}"
    if match.as_path_list:
        yield f"as-path-list {match.as_path_list}"


def _neighbor(part: Neighbor) -> Iterator[str]:
    if part.bfd_profile:
        yield f"bfd-profile {part.bfd_profile}"
    for family in part.families:
        for policy in (family.inbound, family.outbound):
            if policy.route_map:
                yield f"route-map {policy.route_map}"
            if policy.prefix_list:
                yield f"prefix-list {family.family} {policy.prefix_list}"
            if policy.as_path_list:
                yield f"as-path-list {policy.as_path_list}"


def daemons(ids: Iterable[str]) -> tuple[str, ...]:
    """The daemons that keep the parts of these ids, and those that are always needed."""
    kinds = {id.partition(" ")[0] for id in ids}
    more = (("bfdd", "bfd-profile"), ("staticd", "route"))
    return (*DAEMONS, *(daemon for daemon, kind in more if kind in kinds))
