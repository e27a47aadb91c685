"""FRR of one box, from every field of the specs that concerns it."""

from __future__ import annotations

import pytest

from smartxd.desired import desire
from smartxd.objects import ObjectRef
from smartxd.planes.frr.state import (
    VNI,
    ASPathEntry,
    ASPathList,
    BFDProfile,
    CommunityEntry,
    CommunityList,
    FRRState,
    Match,
    MaxPrefixes,
    Neighbor,
    NeighborFamily,
    Network,
    NextHop,
    Part,
    Policy,
    PrefixEntry,
    PrefixList,
    Redistribution,
    RouteMap,
    RouteMapEntry,
    Router,
    Set,
    StaticRoute,
)
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import judge

HEAD = "apiVersion: smartx.io/v1alpha1\n"
NAMES = "abcdefghijklmnopq"
EVPN = "families: [ipv4Unicast, l2vpnEvpn]"
DUAL = "families: [ipv6Unicast, ipv4Unicast]"


def doc(kind: str, name: str, spec: str, metadata: str = "") -> str:
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}{metadata}}}\nspec: {{{spec}}}\n"


def box(name: str, more: str = "") -> str:
    n = NAMES.index(name) + 1
    under = f"underlay: {{interface: wan0, address: 192.0.2.{n}/24, address6: '2001:db8::{n}/64'}}"
    return doc("Box", name, f"{under}, asn: {65000 + n}, loopback: 10.255.0.{n}{more}")


def router(name: str, more: str = "", metadata: str = "") -> str:
    return doc("BGPRouter", f"r-{name}", f"box: {name}, {more}", metadata)


def peer(one: str, other: str, more: str = "", name: str = "p") -> str:
    return doc("BGPPeer", name, f"between: [{{{one}}}, {{{other}}}], {more}")


def entries(kind: str, name: str, *given: str, more: str = "") -> str:
    return doc(kind, name, f"{more} entries: [{', '.join(f'{{{entry}}}' for entry in given)}]")


def prefixes(name: str, block: str = "10.0.0.0/8", family: str = "ipv4") -> str:
    return entries(
        "PrefixList", name, f"seq: 10, action: permit, prefix: '{block}'", more=f"family: {family},"
    )


def route(name: str, destination: str, more: str = "via: [{address: 192.0.2.99}]") -> str:
    return doc("Route", name, f"boxes: {{names: [a]}}, destination: '{destination}', {more}")


def tunnel(name: str, vni: int, flood: str = "mode: evpn", boxes: str = "a, b") -> str:
    return doc("Tunnel", name, f"boxes: {{names: [{boxes}]}}, vni: {vni}, flood: {{{flood}}}")


BOXES = (box("a"), box("b"), box("c"))


def fleet_of(*documents: str) -> Fleet:
    """The fleet of these, which no rule calls wrong."""
    verdict = judge({"specs.yaml": "---\n".join(documents).encode()})
    assert [str(finding) for finding in verdict.errors] == []
    return verdict.fleet


def frr_of(*documents: str, name: str = "a") -> FRRState:
    return desire(fleet_of(*BOXES, *documents), name).frr


def parts(state: FRRState, *kinds: type[Part]) -> list[Part]:
    return [part for kind in kinds for part in state.of(kind)]


def session(
    *documents: str, one: str = "box: a", other: str = "box: b", more: str = "", name: str = "a"
) -> Neighbor:
    """The one session of a box, of a fleet with a speaker on a and b."""
    named = {d.split("name: ", 1)[1].split("}")[0] for d in documents}
    speakers = (router(n) for n in "ab" if f"r-{n}" not in named)
    (found,) = frr_of(*speakers, *documents, peer(one, other, more), name=name).neighbors
    return found


# --- the speaker -------------------------------------------------------------------------------------------


def test_a_box_without_a_speaker_has_nothing_in_frr() -> None:
    assert frr_of(route("r", "10.9.0.0/16"), prefixes("unused"), router("b")) == FRRState()


def test_a_speaker_has_the_box_s_number_and_loopback() -> None:
    assert frr_of(router("a")).parts == (Router(ObjectRef("BGPRouter", "r-a"), 65001, "10.255.0.1"),)


