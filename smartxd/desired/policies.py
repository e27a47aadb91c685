"""PrefixList, RouteMap, CommunityList and ASPathList specs to what one box needs of them in FRR."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smartxd.planes.frr.state import (
    ASPathEntry,
    ASPathList,
    CommunityEntry,
    CommunityList,
    List,
    Match,
    Neighbor,
    PrefixEntry,
    PrefixList,
    Redistribution,
    RouteMap,
    RouteMapEntry,
    Set,
)
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds import routemap
from smartxd.spec.kinds.aspathlist import ASPathListSpec
from smartxd.spec.kinds.communitylist import CommunityListSpec
from smartxd.spec.kinds.prefixlist import PrefixListSpec
from smartxd.spec.kinds.routemap import RouteMapSpec


def policies(
    fleet: Fleet, redistributions: Iterable[Redistribution], neighbors: Iterable[Neighbor]
) -> tuple[List | RouteMap, ...]:
    """The lists and maps that these use, themselves or by a map; each behind those that it names."""
    directions = [p for n in neighbors for family in n.families for p in (family.inbound, family.outbound)]
    names = {r.route_map for r in redistributions} | {p.route_map for p in directions}
    maps = [fleet.route_maps[name] for name in _called_first(fleet, names - {""})]
    matches = [entry.match for obj in maps for entry in obj.spec.entries]
    deleted = {entry.set.delete_communities for obj in maps for entry in obj.spec.entries}
    prefix = {p.prefix_list for p in directions}
    prefix |= {name or "" for m in matches for name in (m.prefix_list, m.next_hop_prefix_list)}
    community = {name or "" for name in deleted | {m.community_list for m in matches}}
    as_path = {p.as_path_list for p in directions} | {m.as_path_list or "" for m in matches}
    return (
        *(_prefix_list(fleet.prefix_lists[name]) for name in sorted(prefix - {""})),
        *(_community_list(fleet.community_lists[name]) for name in sorted(community - {""})),
        *(_as_path_list(fleet.as_path_lists[name]) for name in sorted(as_path - {""})),
        *(_route_map(fleet, obj) for obj in maps),
    )


def _called_first(fleet: Fleet, names: Iterable[str]) -> list[str]:
    """These maps and those that they call, each behind those that it calls.

    Without recursion, and to an end in a ring too: the rule about calls may be silenced.
    """
    order: list[str] = []
    seen: set[str] = set()
    todo = [(name, False) for name in sorted(names, reverse=True)]
    while todo:
        name, calls_done = todo.pop()
        if calls_done:
            order.append(name)
        elif name not in seen:
            seen.add(name)
            todo.append((name, True))
            todo += ((called, False) for called in sorted(_calls(fleet.route_maps[name]), reverse=True))
    return order


def _calls(obj: Object[RouteMapSpec]) -> Iterator[str]:
    return (entry.call for entry in obj.spec.entries if entry.call is not None)


def _prefix_list(obj: Object[PrefixListSpec]) -> PrefixList:
    entries = (PrefixEntry(e.seq, e.action, str(e.prefix), e.ge, e.le) for e in obj.spec.entries)
    return PrefixList(obj.ref, obj.ref.name, obj.spec.family, tuple(entries))


def _community_list(obj: Object[CommunityListSpec]) -> CommunityList:
    entries = (CommunityEntry(e.seq, e.action, e.communities, e.regex or "") for e in obj.spec.entries)
    return CommunityList(obj.ref, obj.ref.name, obj.spec.type, tuple(entries))


def _as_path_list(obj: Object[ASPathListSpec]) -> ASPathList:
    entries = (ASPathEntry(e.seq, e.action, e.regex) for e in obj.spec.entries)
    return ASPathList(obj.ref, obj.ref.name, tuple(entries))


def _route_map(fleet: Fleet, obj: Object[RouteMapSpec]) -> RouteMap:
    entries = (
        RouteMapEntry(
            seq=entry.seq,
            action=entry.action,
            description=entry.description,
            match=_match(fleet, entry.match),
            set=_set(fleet, entry.set),
            call=entry.call or "",
            on_match=entry.on_match or "",
        )
        for entry in obj.spec.entries
    )
    return RouteMap(obj.ref, obj.ref.name, tuple(entries))


def _match(fleet: Fleet, match: routemap.Match) -> Match:
    """With the family or the type of each list that is matched, as FRR has a command for each."""
    prefixes = fleet.prefix_lists.get(match.prefix_list or "")
    next_hops = fleet.prefix_lists.get(match.next_hop_prefix_list or "")
    communities = fleet.community_lists.get(match.community_list or "")
    return Match(
        prefix_list=match.prefix_list or "",
        prefix_list_family=prefixes.spec.family if prefixes is not None else "ipv4",
        next_hop_prefix_list=match.next_hop_prefix_list or "",
        next_hop_family=next_hops.spec.family if next_hops is not None else "ipv4",
        community_list=match.community_list or "",
        community_type=communities.spec.type if communities is not None else "standard",
        exact_communities=match.exact_communities,
        as_path_list=match.as_path_list or "",
        local_preference=match.local_preference,
        metric=match.metric,
        tag=match.tag,
        interface=match.interface or "",
        source_protocol=match.source_protocol or "",
        evpn_vni=match.evpn_vni,
        evpn_route_type=match.evpn_route_type or "",
    )


def _set(fleet: Fleet, changes: routemap.Set) -> Set:
    deleted = fleet.community_lists.get(changes.delete_communities or "")
    return Set(
        local_preference=changes.local_preference,
        metric=changes.metric,
        weight=changes.weight,
        origin=changes.origin or "",
        tag=changes.tag,
        next_hop=str(changes.next_hop) if changes.next_hop is not None else "",
        as_path_prepend=changes.as_path_prepend,
        communities=changes.communities,
        large_communities=changes.large_communities,
        extended_communities=changes.extended_communities,
        additive=changes.additive,
        delete_communities=changes.delete_communities or "",
        delete_type=deleted.spec.type if deleted is not None else "standard",
    )
