from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartxd.objects import ObjectRef
from smartxd.planes.frr.render import Context, lines
from smartxd.planes.frr.render.lists import communities
from smartxd.planes.frr.render.text import DESCRIPTION_MAX, description, free_text, mark
from smartxd.planes.frr.state import VNI, Neighbor, Network, PrefixEntry, PrefixList, Router
from smartxd.planes.frr.words import Statement, read
from tests.frr.frr_states import IPV4, ROUTER, SECTION

PEER = ObjectRef("BGPPeer", "wan")
EVPN = "address-family l2vpn evpn"


def test_a_neighbor_is_rendered_with_its_as_number_first() -> None:
    state = Neighbor(
        PEER, "192.0.2.2", 65001, 65002, "to the other side", keepalive_s=3, hold_s=9, connect_retry_s=5
    )
    assert [p[-1] for p in lines(state, Context())] == [
        "neighbor 192.0.2.2 remote-as 65002",
        "neighbor 192.0.2.2 description smartxd:BGPPeer/wan to the other side",
        "neighbor 192.0.2.2 timers 3 9",
        "neighbor 192.0.2.2 timers connect 5",
    ]


def test_a_section_that_activates_nothing_by_itself_gets_the_activation() -> None:
    found = lines(Neighbor(PEER, "192.0.2.2", 65001, 65002), Context(activates_ipv4=False))
    assert found[-1] == (SECTION, IPV4, "neighbor 192.0.2.2 activate")


def test_a_line_that_is_the_profiles_default_is_left_out() -> None:
    router = Router(ROUTER, 65001, "10.255.0.1")
    line = (SECTION, "no bgp ebgp-requires-policy")
    assert line in lines(router, Context())
    assert line not in lines(router, Context(profile="datacenter"))


def test_a_network_is_in_its_family() -> None:
    assert lines(Network(ROUTER, "10.0.0.0/8", 65001), Context()) == ((SECTION, IPV4, "network 10.0.0.0/8"),)
    (path,) = lines(Network(ROUTER, "2001:db8::/32", 65001), Context())
    assert path[1] == "address-family ipv6 unicast"


def test_the_route_target_that_frr_derives_comes_last_and_never_alone() -> None:
    tunnel = ObjectRef("Tunnel", "t")
    alone = VNI(tunnel, 120, 4200000001, (f"{4200000001 & 0xFFFF}:120",))
    assert lines(alone, Context()) == (("router bgp 4200000001", EVPN, "vni 120"),)
    both = VNI(tunnel, 120, 65001, ("65001:120", "65001:99"))
    assert [p[-1] for p in lines(both, Context())][1:3] == [
        "route-target import 65001:99",
        "route-target import 65001:120",
    ]


def test_the_route_distinguisher_of_a_vni_stands_by_itself() -> None:
    vni = VNI(ObjectRef("Tunnel", "t"), 120, 65001, (), "192.0.2.1:120")
    found = lines(vni, Context())
    assert found == ((SECTION, EVPN, "vni 120"), (SECTION, EVPN, "vni 120", "rd 192.0.2.1:120"))
    assert read(found[1]) == Statement("vni 120", "rd", "192.0.2.1:120")


@given(st.text())
def test_free_text_stays_on_one_line_that_frr_keeps_as_it_is(text: str) -> None:
    line = description(PEER, text)
    assert len(line) <= DESCRIPTION_MAX
    assert line.isprintable()
    assert "|" not in line
    assert " ".join(line.split()) == line
    assert line.split(" ")[0] == "smartxd:BGPPeer/wan"
    assert free_text(line) == line


def test_a_line_break_cannot_begin_a_line() -> None:
    assert (
        description(PEER, "x\n!\nrouter bgp 1\r\x0b\u2028no y") == "smartxd:BGPPeer/wan x ! router bgp 1 no y"
    )


def test_addresses_in_free_text_are_written_as_frr_reload_writes_them() -> None:
    assert free_text("FE80::0001 2001:DB8::1/32 at 10:30") == "fe80::1 2001:db8::/32 at 10:30"


def test_the_mark_is_read_back() -> None:
    assert mark(description(PEER, "x smartxd:BGPPeer/other")) == PEER


def test_a_foreign_description_is_no_mark() -> None:
    for text in ("smartx:BGPPeer/wan", "x smartxd:BGPPeer/wan", "smartxd:", "smartxd:BGPPeer"):
        assert mark(text) is None


def test_communities_are_named_ordered_and_said_once_as_frr_does() -> None:
    standard = ("65535:65281", "0:0", "65001:1", "internet", "65535:6", "65001:1")
    assert communities(standard) == ("internet", "65001:1", "llgr-stale", "no-export")
    extended = ("soo 192.0.2.1:5", "rt 65536:1", "rt 10.0.0.1:1", "soo 65001:1", "rt 9.0.0.1:1", "rt 65001:2")
    assert communities(extended) == (
        *("rt 65001:2", "soo 65001:1", "rt 9.0.0.1:1", "rt 10.0.0.1:1", "soo 192.0.2.1:5", "rt 65536:1"),
    )


def test_an_entry_that_says_what_another_says_is_left_out_as_frr_does() -> None:
    entries = (PrefixEntry(5, "permit", "10.0.0.0/8"), PrefixEntry(10, "permit", "10.0.0.0/8", le=0))
    others = (PrefixEntry(15, "deny", "10.0.0.0/8"), PrefixEntry(20, "permit", "10.0.0.0/8", le=8))
    said = lines(PrefixList(ObjectRef("PrefixList", "a"), "a", "ipv4", (*entries, *others)), Context())
    assert [path[0].split()[4] for path in said if " seq " in path[0]] == ["5", "15", "20"]