def test_a_speaker_has_all_that_is_given_of_it() -> None:
    given = (
        "asn: 4200000000, routerId: 1.1.1.1, clusterId: 2.2.2.2, multipath: {ebgp: 4, ibgp: 8},"
        " families: [l2vpnEvpn, ipv6Unicast, ipv4Unicast], evpn: {advertiseSviIp: true}"
    )
    assert frr_of(router("a", given)).router == Router(
        owner=ObjectRef("BGPRouter", "r-a"),
        asn=4200000000,
        router_id="1.1.1.1",
        cluster_id="2.2.2.2",
        families=("ipv4", "ipv6", "evpn"),
        multipath_ebgp=4,
        multipath_ibgp=8,
        advertise_all_vni=True,
        advertise_svi_ip=True,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (EVPN, True),
        (f"{EVPN}, evpn: {{advertiseAllVni: false}}", False),
        ("families: [ipv4Unicast]", False),
    ],
)
def test_all_vnis_are_announced_where_evpn_is_spoken_unless_the_spec_says_no(
    given: str, expected: bool
) -> None:
    speaker = frr_of(router("a", given)).router
    assert speaker is not None
    assert speaker.advertise_all_vni is expected


def test_networks_are_of_both_families_in_the_order_of_numbers() -> None:
    given = f"{DUAL}, networks: ['2001:db8:2::/48', 10.10.0.0/16, 10.9.0.0/16, '2001:db8:1::/48']"
    assert [part.prefix for part in frr_of(router("a", given)).of(Network)] == [
        "10.9.0.0/16",
        "10.10.0.0/16",
        "2001:db8:1::/48",
        "2001:db8:2::/48",
    ]


def test_redistribution_is_in_each_unicast_family_that_is_spoken() -> None:
    given = (
        "families: [ipv6Unicast, l2vpnEvpn, ipv4Unicast],"
        " redistribute: [{source: kernel, metric: 0}, {source: connected, routeMap: ours}]"
    )
    ours = entries("RouteMap", "ours", "seq: 10, action: permit")
    owner = ObjectRef("BGPRouter", "r-a")
    assert list(frr_of(router("a", given), ours).of(Redistribution)) == [
        Redistribution(owner, "ipv4", "connected", 65001, route_map="ours"),
        Redistribution(owner, "ipv4", "kernel", 65001, metric=0),
        Redistribution(owner, "ipv6", "connected", 65001, route_map="ours"),
        Redistribution(owner, "ipv6", "kernel", 65001, metric=0),
    ]


# --- sessions ----------------------------------------------------------------------------------------------


def test_a_session_within_one_link_needs_no_source() -> None:
    assert session(more="description: Gwangju to Seoul") == Neighbor(
        owner=ObjectRef("BGPPeer", "p"),
        name="192.0.2.2",
        asn=65001,
        remote_as=65002,
        description="Gwangju to Seoul",
    )


def test_each_end_has_the_other_for_a_neighbor() -> None:
    other = session(name="b")
    assert (other.name, other.asn, other.remote_as) == ("192.0.2.1", 65002, 65001)


def test_a_session_over_ipv6_has_ipv6_addresses() -> None:
    found = session(
        *(router(n, DUAL) for n in "ab"),
        one="box: a, address: '2001:db8::1'",
        other="box: b, address: '2001:db8::2'",
        more=DUAL,
    )
    assert (found.name, found.update_source) == ("2001:db8::2", "")
    assert [family.family for family in found.families] == ["ipv4", "ipv6"]


def test_a_session_between_loopbacks_speaks_from_them_and_says_how_far() -> None:
    loops = {"one": "box: a, address: 10.255.0.1", "other": "box: b, address: 10.255.0.2"}
    here, there = (session(**loops, more="multihop: 3", name=n) for n in "ab")
    assert (here.name, here.update_source, here.multihop) == ("10.255.0.2", "10.255.0.1", 3)
    assert (there.name, there.update_source, there.multihop) == ("10.255.0.1", "10.255.0.2", 3)


def test_a_session_to_a_loopback_from_a_link_speaks_from_the_link_s_address() -> None:
    found = session(other="box: b, address: 10.255.0.2", more="multihop: 2")
    assert (found.name, found.update_source) == ("10.255.0.2", "192.0.2.1")


def test_a_session_within_an_as_counts_no_hops() -> None:
    ends = {"one": "box: a, address: 10.255.0.1", "other": "box: b, address: 10.255.0.2"}
    found = session(router("b", "asn: 65001"), **ends)
    assert (found.remote_as, found.update_source, found.multihop) == (65001, "10.255.0.1", 0)


def test_one_hop_is_what_a_session_has_anyway() -> None:
    assert session(more="multihop: 1").multihop == 0


