"""Lists and maps: of the right family and type, in order, no entry in the shadow of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from smartxd.spec.addresses import Family
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Location, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import Policy
from smartxd.spec.kinds.routemap import Match, RouteMapSpec
from smartxd.spec.places import Path

LIST_FAMILY = Rule(
    "SX501",
    "list-family",
    "A prefix list filters a family that the session carries, one list a family and direction.",
    "FRR keeps one prefix list for each family and direction, and one of another family is never asked:"
    " what it was to stop passes. Choose a list of the right `family`, or let the session carry it.",
)
SHADOWED = Rule(
    "SX502",
    "shadowed-entry",
    "Every entry of a list or map can match something that no earlier entry takes.",
    "Entries are tried in order and the first that matches decides, so this one never does. Mostly the more"
    " special one was meant to stand first.",
    severity=Severity.WARNING,
)
MAP_LOOP = Rule(
    "SX503",
    "map-loop",
    "Route maps do not call each other in a ring.",
    "FRR gives up after some rounds and takes the answer for a denial: nothing passes.",
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
    "What no entry matches is denied, so a policy of denials alone stops everything. Add a last entry"
    " that permits the rest, or, if the session is to be kept quiet, say so with `shutdown`.",
    severity=Severity.WARNING,
)
NOT_SENT = Rule(
    "SX507",
    "communities-not-sent",
    "A session sends the communities that its outbound map sets.",
    "They are set and left off the update. Add their type to `sendCommunities`.",
    severity=Severity.WARNING,
)

_UNICAST = {"ipv4Unicast": "ipv4", "ipv6Unicast": "ipv6"}
_ALL_PATHS = frozenset({".*", "^.*$", "^.*", ".*$", "."})


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


def prefix_entries_are_reached(fleet: Fleet) -> Iterator[Finding]:
    """No entry of a prefix list is within an earlier one, by prefix and length."""
    for obj in fleet.prefix_lists.values():
        earlier: dict[Any, list[tuple[int, int, int]]] = {}
        for i, entry in enumerate(obj.spec.entries):
            low, high = entry.lengths
            above = (entry.prefix.supernet(new_prefix=n) for n in range(entry.prefix.prefixlen + 1))
            seen = (known for prefix in above for known in earlier.get(prefix, ()))
            found = next((k for first, last, k in seen if first <= low and high <= last), None)
            if found is not None:
                yield _shadow(obj, i, found)
            else:
                earlier.setdefault(entry.prefix, []).append((low, high, i))


def other_entries_are_reached(fleet: Fleet) -> Iterator[Finding]:
    """No entry of another list says what an earlier one says, and none stands behind one that takes all."""
    lists: tuple[Object[Any], ...] = (*fleet.community_lists.values(), *fleet.as_path_lists.values())
    for obj in lists:
        known: dict[object, int] = {}
        everything: int | None = None
        for i, entry in enumerate(obj.spec.entries):
            communities = frozenset(getattr(entry, "communities", ()))
            found = known.setdefault((communities, entry.regex), i) if everything is None else everything
            if found != i:
                yield _shadow(obj, i, found)
            if everything is None and entry.regex in _ALL_PATHS:
                everything = i


def map_entries_are_reached(fleet: Fleet) -> Iterator[Finding]:
    """No entry of a map stands behind one that takes every route, unless an ``onMatch`` leads to it."""
    for obj in fleet.route_maps.values():
        entries = obj.spec.entries
        end = next((i for i, e in enumerate(entries) if _takes_all(e)), None)
        if end is None or end + 1 == len(entries):
            continue
        numbers = (e.on_match for e in entries[:end])
        jumps = {n for n in numbers if isinstance(n, int)}
        if not any(n > entries[end].seq for n in jumps):
            yield _shadow(obj, end + 1, end)


def _takes_all(entry: Any) -> bool:
    return entry.match == Match() and entry.call is None and entry.on_match is None


def _shadow(obj: Object[Any], index: int, by: int) -> Finding:
    at: Location = obj.at("entries", by)
    entries = obj.spec.entries
    message = f"seq {entries[index].seq} is never reached: seq {entries[by].seq} ({at}) takes all of it"
    return obj.finding(SHADOWED, ("entries", index), message, other=at)


def maps_call_no_ring(fleet: Fleet) -> Iterator[Finding]:
    """Following the calls of a map never leads back to it."""
    calls = {
        name: [(i, e.call) for i, e in enumerate(obj.spec.entries) if e.call is not None]
        for name, obj in fleet.route_maps.items()
    }
    done: set[str] = set()
    for start in calls:
        if start not in done:
            yield from _walk(fleet, calls, start, done)


def _walk(
    fleet: Fleet, calls: dict[str, list[tuple[int, str]]], start: str, done: set[str]
) -> Iterator[Finding]:
    """Depth first, without recursion: a chain of calls may be long."""
    way = [start]
    open_: dict[str, Iterator[tuple[int, str]]] = {start: iter(calls[start])}
    while way:
        name = way[-1]
        step = next(open_[name], None)
        if step is None:
            done.add(way.pop())
            del open_[name]
            continue
        index, called = step
        if called in open_:
            ring = " → ".join([*way[way.index(called) :], called])
            yield fleet.route_maps[name].finding(MAP_LOOP, ("entries", index, "call"), f"a ring: {ring}")
        elif called in calls and called not in done:
            way.append(called)
            open_[called] = iter(calls[called])


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


def policies_let_something_pass(fleet: Fleet) -> Iterator[Finding]:
    """Not all entries of a list or map deny; a list may where a map matches it, to be denied there."""
    filters = {name for _, _, policy in _policies(fleet) for name in policy.prefix_lists}
    paths = {policy.as_path_list for _, _, policy in _policies(fleet)}
    judged: tuple[Object[Any], ...] = (
        *(obj for name, obj in fleet.prefix_lists.items() if name in filters),
        *(obj for name, obj in fleet.as_path_lists.items() if name in paths),
        *fleet.route_maps.values(),
    )
    for obj in judged:
        if all(entry.action == "deny" for entry in obj.spec.entries):
            yield obj.finding(DENIES_ALL, ("entries",), "every entry denies: nothing passes")


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


RULES: tuple[Rule, ...] = (LIST_FAMILY, SHADOWED, MAP_LOOP, GOTO_NOWHERE, LIST_TYPE, DENIES_ALL, NOT_SENT)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    lists_fit_their_sessions,
    prefix_entries_are_reached,
    other_entries_are_reached,
    map_entries_are_reached,
    maps_call_no_ring,
    jumps_lead_to_entries,
    lists_have_a_type_for_their_use,
    policies_let_something_pass,
    set_communities_are_sent,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
