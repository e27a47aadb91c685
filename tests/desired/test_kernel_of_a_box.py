"""The kernel of one box, from every field of the specs that concerns it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from smartxd.desired import Desired, desire
from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import (
    Address,
    Bridge,
    Forwarding,
    Host,
    Link,
    NextHop,
    PortRule,
    PortSettings,
    Route,
    Station,
    Vlan,
    VlanRange,
    Vxlan,
)
from smartxd.spec.load import judge

HEAD = "apiVersion: smartx.io/v1alpha1\n"
TUNNEL = ObjectRef("Tunnel", "t")
BRIDGE = ObjectRef("Bridge", "campus")


def doc(kind: str, name: str, spec: str, metadata: str = "") -> str:
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}{metadata}}}\nspec: {{{spec}}}\n"


def box(name: str, more: str = "", mtu: int = 1500) -> str:
    number = "abc".index(name) + 1
    addresses = f"address: 192.0.2.{number}/24, address6: '2001:db8::{number}/64'"
    under = f"underlay: {{interface: wan0, {addresses}, mtu: {mtu}}}"
    return doc("Box", name, f"{under}, asn: 6500{number}{more}")


BOXES = (box("a"), box("b"), box("c"))


def tunnel(more: str, flood: str = "mode: static", name: str = "t", vni: int = 100) -> str:
    return doc("Tunnel", name, f"boxes: {{names: [a, b, c]}}, vni: {vni}, flood: {{{flood}}}, {more}")


def bridge(more: str = "") -> str:
    return doc("Bridge", "campus", f"boxes: {{names: [a, b, c]}}, interface: br-campus, {more}")


def port(name: str, more: str) -> str:
    return doc("Port", name, f"boxes: {{names: [a]}}, {more}")


def route(name: str, more: str) -> str:
    return doc("Route", name, f"boxes: {{names: [a]}}, {more}")


def desired(*documents: str, boxes: tuple[str, ...] = BOXES, of: str = "a") -> Desired:
    ignored = ("SX321", "SX322", "SX713")  # EVPN's sessions are another matter
    verdict = judge({"a.yaml": "---\n".join((*boxes, *documents)).encode()}, ignore=ignored)
    assert verdict.fleet is not None, verdict.findings
    assert not verdict.errors, verdict.errors
    return desire(verdict.fleet, of)


def named(found: Desired, name: str) -> Link:
    (link,) = (link for link in found.kernel.links if link.name == name)
    return link


def vxlan(found: Desired, name: str = "vx100") -> Vxlan:
    link = named(found, name)
    assert isinstance(link, Vxlan)
    return link


def switch(found: Desired, name: str) -> Bridge:
    link = named(found, name)
    assert isinstance(link, Bridge)
    return link


def test_static_flood_goes_to_the_other_boxes_and_names_no_link() -> None:
    assert vxlan(desired(tunnel("port: 8472, ttl: 9, mtu: 1400"))) == Vxlan(
        TUNNEL,
        "vx100",
        100,
        "192.0.2.1",
        "br100",
        1400,
        port=8472,
        ttl=9,
        remotes=frozenset({"192.0.2.2", "192.0.2.3"}),
    )


def test_static_flood_follows_the_fleet() -> None:
    fewer = desired(tunnel("").replace("[a, b, c]", "[a, c]"))
    assert vxlan(fewer).remotes == frozenset({"192.0.2.3"})


@pytest.mark.parametrize(("family", "group"), [("ipv4", "239.1.1.100"), ("ipv6", "ff05::100")])
def test_a_multicast_group_is_joined_on_the_underlay(family: str, group: str) -> None:
    found = vxlan(desired(tunnel(f"underlay: {family}", f"mode: multicast, group: '{group}'")))
    assert (found.group, found.underlay, found.remotes) == (group, "wan0", frozenset())
    assert found.learning
    assert found.settings.learning


@pytest.mark.parametrize("suppress", [True, False])
def test_evpn_says_what_others_learn(suppress: bool) -> None:
    flood = f"mode: evpn, suppressNeighbors: {str(suppress).lower()}"
    hosts = "hosts: [{mac: '02:00:00:00:00:01', box: b}]"
    found = vxlan(desired(tunnel(hosts, flood)))
    assert (found.learning, found.remotes, found.underlay, found.stations) == (False, None, "", frozenset())
    assert found.settings == PortSettings(learning=False, neighbor_suppression=suppress)


def test_an_ipv6_underlay_takes_20_bytes_more() -> None:
    found = vxlan(desired(tunnel("underlay: ipv6")))
    assert (found.local, found.mtu) == ("2001:db8::1", 1430)
    assert found.remotes == frozenset({"2001:db8::2", "2001:db8::3"})


@pytest.mark.parametrize(("underlay", "family", "mtu"), [(1550, "ipv4", 1500), (1570, "ipv6", 1500)])
def test_an_underlay_with_room_gives_the_nodes_the_mtu_of_ethernet(
    underlay: int, family: str, mtu: int
) -> None:
    boxes = tuple(box(name, mtu=underlay) for name in "abc")
    found = desired(tunnel(f"underlay: {family}"), boxes=boxes)
    assert {link.mtu for link in found.kernel.links} == {mtu}


def test_gateways_of_a_box_make_its_bridge_a_router_of_their_families() -> None:
    gateways = "gateways: {a: [10.0.0.1/24, '2001:db8:1::1/64'], b: 10.0.0.2/24}"
    both, one, none = (desired(tunnel(gateways), of=of) for of in "abc")
    routing = Bridge(TUNNEL, "br100", 1450, link_local=True, forwarding4=True, forwarding6=True)
    assert replace(switch(both, "br100"), mac="") == routing
    assert replace(switch(one, "br100"), mac="") == Bridge(TUNNEL, "br100", 1450, forwarding4=True)
    assert replace(switch(none, "br100"), mac="") == Bridge(TUNNEL, "br100", 1450)
    assert both.kernel.addresses == (
        Address(TUNNEL, "br100", "10.0.0.1/24"),
        Address(TUNNEL, "br100", "2001:db8:1::1/64"),
    )
    assert none.kernel.addresses == ()


def test_an_anycast_gateway_is_the_same_on_every_box() -> None:
    anycast = "anycastGateway: {addresses: [10.0.0.1/24], mac: '02:00:00:00:01:00'}"
    for of in "abc":
        found = desired(tunnel(anycast), of=of)
        assert switch(found, "br100").mac == "02:00:00:00:01:00"
        assert found.kernel.addresses == (Address(TUNNEL, "br100", "10.0.0.1/24"),)


def test_a_switch_keeps_a_mac_address_that_no_other_box_has() -> None:
    switches = [switch(desired(tunnel(""), of=of), "br100") for of in "abc"]
    macs = {link.mac for link in switches}
    assert len(macs) == 3
    assert all(re.fullmatch("02(:[0-9a-f]{2}){5}", mac) for mac in macs)
    gateway = desired(tunnel("gateways: {a: 10.0.0.1/24}"))
    assert switch(gateway, "br100").mac == switches[0].mac


def test_hosts_are_behind_their_boxes_and_neighbours_of_gateways() -> None:
    hosts = (
        "hosts: [{mac: '02:00:00:00:00:01', box: a, addresses: [10.0.0.11, '2001:db8:1::11']},"
        " {mac: '02:00:00:00:00:02', box: b, addresses: [10.0.0.12]}, {mac: '02:00:00:00:00:03', box: c}]"
    )
    found = desired(tunnel(f"{hosts}, gateways: {{a: 10.0.0.1/24}}"))
    assert vxlan(found).stations == {
        Station("02:00:00:00:00:02", "192.0.2.2"),
        Station("02:00:00:00:00:03", "192.0.2.3"),
    }
    assert switch(found, "br100").hosts == {
        Host("10.0.0.11", "02:00:00:00:00:01"),
        Host("10.0.0.12", "02:00:00:00:00:02"),
    }
    assert switch(desired(tunnel(f"{hosts}, gateways: {{a: 10.0.0.1/24}}"), of="b"), "br100").hosts == set()


def test_a_bridge_of_its_own_is_as_its_spec_says() -> None:
    more = "stp: true, multicastSnooping: false, mtu: 1300, addresses: {a: '2001:db8:2::1/64'}"
    found = desired(bridge(more))
    assert len(found.kernel.links) == 1
    assert replace(switch(found, "br-campus"), mac="") == Bridge(
        BRIDGE, "br-campus", 1300, stp=True, multicast_snooping=False, link_local=True, forwarding6=True
    )
    assert found.kernel.addresses == (Address(BRIDGE, "br-campus", "2001:db8:2::1/64"),)


def test_a_bridge_has_the_mtu_of_the_smallest_tunnel_that_plugs_into_it() -> None:
    documents = (
        bridge("vlanAware: true"),
        tunnel("bridgeRef: campus, vlan: 10"),
        tunnel("bridgeRef: campus, vlan: 20, mtu: 1400", name="u", vni=101),
    )
    assert switch(desired(*documents), "br-campus").mtu == 1400
    assert switch(desired(bridge()), "br-campus").mtu == 1500


def test_a_tunnel_in_a_vlan_has_its_gateways_on_a_link_in_it() -> None:
    anycast = "anycastGateway: {addresses: [10.1.0.1/24], mac: '02:00:00:00:01:00'}"
    host = "hosts: [{mac: '02:00:00:00:00:01', box: b, addresses: [10.1.0.9]}]"
    found = desired(
        bridge("vlanAware: true, addresses: {a: 10.0.0.1/24}"),
        tunnel(f"bridgeRef: campus, vlan: 20, {anycast}, {host}"),
        tunnel("bridgeRef: campus, vlan: 30", name="u", vni=101),
    )
    assert switch(found, "br-campus").vlans == (VlanRange(1, 1, pvid=True, untagged=True), VlanRange(20, 20))
    assert [link.name for link in found.kernel.links] == ["br-campus", "br-campus.20", "vx100", "vx101"]
    assert named(found, "br-campus.20") == Vlan(
        TUNNEL,
        "br-campus.20",
        "br-campus",
        20,
        1450,
        mac="02:00:00:00:01:00",
        forwarding4=True,
        hosts=frozenset({Host("10.1.0.9", "02:00:00:00:00:01")}),
    )
    assert vxlan(found).settings.vlans == (VlanRange(20, 20, pvid=True, untagged=True),)
    assert Address(TUNNEL, "br-campus.20", "10.1.0.1/24") in found.kernel.addresses


def test_the_native_vlan_of_a_bridge_is_its_own() -> None:
    gateway = "bridgeRef: campus, vlan: 1, gateways: {a: 10.0.0.1/24}"
    found = desired(bridge("vlanAware: true"), tunnel(gateway))
    native = (VlanRange(1, 1, pvid=True, untagged=True),)
    assert (switch(found, "br-campus").vlans, vxlan(found).settings.vlans) == (native, native)
    assert found.kernel.addresses == (Address(TUNNEL, "br-campus", "10.0.0.1/24"),)
    assert switch(desired(bridge("vlanAware: true"), tunnel(gateway), of="b"), "br-campus").vlans == ()


def test_hosts_of_a_tunnel_are_neighbours_of_the_bridge_that_it_plugs_into() -> None:
    host = "hosts: [{mac: '02:00:00:00:00:01', box: b, addresses: [10.0.0.9]}]"
    found = desired(bridge("addresses: {a: 10.0.0.1/24}"), tunnel(f"bridgeRef: campus, {host}"))
    assert switch(found, "br-campus").hosts == {Host("10.0.0.9", "02:00:00:00:00:01")}


def test_an_external_bridge_is_a_name_and_nothing_else() -> None:
    found = desired(
        bridge("mode: external, vlanAware: true"),
        tunnel("bridgeRef: campus, vlan: 20"),
        port("p", "interfaces: ['tap*'], bridge: campus, access: 20"),
    )
    assert [link.name for link in found.kernel.links] == ["vx100"]
    assert vxlan(found).bridge == found.kernel.ports[0].bridge == "br-campus"
    assert found.kernel.addresses == ()
    assert BRIDGE in found.objects


@pytest.mark.parametrize(
    ("vlans", "expected"),
    [
        ("access: 10", [VlanRange(10, 10, pvid=True, untagged=True)]),
        ("trunk: {vlans: ['20-29', 10, '30-39']}", [VlanRange(10, 10), VlanRange(20, 39)]),
        (
            "trunk: {vlans: [30, 10], native: 20}",
            [VlanRange(10, 10), VlanRange(20, 20, pvid=True, untagged=True), VlanRange(30, 30)],
        ),
    ],
)
def test_a_port_has_the_vlans_of_its_access_or_trunk(vlans: str, expected: list[VlanRange]) -> None:
    plug = port("p", f"interfaces: [vnet7, 'tap*'], bridge: campus, isolated: true, {vlans}")
    assert desired(bridge("vlanAware: true"), plug).kernel.ports == (
        PortRule(
            ObjectRef("Port", "p"),
            ("tap*", "vnet7"),
            "br-campus",
            settings=PortSettings(vlans=tuple(expected), isolated=True),
        ),
    )


def test_a_port_plugs_into_the_bridge_of_its_tunnel() -> None:
    own = desired(tunnel("bridge: br-t"), port("p", "interfaces: ['tap*'], tunnel: t, namespace: vm1"))
    assert own.kernel.ports == (PortRule(ObjectRef("Port", "p"), ("tap*",), "br-t", "vm1"),)
    shared = desired(bridge(), tunnel("bridgeRef: campus"), port("p", "interfaces: ['tap*'], tunnel: t"))
    assert shared.kernel.ports[0].bridge == "br-campus"


def test_routes_are_as_the_kernel_says_them() -> None:
    found = desired(
        tunnel("gateways: {a: [10.0.0.1/24, '2001:db8:1::1/64']}"),
        route(
            "many",
            "destination: 198.51.100.0/24, table: 100,"
            " via: [{address: 10.0.0.9, weight: 3}, {address: 10.0.0.12, interface: br100}]",
        ),
        route("six", "destination: '::/0', via: [{address: 'fe80::1', interface: br100}]"),
        route("six-too", "destination: '2001:db8:9::/48', via: [{address: '2001:db8:1::9'}], metric: 7"),
        route("hole", "destination: 10.64.0.0/10, blackhole: true, metric: 5"),
        route("link", "destination: 192.168.0.0/16, via: [{interface: ppp0}]"),
    )
    assert found.kernel.routes == (
        Route(ObjectRef("Route", "hole"), "10.64.0.0/10", metric=5),
        Route(ObjectRef("Route", "link"), "192.168.0.0/16", (NextHop(link="ppp0"),)),
        Route(
            ObjectRef("Route", "many"),
            "198.51.100.0/24",
            (NextHop("10.0.0.12", "br100"), NextHop("10.0.0.9", weight=3)),
            table=100,
        ),
        Route(ObjectRef("Route", "six-too"), "2001:db8:9::/48", (NextHop("2001:db8:1::9"),), metric=7),
        Route(ObjectRef("Route", "six"), "::/0", (NextHop("fe80::1", "br100"),), metric=1024),
    )


def test_loopbacks_are_on_lo() -> None:
    loopbacks = ", loopback: 10.255.0.1, loopback6: '2001:db8:ff::1'"
    found = desired(boxes=(box("a", loopbacks),))
    owner = ObjectRef("Box", "a")
    assert found.kernel.addresses == (
        Address(owner, "lo", "10.255.0.1/32"),
        Address(owner, "lo", "2001:db8:ff::1/128"),
    )


ROUTE = route("r", "destination: 198.51.100.0/24, via: [{address: 192.0.2.254}]")
GATEWAY = tunnel("gateways: {a: 10.0.0.1/24}")
SPEAKER = doc("BGPRouter", "speaker", "box: a, routerId: 10.255.0.1")


@pytest.mark.parametrize(
    ("documents", "owner", "families"),
    [
        ((SPEAKER,), ObjectRef("BGPRouter", "speaker"), ("ipv4", "ipv6")),
        ((GATEWAY, ROUTE), ObjectRef("Box", "a"), ("ipv4",)),
        ((GATEWAY,), None, ()),
        ((ROUTE,), None, ()),
    ],
    ids=["speaker", "gateway and route", "gateway", "route"],
)
def test_the_underlay_is_routed_where_something_leads_there(
    documents: tuple[str, ...], owner: ObjectRef | None, families: tuple[str, ...]
) -> None:
    expected = tuple(Forwarding(owner, "wan0", family) for family in families if owner is not None)
    assert desired(*documents).kernel.forwarding == expected


@pytest.mark.parametrize(("value", "adopted"), [("true", {TUNNEL}), ("false", set())])
def test_what_an_annotation_lets_take_over_is_said(value: str, adopted: set[ObjectRef]) -> None:
    annotation = f", annotations: {{smartx.io/adopt: '{value}'}}"
    marked = tunnel("").replace("{name: t", f"{{name: t{annotation}")
    assert desired(marked).kernel.adopt == adopted


def test_every_object_that_makes_something_here_has_conditions() -> None:
    found = desired(
        bridge(),
        tunnel("bridgeRef: campus, gateways: {a: 10.0.0.1/24}"),
        port("p", "interfaces: ['tap*'], bridge: campus"),
        ROUTE,
        SPEAKER,
    )
    made = {o.owner for o in found.kernel.objects()} | {rule.owner for rule in found.kernel.ports}
    assert {str(ref) for ref in found.objects} == {
        "Box/a",
        "Tunnel/t",
        "Bridge/campus",
        "Port/p",
        "Route/r",
        "BGPRouter/speaker",
    }
    assert made <= set(found.objects)