def test_a_second_address_of_a_link_is_a_source_that_has_to_be_said() -> None:
    gateways = "a: [10.10.0.1/24, 10.10.0.11/24], b: [10.10.0.2/24]"
    lan = doc(
        "Tunnel",
        "t",
        f"boxes: {{names: [a, b]}}, vni: 10, flood: {{mode: static}}, gateways: {{{gateways}}}",
    )
    found = session(lan, one="box: a, address: 10.10.0.11", other="box: b, address: 10.10.0.2")
    assert (found.name, found.update_source) == ("10.10.0.2", "10.10.0.11")


@pytest.mark.parametrize(
    ("far", "more", "source"),
    [("192.0.2.200", "", ""), ("198.51.100.1", "multihop: 5", "192.0.2.1")],
)
def test_a_neighbor_outside_is_on_the_link_or_behind_it(far: str, more: str, source: str) -> None:
    (found,) = frr_of(router("a"), peer("box: a", f"asn: 64496, address: {far}", more)).neighbors
    assert (found.name, found.remote_as, found.update_source) == (far, 64496, source)


def test_an_unnumbered_session_is_with_its_interface() -> None:
    found = session(
        one="box: a, interface: wan0", other="box: b, interface: wan0", more="families: [ipv4Unicast]"
    )
    assert (found.name, found.unnumbered, found.remote_as, found.update_source) == ("wan0", True, 65002, "")


def test_neighbors_are_in_the_order_of_numbers_addresses_before_interfaces() -> None:
    ends = ("asn: 64496, address: 192.0.2.100", "asn: 64497, address: 192.0.2.20", "asn: 64498")
    six = "asn: 64499, address: '2001:db8::9'"
    state = frr_of(
        router("a", DUAL),
        *(peer("box: a", end, name=f"p{i}") for i, end in enumerate(ends[:2])),
        peer("box: a, interface: rack0", ends[2], name="p2"),
        peer("box: a, address: '2001:db8::1'", six, name="p3"),
    )
    assert [n.name for n in state.neighbors] == ["192.0.2.20", "192.0.2.100", "2001:db8::9", "rack0"]


def test_a_session_has_all_that_is_given_of_it() -> None:
    found = session(
        one=(
            "box: a, nextHopSelf: true, allowAsIn: 2, defaultOriginate: true,"
            " maxPrefixes: {limit: 100, warnAtPercent: 90, action: restart, restartAfterMinutes: 5}"
        ),
        more=(
            "timers: {keepalive: 3, hold: 9, connectRetry: 7, advertisementInterval: 0}, passwordRef: koren,"
            " ttlSecurity: 2, gracefulRestart: enabled, sendCommunities: [large, standard],"
            " shutdown: {message: until March}, bfd: {receiveMs: 100, transmitMs: 200, multiplier: 5}"
        ),
    )
    assert found == Neighbor(
        owner=ObjectRef("BGPPeer", "p"),
        name="192.0.2.2",
        asn=65001,
        remote_as=65002,
        keepalive_s=3,
        hold_s=9,
        connect_retry_s=7,
        advertisement_interval_s=0,
        secret="koren",
        bfd_profile="smartxd-100-200-5",
        ttl_security=2,
        graceful_restart="enabled",
        shutdown="until March",
        families=(
            NeighborFamily(
                "ipv4",
                next_hop_self=True,
                default_originate=True,
                allow_as_in=2,
                send_communities=("standard", "large"),
                max_prefixes=MaxPrefixes(100, 90, "restart", 5),
            ),
        ),
    )


def test_what_one_end_says_is_not_said_of_the_other() -> None:
    one = "box: a, nextHopSelf: true, allowAsIn: 2, maxPrefixes: {limit: 100}"
    assert session(one=one, name="b").families == (NeighborFamily("ipv4"),)


def test_a_shutdown_without_a_message_is_one() -> None:
    assert session(more="shutdown: {}").shutdown == ""


def test_of_evpn_frr_knows_no_next_hop_lists_limits_or_types_of_communities() -> None:
    speakers = [router(n, f"asn: 65001, {EVPN}") for n in "ab"]
    lists = [
        entries("ASPathList", "paths", "seq: 10, action: permit, regex: ^65002$"),
        entries("RouteMap", "map", "seq: 10, action: permit"),
    ]
    end = (
        "box: a, in: {routeMap: map, asPathList: paths, prefixLists: [ours]}, nextHopSelf: true,"
        " routeReflectorClient: true, allowAsIn: 1, defaultOriginate: true, maxPrefixes: {limit: 5}"
    )
    found = session(*speakers, *lists, prefixes("ours"), one=end, more=f"{EVPN}, sendCommunities: [standard]")
    assert found.families == (
        NeighborFamily(
            "ipv4",
            next_hop_self=True,
            route_reflector_client=True,
            default_originate=True,
            allow_as_in=1,
            send_communities=("standard",),
            max_prefixes=MaxPrefixes(5),
            inbound=Policy("map", "ours", "paths"),
        ),
        NeighborFamily("evpn", route_reflector_client=True, allow_as_in=1, inbound=Policy("map")),
    )


