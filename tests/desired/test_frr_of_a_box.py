"""The speaker and the sessions of one box, from every field of the specs that concerns them."""

from __future__ import annotations

import pytest
from frr_specs import (
    DUAL,
    EVPN,
    doc,
    entries,
    frr_of,
    peer,
    prefixes,
    route,
    router,
    session,
)

from smartxd.objects import ObjectRef
from smartxd.planes.frr.state import (
    BFDProfile,
    FRRState,
    MaxPrefixes,
    Neighbor,
    NeighborFamily,
    Network,
    Policy,
    Redistribution,
    Router,
)


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
