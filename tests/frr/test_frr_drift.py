"""What somebody adds by hand to a session or map of smartxd's goes again, whatever FRR calls it."""

from __future__ import annotations

import pytest

from smartxd.objects import ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import (
    BFDProfile,
    Match,
    Neighbor,
    NeighborFamily,
    Policy,
    RouteMap,
    RouteMapEntry,
    Set,
)
from tests.frr.conftest import Book, Instance
from tests.frr.frr_states import ROUTER, WAN, beside, speaker

pytestmark = pytest.mark.kernel

LISTS = """ip prefix-list HAND seq 5 permit 10.0.0.0/8
access-list HAND seq 5 permit any
bgp as-path access-list HAND seq 5 permit ^1
bgp community-list standard HAND seq 5 permit 1:1
bgp extcommunity-list standard HAND seq 5 permit rt 1:1
bgp large-community-list standard HAND seq 5 permit 1:1:1
route-map HAND permit 10
exit
"""
SESSION = """disable-connected-check; passive; port 1790; local-as 65009 no-prepend replace-as;
capability dynamic; capability extended-nexthop; dont-capability-negotiate; override-capability;
strict-capability-match; enforce-first-as; sender-as-path-loop-detection; tcp-mss 1000;
local-role customer strict-mode; solo; extended-optional-parameters; ttl-security hops 3; ebgp-multihop 5;
update-source lo; shutdown rtt 500; shutdown message x y; password abc; bfd;
bfd check-control-plane-failure; timers 5 15; timers connect 7; timers delayopen 10;
advertisement-interval 9; graceful-restart; graceful-restart-disable; interface wan; peer-group HAND"""
FAMILY = """weight 5; route-server-client; addpath-tx-all-paths; disable-addpath-rx; as-override;
attribute-unchanged as-path next-hop; remove-private-AS all replace-AS; soft-reconfiguration inbound;
unsuppress-map HAND; advertise-map HAND exist-map HAND; capability orf prefix-list both;
maximum-prefix 5 90 restart 3; maximum-prefix 5 force; maximum-prefix-out 7; distribute-list HAND in;
default-originate route-map HAND; next-hop-self force; allowas-in origin; allowas-in 5; prefix-list HAND in;
route-map HAND out; route-map HAND in; filter-list HAND in; soo 65001:1"""
BFD = """transmit-interval 70; receive-interval 80; detect-multiplier 9; echo-mode; passive-mode;
minimum-ttl 5; shutdown; echo transmit-interval 77; echo receive-interval disabled"""
MAP = """match ip address prefix-list HAND; match ip address HAND; match ip address prefix-len 5;
match ip next-hop prefix-list HAND; match ip next-hop address 1.2.3.4; match ip next-hop type blackhole;
match ip route-source prefix-list HAND; match ipv6 address prefix-list HAND;
match ipv6 next-hop type blackhole; match as-path HAND; match community HAND exact-match;
match large-community HAND; match extcommunity HAND;
match peer 1.2.3.4; match origin igp; match probability 5; match metric 5; match tag 5; match interface lo;
match source-vrf default; match local-preference 6; match evpn route-type macip; match evpn vni 5;
match evpn default-route; match mac address X; call HAND; on-match goto 20; set ip next-hop 1.2.3.4;
set ip next-hop unchanged; set ipv6 next-hop global 2001:db8::1; set ipv6 next-hop prefer-global;
set local-preference +5; set metric rtt; set weight 5; set tag 5; set origin igp; set as-path prepend 1 2;
set as-path exclude 1; set community 1:1 additive; set large-community 1:1:1; set extcommunity rt 1:1;
set extcommunity soo 1:1; set extcommunity bandwidth 100; set comm-list HAND delete;
set large-comm-list HAND delete; set aggregator as 1 1.2.3.4; set atomic-aggregate; set originator-id 1.2.3.4;
set label-index 5; set sr-te color 5; set src 10.255.0.1; set distance 5; set evpn gateway-ip ipv4 1.2.3.4;
set ipv4 vpn next-hop 1.2.3.4"""

ENTRY = RouteMapEntry(10, "permit", match=Match(metric=7), set=Set(weight=3))
POLICY = RouteMap(ObjectRef("RouteMap", "m"), "m", (ENTRY, RouteMapEntry(20, "permit")))
PROFILE = BFDProfile(ROUTER)
PEER = Neighbor(
    *(WAN, "192.0.2.2", 65001, 65002),
    bfd_profile=PROFILE.name,
    families=(NeighborFamily("ipv4", inbound=Policy("m")),),
)
STATE = beside(speaker(65001, "10.255.0.1", PEER), POLICY, PROFILE)


def lines(text: str, start: str) -> list[str]:
    return [f"{start}{' '.join(part.split())}" for part in text.split(";")]


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_added_by_hand_goes_again(lone: Instance, backwards: bool) -> None:
    lone.start_daemon("bfdd")
    lone.configure(LISTS)
    book = Book(FRRPlane(lone.config))
    assert [result.problem for result in book.converge(STATE) if result.problem] == []
    lone.configure("router bgp 65001\nneighbor HAND peer-group\nneighbor HAND remote-as 65002\nexit\n")
    before = lone.running()
    step = -1 if backwards else 1
    for headers, given in (
        (["router bgp 65001"], lines(SESSION, "neighbor 192.0.2.2 ")),
        (["router bgp 65001", "address-family ipv4 unicast"], lines(FAMILY, "neighbor 192.0.2.2 ")),
        (["route-map m permit 10"], lines(MAP, "")),
        (["bfd", f"profile {PROFILE.name}"], lines(BFD, "")),
    ):
        # Some are taken only where others are not: FRR says so of each, and takes the rest.
        lone.configure("\n".join([*headers, *given[::step], "end\n"]), whole=False)
        assert lone.running() != before
        assert [result.problem for result in book.converge(STATE) if result.problem] == []
        assert lone.running() == before
        assert book.plan(STATE).actions == ()
