"""Lists and maps: of the right family and type, calls and jumps that come to an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from smartxd.spec.addresses import Family
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, Policy
from smartxd.spec.kinds.routemap import RouteMapEntry, RouteMapSpec
from smartxd.spec.places import Path

CALLS_MAX = 10
"""How deep FRR follows calls of route maps (``RMAP_RECURSION_LIMIT`` in its ``lib/routemap.h``)."""
RING_SHOWN_MAX = 8
"""Maps of a ring that a message names."""

LIST_FAMILY = Rule(
    "SX501",
    "list-family",
    "A prefix list filters a family that the session carries, one list a family and direction.",
    "FRR keeps one prefix list for each family and direction, and one of another family is never asked:"
    " what it was to stop passes. Choose a list of the right `family`, or let the session carry it.",
)
MAP_LOOP = Rule(
    "SX503",
    "map-loop",
    f"Route maps call each other neither in a ring nor more than {CALLS_MAX} deep.",
    f"FRR refuses a map that calls itself. Of others it gives up {CALLS_MAX} calls deep and denies the route,"
    " whatever the maps say: nothing passes. Write what several maps share once, in the map that ends the"
    " chain.",
)
GOTO_NOWHERE = Rule(
    "SX504",
    "goto-nowhere",
    "The number of `onMatch` is that of an entry.",
    "FRR goes on with the next entry of a higher number, which is mostly not the one that was meant once"
    " entries are renumbered.",
)
LIST_TYPE = Rule(
    "SX505",
    "list-type",
    "A community list is of a type that its use knows.",
    "FRR deletes standard and large communities by list, no extended ones, and it knows no exact match of"
    " those.",
)
DENIES_ALL = Rule(
    "SX506",
    "denies-all",
    "A list or map lets something pass.",
    "What no entry matches is denied, so a policy of denials alone stops everything, and an entry of a map"
    " that matches such a list is for no route at all: to deny what a list names, let the list permit it and"
    " the entry deny. If a session is to take or announce nothing, silence the rule for the list or map.",
    severity=Severity.WARNING,
)
NOT_SENT = Rule(
    "SX507",
    "communities-not-sent",
    "A session sends the communities that its outbound map sets.",
    "They are set and left off the update. Add their type to `sendCommunities`.",
    severity=Severity.WARNING,
)
MAP_FAMILY = Rule(
    "SX508",
    "map-family",
    "What an entry of a map matches or sets is of a family that a user of the map carries.",
    "A prefix list of one family matches no route of the other, and a next hop of one is not set on it. The"
    " entry is dead wherever the map is used: a session lacks the family, or the list is the wrong one.",
    severity=Severity.WARNING,
)

NUMBERED = Rule(
    "SX509",
    "list-is-a-number",
    "The name of a community list is not a number.",
    "FRR takes such a name for one of its numbered lists, whose number says what they hold, and does not read"
    " again what it prints of the others. Choose a name with a letter in it.",
)

_UNICAST = {"ipv4Unicast": "ipv4", "ipv6Unicast": "ipv6"}


def lists_fit_their_sessions(fleet: Fleet) -> Iterator[Finding]:
    """Prefix lists of a session are of families that it carries, one each."""
    for peer, path, policy in _policies(fleet):
        carried = {_UNICAST[f] for f in peer.spec.families if f in _UNICAST}
        first: dict[Family, str] = {}
        for i, name in enumerate(policy.prefix_lists):
            listed = fleet.prefix_lists.get(name)
            if listed is None:
                continue
            family, at = listed.spec.family, listed.at("family")
            where: Path = (*path, "prefixLists", i)
            if family not in carried:
                message = f"{name} is {family} ({at}), which the session does not carry"
                yield peer.finding(LIST_FAMILY, where, message, other=at)
            elif first.setdefault(family, name) != name:
                message = f"{name} is {family} ({at}), as {first[family]} is; one list a family"
                yield peer.finding(LIST_FAMILY, where, message, other=at)


def _policies(fleet: Fleet) -> Iterator[tuple[Object[Any], Path, Policy]]:
    for peer in fleet.peers.values():
        for i, end in enumerate(peer.spec.between):
            for key in ("in", "out"):
                policy = getattr(end, f"{key}bound", None)
                if policy is not None:
                    yield peer, ("between", i, key), policy


def calls_come_to_an_end(fleet: Fleet) -> Iterator[Finding]:
    """Following the calls of a map never leads back to it, nor further than FRR goes."""
    calls = {
        name: [(i, e.call) for i, e in enumerate(obj.spec.entries) if e.call is not None]
        for name, obj in fleet.route_maps.items()
    }
    depths: dict[str, int] = {}
    for start in calls:
        if start not in depths:
            yield from _walk(fleet, calls, start, depths)


def _walk(
    fleet: Fleet, calls: dict[str, list[tuple[int, str]]], start: str, depths: dict[str, int]
) -> Iterator[Finding]:
    """Depth first, without recursion: a chain of calls may be long. Fills in how deep each map calls."""
    way = [start]
    open_: dict[str, Iterator[tuple[int, str]]] = {start: iter(calls[start])}
    while way:
        name = way[-1]
        step = next(open_[name], None)
        if step is None:
            way.pop()
            del open_[name]
            depths[name], index = max(((depths.get(c, -1) + 1, i) for i, c in calls[name]), default=(0, 0))
            if depths[name] == CALLS_MAX + 1:
                message = f"calls go {depths[name]} deep from here; FRR follows {CALLS_MAX}"
                yield fleet.route_maps[name].finding(MAP_LOOP, ("entries", index, "call"), message)
            continue
        index, called = step
        if called in open_:
            ring = _ring(way, way.index(called))
            yield fleet.route_maps[name].finding(MAP_LOOP, ("entries", index, "call"), f"a ring: {ring}")
        elif called in calls and called not in depths:
            way.append(called)
            open_[called] = iter(calls[called])


def _ring(way: list[str], start: int) -> str:
    """The maps from one on the way to its end and back to it; of many the first and the last."""
    first = way[start : start + RING_SHOWN_MAX - 2]
    rest = way[start + len(first) :] if len(way) - start < RING_SHOWN_MAX else ["…", way[-1]]
    return " → ".join((*first, *rest, way[start]))


def jumps_lead_to_entries(fleet: Fleet) -> Iterator[Finding]:
    """The number of an ``onMatch`` is that of an entry."""
    for obj in fleet.route_maps.values():
        numbers = {entry.seq for entry in obj.spec.entries}
        for i, entry in enumerate(obj.spec.entries):
            if isinstance(entry.on_match, int) and entry.on_match not in numbers:
                message = f"no entry has seq {entry.on_match}"
                yield obj.finding(GOTO_NOWHERE, ("entries", i, "onMatch"), message)


def lists_have_a_type_for_their_use(fleet: Fleet) -> Iterator[Finding]:
    """Extended communities are not deleted by list, and not matched exactly."""
    for obj in fleet.route_maps.values():
        for i, entry in enumerate(obj.spec.entries):
            uses: tuple[tuple[str | None, Path, str], ...] = (
                (entry.set.delete_communities, ("set", "deleteCommunities"), "FRR deletes none by list"),
                (
                    entry.match.community_list if entry.match.exact_communities else None,
                    ("match", "exactCommunities"),
                    "FRR does not match them exactly",
                ),
            )
            for name, path, why in uses:
                listed = fleet.community_lists.get(name or "")
                if listed is not None and listed.spec.type == "extended":
                    at = listed.at("type")
                    message = f"{name} is a list of extended communities ({at}); {why}"
                    yield obj.finding(LIST_TYPE, ("entries", i, *path), message, other=at)


def community_lists_are_named(fleet: Fleet) -> Iterator[Finding]:
    """No community list has a number for a name."""
    for name, obj in fleet.community_lists.items():
        if name.isdigit():
            yield obj.finding(NUMBERED, (), f"FRR takes {name} for a numbered list; put a letter in the name")


def policies_let_something_pass(fleet: Fleet) -> Iterator[Finding]:
    """Not all entries of a map deny, nor all of a list that a session or a map uses."""
    used = {("PrefixList", name) for _, _, policy in _policies(fleet) for name in policy.prefix_lists}
    used |= {("ASPathList", policy.as_path_list or "") for _, _, policy in _policies(fleet)}
    matched = {pair for obj in fleet.route_maps.values() for e in obj.spec.entries for pair in _lists(e)}
    for kind in ("ASPathList", "CommunityList", "PrefixList", "RouteMap"):
        for name, obj in fleet.objects.get(kind, {}).items():
            if all(entry.action == "deny" for entry in obj.spec.entries):
                if kind == "RouteMap" or (kind, name) in used:
                    yield obj.finding(DENIES_ALL, ("entries",), "every entry denies: nothing passes")
                elif (kind, name) in matched:
                    yield obj.finding(DENIES_ALL, ("entries",), "every entry denies: it matches nothing")


def _lists(entry: RouteMapEntry) -> Iterator[tuple[str, str]]:
    """The lists that an entry of a map uses, by kind and name."""
    match = entry.match
    for kind, name in (
        ("PrefixList", match.prefix_list),
        ("PrefixList", match.next_hop_prefix_list),
        ("CommunityList", match.community_list),
        ("CommunityList", entry.set.delete_communities),
        ("ASPathList", match.as_path_list),
    ):
        if name is not None:
            yield kind, name


def map_entries_are_of_a_carried_family(fleet: Fleet) -> Iterator[Finding]:
    """No entry of a map is for a family that no session and no speaker with the map carries."""
    for name, families in _carried(fleet).items():
        obj = fleet.route_maps[name]
        only = f"what uses {obj.ref} carries {' and '.join(sorted(families))} alone"
        for i, entry in enumerate(obj.spec.entries):
            listed = fleet.prefix_lists.get(entry.match.prefix_list or "")
            if listed is not None and listed.spec.family not in families:
                at = listed.at("family")
                message = f"{listed.ref} is {listed.spec.family} ({at}); {only}"
                yield obj.finding(MAP_FAMILY, ("entries", i, "match", "prefixList"), message, other=at)
            if entry.set.next_hop_family not in (None, *families):
                message = f"{entry.set.next_hop} is {entry.set.next_hop_family}; {only}"
                yield obj.finding(MAP_FAMILY, ("entries", i, "set", "nextHop"), message)


def _carried(fleet: Fleet) -> dict[str, set[str]]:
    """The families of the routes that each map which something uses meets, by itself or by a call."""
    todo: list[tuple[str | None, set[str]]] = [
        (policy.route_map, _families(peer.spec.families) | ({"ipv6"} if _unnumbered(peer.spec) else set()))
        for peer, _, policy in _policies(fleet)
    ]
    for router in fleet.routers.values():
        todo += [(entry.route_map, _families(router.spec.families)) for entry in router.spec.redistribute]
    found: dict[str, set[str]] = {}
    while todo:
        name, families = todo.pop()
        if name is not None and name in fleet.route_maps and not families <= found.setdefault(name, set()):
            found[name] |= families
            todo += [(e.call, families) for e in fleet.route_maps[name].spec.entries if e.call is not None]
    return found


def _families(carried: Iterable[str]) -> set[str]:
    """Of routes: those of EVPN are of both."""
    return {
        f for family in carried for f in ([_UNICAST[family]] if family in _UNICAST else _UNICAST.values())
    }


def _unnumbered(spec: BGPPeerSpec) -> bool:
    """Whether IPv4 routes have IPv6 next hops (RFC 8950)."""
    return any(end.interface is not None for end in spec.box_ends)


def set_communities_are_sent(fleet: Fleet) -> Iterator[Finding]:
    """The communities that an outbound map sets are of types that its session sends."""
    for peer in fleet.peers.values():
        for i, end in enumerate(peer.spec.between):
            policy: Policy | None = getattr(end, "outbound", None)
            used = fleet.route_maps.get((policy.route_map if policy is not None else None) or "")
            missing = _set_types(used.spec) - set(peer.spec.send_communities) if used is not None else set()
            if used is not None and missing:
                at = used.at("entries")
                message = (
                    f"{used.ref} sets {', '.join(sorted(missing))} communities ({at}), which are not sent"
                )
                path: Path = ("between", i, "out", "routeMap")
                yield peer.finding(NOT_SENT, path, message, other=at)


def _set_types(spec: RouteMapSpec) -> set[str]:
    given = {
        "standard": any(entry.set.communities for entry in spec.entries),
        "large": any(entry.set.large_communities for entry in spec.entries),
        "extended": any(entry.set.extended_communities for entry in spec.entries),
    }
    return {kind for kind, there in given.items() if there}


RULES: tuple[Rule, ...] = (
    *(LIST_FAMILY, MAP_LOOP, GOTO_NOWHERE),
    *(LIST_TYPE, DENIES_ALL, NOT_SENT, MAP_FAMILY, NUMBERED),
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    lists_fit_their_sessions,
    calls_come_to_an_end,
    jumps_lead_to_entries,
    lists_have_a_type_for_their_use,
    community_lists_are_named,
    policies_let_something_pass,
    set_communities_are_sent,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (map_entries_are_of_a_carried_family,)
