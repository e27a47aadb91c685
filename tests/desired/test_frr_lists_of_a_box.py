"""The lists and maps of one box, from every field of the specs that concerns them."""

from __future__ import annotations

from frr_specs import (
    doc,
    entries,
    frr_of,
    parts,
    peer,
    prefixes,
    router,
)

from smartxd.objects import ObjectRef
from smartxd.planes.frr.state import (
    ASPathEntry,
    ASPathList,
    CommunityEntry,
    CommunityList,
    Match,
    Part,
    PrefixEntry,
    PrefixList,
    RouteMap,
    RouteMapEntry,
    Set,
)


def policy_of(*documents: str, used: str, name: str = "a") -> list[Part]:
    """The lists and maps of a box, of which the session of a uses a map for what it takes."""
    state = frr_of(
        router("a"),
        router("b"),
        *documents,
        peer(f"box: a, in: {{routeMap: {used}}}", "box: b"),
        name=name,
    )
    return parts(state, PrefixList, CommunityList, ASPathList, RouteMap)


def test_a_box_has_the_lists_and_maps_that_it_uses_and_no_others() -> None:
    documents = (
        prefixes("direct"),
        prefixes("next-hops"),
        prefixes("unused"),
        entries("CommunityList", "matched", "seq: 10, action: permit, communities: ['65001:1']"),
        entries("CommunityList", "deleted", "seq: 10, action: permit, communities: ['65001:2']"),
        entries("CommunityList", "unused", "seq: 10, action: permit, communities: ['65001:2']"),
        entries("ASPathList", "paths", "seq: 10, action: permit, regex: ^65002$"),
        entries("RouteMap", "used", "seq: 10, action: permit, match: {communityList: matched}, call: called"),
        entries(
            "RouteMap",
            "called",
            "seq: 10, action: permit, set: {deleteCommunities: deleted}, match: {prefixList: direct}",
            "seq: 20, action: permit, match: {nextHopPrefixList: next-hops, asPathList: paths}",
        ),
        entries("RouteMap", "unused", "seq: 10, action: permit"),
    )
    assert [part.id for part in policy_of(*documents, used="used")] == [
        "prefix-list ipv4 direct",
        "prefix-list ipv4 next-hops",
        "community-list standard deleted",
        "community-list standard matched",
        "as-path-list paths",
        "route-map called",
        "route-map used",
    ]
    assert policy_of(*documents, used="used", name="b") == []


def test_a_map_comes_behind_those_that_it_calls() -> None:
    calls = {"a": "z", "z": "m", "m": None, "b": "a"}
    documents = [
        entries("RouteMap", name, f"seq: 10, action: permit{f', call: {called}' if called else ''}")
        for name, called in calls.items()
    ]
    found = policy_of(*documents, used="b")
    assert [part.owner.name for part in found] == ["m", "z", "a", "b"]


def test_a_ring_of_calls_that_somebody_allows_comes_to_an_end() -> None:
    allow = doc("CheckPolicy", "checks", "rules: {SX503: note}")
    documents = [
        entries("RouteMap", name, f"seq: 10, action: permit, call: {called}")
        for name, called in (("a", "b"), ("b", "a"))
    ]
    assert [part.owner.name for part in policy_of(allow, *documents, used="a")] == ["b", "a"]