def test_prefix_lists_are_of_their_families_maps_and_as_path_lists_of_all() -> None:
    end = "box: a, in: {prefixLists: [six, four], routeMap: map}, out: {asPathList: paths}"
    found = session(
        *(router(n, DUAL) for n in "ab"),
        prefixes("four"),
        prefixes("six", "2001:db8::/32", "ipv6"),
        entries("RouteMap", "map", "seq: 10, action: permit"),
        entries("ASPathList", "paths", "seq: 10, action: permit, regex: ^65002$"),
        one=end,
        more=DUAL,
    )
    assert [(f.inbound, f.outbound) for f in found.families] == [
        (Policy("map", "four"), Policy(as_path_list="paths")),
        (Policy("map", "six"), Policy(as_path_list="paths")),
    ]


def test_sessions_with_the_same_intervals_share_a_profile_of_the_speaker() -> None:
    settings = ("bfd: {}", "bfd: {receiveMs: 50}", "bfd: {receiveMs: 300}", "")
    state = frr_of(
        router("a"),
        *(
            peer("box: a", f"asn: 64496, address: 192.0.2.{200 + i}", more, f"p{i}")
            for i, more in enumerate(settings)
        ),
    )
    owner = ObjectRef("BGPRouter", "r-a")
    assert list(state.of(BFDProfile)) == [BFDProfile(owner, 50, 300, 3), BFDProfile(owner)]
    names = ["smartxd-300-300-3", "smartxd-50-300-3", "smartxd-300-300-3", ""]
    assert [n.bfd_profile for n in state.neighbors] == names


# --- policy ------------------------------------------------------------------------------------------------


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

STATIC = "redistribute: [{source: static}]"


def kept(*documents: str, speaker: str = STATIC) -> tuple[list[str], list[str]]:
    """The prefixes of the Routes of a that FRR keeps, and of those that the kernel keeps."""
    desired = desire(fleet_of(*BOXES, router("a", speaker), *documents), "a")
    return [r.destination for r in desired.frr.of(StaticRoute)], [
        r.destination for r in desired.kernel.routes
    ]


def test_frr_keeps_the_static_routes_that_its_speaker_announces() -> None:
    given = (
        route("r", "10.10.0.0/16", "via: [{address: 192.0.2.9}, {address: 192.0.2.8, interface: wan0}]"),
        route("s", "10.9.0.0/16", "blackhole: true"),
    )
    state = frr_of(router("a", STATIC), *given)
    assert list(state.of(StaticRoute)) == [
        StaticRoute(ObjectRef("Route", "s"), "10.9.0.0/16"),
        StaticRoute(
            ObjectRef("Route", "r"),
            "10.10.0.0/16",
            (NextHop("192.0.2.8", "wan0"), NextHop("192.0.2.9")),
        ),
    ]
    assert kept(*given) == (["10.9.0.0/16", "10.10.0.0/16"], [])


@pytest.mark.parametrize("speaker", ["", "redistribute: [{source: kernel}]"])
def test_the_kernel_keeps_static_routes_that_no_speaker_announces_as_such(speaker: str) -> None:
    assert kept(route("r", "10.9.0.0/16"), speaker=speaker) == ([], ["10.9.0.0/16"])


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ("ipv4Unicast", (["10.9.0.0/16"], ["2001:db8:9::/48"])),
        ("ipv6Unicast", (["2001:db8:9::/48"], ["10.9.0.0/16"])),
        ("ipv4Unicast, ipv6Unicast", (["10.9.0.0/16", "2001:db8:9::/48"], [])),
    ],
)
def test_static_routes_are_announced_in_the_families_that_are_spoken(
    families: str, expected: tuple[list[str], list[str]]
) -> None:
    given = (route("r", "10.9.0.0/16"), route("s", "2001:db8:9::/48", "via: [{interface: wan0}]"))
    assert kept(*given, speaker=f"families: [{families}], {STATIC}") == expected


@pytest.mark.parametrize(
    "more",
    [
        "via: [{address: 192.0.2.9}], metric: 5",
        "via: [{address: 192.0.2.9}, {address: 192.0.2.8, weight: 2}]",
        "via: [{address: 192.0.2.9}], table: 100",
    ],
)
def test_the_kernel_keeps_what_frr_cannot_hold_or_announce(more: str) -> None:
    assert kept(route("r", "10.9.0.0/16", more), route("s", "10.8.0.0/16")) == (
        ["10.8.0.0/16"],
        ["10.9.0.0/16"],
    )


