from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartxd.objects import ObjectRef
from smartxd.planes.frr import render
from smartxd.planes.frr.render import Context, description, free_text
from smartxd.planes.frr.running import IPV4_UNICAST
from smartxd.planes.frr.state import Neighbor, Network, Router

ROUTER, PEER = ObjectRef("BGPRouter", "a"), ObjectRef("BGPPeer", "wan")


def test_a_neighbor_is_rendered_with_its_as_number_first() -> None:
    lines = render.neighbor(Neighbor(PEER, "192.0.2.2", 65002, "to the other side", 3, 9, 5), Context())
    assert [p[-1] for p in lines] == [
        "neighbor 192.0.2.2 remote-as 65002",
        "neighbor 192.0.2.2 description smartxd:BGPPeer/wan to the other side",
        "neighbor 192.0.2.2 timers 3 9",
        "neighbor 192.0.2.2 timers connect 5",
    ]


def test_a_section_that_activates_nothing_by_itself_gets_the_activation() -> None:
    lines = render.neighbor(Neighbor(PEER, "192.0.2.2", 65002), Context(activates_ipv4=False))
    assert lines[-1] == (IPV4_UNICAST, "neighbor 192.0.2.2 activate")


def test_a_line_that_is_the_profiles_default_is_left_out() -> None:
    router = Router(ROUTER, 65001, "10.255.0.1")
    assert ("no bgp ebgp-requires-policy",) in render.router(router, "traditional")
    assert render.router(router, "datacenter") == (("bgp router-id 10.255.0.1",),)


def test_a_network_is_in_ipv4_unicast() -> None:
    assert render.network(Network(ROUTER, "10.0.0.0/8", 65001)) == ((IPV4_UNICAST, "network 10.0.0.0/8"),)


@given(st.text())
def test_free_text_stays_on_one_line_that_frr_keeps_as_it_is(text: str) -> None:
    line = description(PEER, text)
    assert len(line) <= render.DESCRIPTION_MAX
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


@given(st.text(max_size=60), st.integers(1, 2**32 - 2), st.integers(1, 100), st.integers(1, 1000))
def test_a_rendered_neighbor_is_read_back(text: str, remote_as: int, keepalive: int, retry: int) -> None:
    state = Neighbor(PEER, "192.0.2.2", remote_as, free_text(text), keepalive, keepalive * 3, retry, 65001)
    lines = frozenset(render.neighbor(state, Context()))
    assert render.mark("192.0.2.2", lines) == PEER
    assert render.read_neighbor(PEER, 65001, "192.0.2.2", lines) == state


def test_a_foreign_description_is_no_mark() -> None:
    for text in ("smartx:BGPPeer/wan", "x smartxd:BGPPeer/wan", "smartxd:", "smartxd:BGPPeer"):
        assert render.mark("192.0.2.2", frozenset({(f"neighbor 192.0.2.2 description {text}",)})) is None