def test_lists_are_as_they_are_given() -> None:
    given = (
        entries(
            "PrefixList",
            "prefixes",
            "seq: 5, action: deny, prefix: 10.0.0.0/8, ge: 25, le: 32",
            "seq: 10, action: permit, prefix: 10.0.0.0/8, le: 24",
        ),
        entries(
            "CommunityList",
            "large",
            "seq: 10, action: deny, communities: ['65001:1:2', '65001:1:1']",
            "seq: 20, action: permit, communities: ['65001:1:3']",
            more="type: large,",
        ),
        entries(
            "CommunityList", "regex", "seq: 10, action: permit, regex: '^65001:1'", more="type: extended,"
        ),
        entries(
            "ASPathList",
            "paths",
            "seq: 10, action: deny, regex: _64496_",
            "seq: 20, action: permit, regex: .*",
        ),
        entries(
            "RouteMap",
            "map",
            "seq: 10, action: permit, match: {prefixList: prefixes, communityList: large, asPathList: paths}",
            "seq: 20, action: permit, match: {communityList: regex}",
        ),
    )
    assert policy_of(*given, used="map")[:-1] == [
        PrefixList(
            ObjectRef("PrefixList", "prefixes"),
            "prefixes",
            "ipv4",
            (
                PrefixEntry(5, "deny", "10.0.0.0/8", 25, 32),
                PrefixEntry(10, "permit", "10.0.0.0/8", None, 24),
            ),
        ),
        CommunityList(
            ObjectRef("CommunityList", "large"),
            "large",
            "large",
            (
                CommunityEntry(10, "deny", ("65001:1:2", "65001:1:1")),
                CommunityEntry(20, "permit", ("65001:1:3",)),
            ),
        ),
        CommunityList(
            ObjectRef("CommunityList", "regex"),
            "regex",
            "extended",
            (CommunityEntry(10, "permit", regex="^65001:1"),),
        ),
        ASPathList(
            ObjectRef("ASPathList", "paths"),
            "paths",
            (ASPathEntry(10, "deny", "_64496_"), ASPathEntry(20, "permit", ".*")),
        ),
    ]


def test_maps_are_as_they_are_given_with_families_and_types_of_their_lists() -> None:
    given = (
        prefixes("six", "2001:db8::/32", "ipv6"),
        prefixes("four"),
        entries(
            "CommunityList",
            "large",
            "seq: 10, action: permit, communities: ['65001:1:2']",
            more="type: large,",
        ),
        entries("ASPathList", "paths", "seq: 10, action: permit, regex: ^65002$"),
        entries(
            "RouteMap",
            "map",
            "seq: 10, action: permit, description: first, onMatch: next, match: {prefixList: six,"
            " nextHopPrefixList: four, communityList: large, exactCommunities: true, asPathList: paths,"
            " localPreference: 0, metric: 5, tag: 6, interface: wan0, sourceProtocol: static,"
            " evpnVni: 100, evpnRouteType: macip}",
            "seq: 20, action: permit, onMatch: 40, set: {localPreference: '+10', metric: 0, weight: 3,"
            " origin: igp, tag: 4, nextHop: 192.0.2.9, asPathPrepend: [65001, 65001],"
            " communities: ['65001:1', no-export], largeCommunities: ['65001:1:2'],"
            " extendedCommunities: [rt 65001:1], additive: true, deleteCommunities: large}",
            "seq: 30, action: deny, match: {metric: 7}",
            "seq: 40, action: permit, set: {nextHop: unchanged}",
        ),
    )
    *_, found = policy_of(*given, used="map")
    assert found == RouteMap(
        ObjectRef("RouteMap", "map"),
        "map",
        (
            RouteMapEntry(
                10,
                "permit",
                "first",
                Match(
                    prefix_list="six",
                    prefix_list_family="ipv6",
                    next_hop_prefix_list="four",
                    community_list="large",
                    community_type="large",
                    exact_communities=True,
                    as_path_list="paths",
                    local_preference=0,
                    metric=5,
                    tag=6,
                    interface="wan0",
                    source_protocol="static",
                    evpn_vni=100,
                    evpn_route_type="macip",
                ),
                on_match="next",
            ),
            RouteMapEntry(
                20,
                "permit",
                set=Set(
                    local_preference="+10",
                    metric=0,
                    weight=3,
                    origin="igp",
                    tag=4,
                    next_hop="192.0.2.9",
                    as_path_prepend=(65001, 65001),
                    communities=("65001:1", "no-export"),
                    large_communities=("65001:1:2",),
                    extended_communities=("rt 65001:1",),
                    additive=True,
                    delete_communities="large",
                    delete_type="large",
                ),
                on_match=40,
            ),
            RouteMapEntry(30, "deny", match=Match(metric=7)),
            RouteMapEntry(40, "permit", set=Set(next_hop="unchanged")),
        ),
    )


# --- static routes -----------------------------------------------------------------------------------------