def test_the_kernel_keeps_all_of_several_routes_to_a_prefix() -> None:
    backup = route("backup", "10.9.0.0/16", "via: [{address: 192.0.2.8}], metric: 50")
    assert kept(route("r", "10.9.0.0/16"), backup) == ([], ["10.9.0.0/16", "10.9.0.0/16"])


# --- EVPN --------------------------------------------------------------------------------------------------

SPEAKERS = (*(router(n, EVPN) for n in "ab"), peer("box: a", "box: b", EVPN))


def test_a_vni_is_named_where_its_tunnel_has_route_targets() -> None:
    targets = "mode: evpn, routeTargets: ['65000:20', '65000:100']"
    state = frr_of(
        *SPEAKERS,
        tunnel("high", 300, targets),
        tunnel("low", 20, "mode: evpn, routeTargets: ['65000:20']"),
        tunnel("derived", 30),
    )
    assert list(state.of(VNI)) == [
        VNI(ObjectRef("Tunnel", "low"), 20, 65001, ("65000:20",)),
        VNI(ObjectRef("Tunnel", "high"), 300, 65001, ("65000:100", "65000:20")),
    ]


@pytest.mark.parametrize(("name", "found"), [("a", "10.255.0.1:300"), ("b", "65002:300")])
def test_a_vni_has_the_route_distinguisher_of_its_box(name: str, found: str) -> None:
    given = "mode: evpn, routeDistinguishers: {a: '10.255.0.1:300', b: '65002:300'}"
    (vni,) = frr_of(*SPEAKERS, tunnel("t", 300, given), name=name).of(VNI)
    assert (vni.route_distinguisher, vni.route_targets) == (found, ())


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_tunnel_that_finds_its_vteps_otherwise_hears_no_other_box_by_evpn(name: str) -> None:
    state = frr_of(*SPEAKERS, tunnel("flooded", 40, "mode: static"), name=name)
    assert state.router is not None
    (vni,) = state.of(VNI)
    assert vni == VNI(ObjectRef("Tunnel", "flooded"), 40, state.router.asn, (f"{state.router.router_id}:0",))


def test_without_evpn_no_vni_is_named() -> None:
    assert list(frr_of(router("a"), router("b"), tunnel("flooded", 40, "mode: static")).of(VNI)) == []


def test_a_box_that_is_not_in_a_tunnel_has_nothing_of_its_vni() -> None:
    targets = tunnel("t", 20, "mode: evpn, routeTargets: ['65000:20']")
    assert list(frr_of(*SPEAKERS, router("c", EVPN), targets, name="c").of(VNI)) == []


# --- all of it ---------------------------------------------------------------------------------------------


def everything() -> tuple[str, ...]:
    return (
        router(
            "a", f"{EVPN}, {STATIC}, networks: [10.255.0.1/32]", ", annotations: {smartx.io/adopt: 'true'}"
        ),
        router("b", EVPN),
        peer("box: a, in: {routeMap: map, prefixLists: [ours]}", "box: b", f"{EVPN}, bfd: {{}}"),
        prefixes("ours"),
        entries("RouteMap", "map", "seq: 10, action: permit, match: {prefixList: ours}"),
        route("r", "10.9.0.0/16"),
        tunnel("t", 20, "mode: evpn, routeTargets: ['65000:20']"),
    )


def test_nothing_names_what_comes_after_it() -> None:
    kinds = [type(part).__name__ for part in frr_of(*everything()).parts]
    assert kinds == [
        *("PrefixList", "RouteMap", "BFDProfile", "StaticRoute", "Router"),
        *("Network", "Redistribution", "VNI", "Neighbor"),
    ]


def test_those_may_adopt_that_are_annotated_so() -> None:
    assert frr_of(*everything()).adopt == {ObjectRef("BGPRouter", "r-a")}


def test_the_objects_of_a_box_are_also_the_lists_and_maps_that_it_uses() -> None:
    objects = [str(ref) for ref in desire(fleet_of(*BOXES, *everything(), prefixes("x")), "a").objects]
    assert objects == [
        *("Box/a", "Tunnel/t", "Route/r", "BGPRouter/r-a", "BGPPeer/p", "PrefixList/ours", "RouteMap/map")
    ]


def test_parts_are_alone_under_their_names() -> None:
    state = frr_of(*everything())
    assert len({part.id for part in state.parts}) == len(state.parts)
