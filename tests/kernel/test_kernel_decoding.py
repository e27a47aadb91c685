from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

import pytest

from smartxd.planes.kernel.decode import links, vlans
from smartxd.planes.kernel.decode.links import Around
from smartxd.planes.kernel.observe import observe, observe_fdb
from smartxd.planes.kernel.observed import (
    KernelObserved,
    ObservedAddress,
    ObservedPort,
    ObservedRoute,
    ObservedVxlan,
)
from smartxd.planes.kernel.rtnl import RTM_NEWADDR, Rtnl
from smartxd.planes.kernel.state import Host, NextHop, PortSettings, Station, VlanRange

live = pytest.mark.kernel


@pytest.fixture
def rtnl(box: Any) -> Iterator[Rtnl]:
    with box.inside():
        made = Rtnl()
    try:
        yield made
    finally:
        made.close()


def bridge_set(box: Any, arguments: str) -> None:
    box.run(f"bridge {arguments}")


@live
def test_a_bridge_and_its_port(box: Any, rtnl: Rtnl) -> None:
    box.ip("link add br0 address 02:00:00:00:00:01 group 77 type bridge stp_state 1 mcast_snooping 0")
    box.ip("link set br0 alias smartxd:Tunnel/t up")
    box.ip("link add plain type bridge")
    box.ip("link set wan master br0")
    box.ip("link set br0 mtu 1400")
    bridge_set(box, "link set dev wan learning off isolated on neigh_suppress on")
    found = observe(rtnl).links
    br0, plain, wan = found["br0"], found["plain"], found["wan"]
    assert (br0.kind, br0.mtu, br0.mac, br0.group, br0.up) == ("bridge", 1400, "02:00:00:00:00:01", 77, True)
    assert str(br0.owner) == "Tunnel/t"
    assert br0.bridge is not None
    assert plain.bridge is not None
    assert (br0.bridge.stp, br0.bridge.multicast_snooping, br0.bridge.vlan_aware) == (True, False, False)
    assert (plain.bridge.stp, plain.bridge.multicast_snooping) == (False, True)
    assert not plain.up
    assert wan.master == "br0"
    assert wan.port is not None
    assert wan.port.settings == PortSettings(isolated=True, learning=False, neighbor_suppression=True)
    assert wan.port.state in ("listening", "learning")
    assert found["wan-peer"].port is None
    assert (wan.kind, found["lo"].kind) == ("veth", "")


@live
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "id 7 group 239.1.1.1 local 192.0.2.1 dev wan dstport 4790 ttl 9",
            ObservedVxlan(7, "192.0.2.1", "239.1.1.1", "wan", 4790, 9, True),
        ),
        (
            "id 8 local 192.0.2.1 dstport 4789 ttl 16 nolearning",
            ObservedVxlan(8, "192.0.2.1", port=4789, ttl=16, learning=False),
        ),
        (
            "id 9 local 2001:db8::1 group ff05::9 dev wan dstport 4789",
            ObservedVxlan(9, "2001:db8::1", "ff05::9", "wan"),
        ),
    ],
)
def test_a_vtep(box: Any, rtnl: Rtnl, arguments: str, expected: ObservedVxlan) -> None:
    box.ip(f"link add vx0 type vxlan {arguments}")
    assert observe(rtnl).links["vx0"].vxlan == expected


@live
def test_what_a_vtep_is_told_and_not_what_it_learns_or_evpn_says(box: Any, rtnl: Rtnl) -> None:
    box.ip("link add vx0 type vxlan id 7 group 239.1.1.1 local 192.0.2.1 dev wan dstport 4789")
    zero, mac = "00:00:00:00:00:00", "02:00:00:00:00"
    for line in (
        f"append {zero} dev vx0 dst 192.0.2.2 self permanent",
        f"append {zero} dev vx0 dst 192.0.2.3 self permanent",
        f"add {mac}:01 dev vx0 dst 192.0.2.2 self permanent",
        f"add {mac}:02 dev vx0 dst 192.0.2.3 self static",
        f"add {mac}:03 dev vx0 dst 192.0.2.3 self dynamic",
        f"add {mac}:04 dev vx0 dst 192.0.2.3 self extern_learn",
    ):
        bridge_set(box, f"fdb {line}")
    vxlan = observe(rtnl).links["vx0"].vxlan
    assert vxlan is not None
    assert vxlan.group == "239.1.1.1"
    assert vxlan.remotes == {"192.0.2.2", "192.0.2.3"}
    assert vxlan.stations == {Station(f"{mac}:01", "192.0.2.2"), Station(f"{mac}:02", "192.0.2.3")}
    macs = {e.mac: e.permanent for e in observe_fdb(rtnl) if e.dst}
    assert macs == {zero: True, f"{mac}:01": True, f"{mac}:02": True, f"{mac}:03": False, f"{mac}:04": False}


@live
def test_hosts_are_those_of_smartxd(box: Any, rtnl: Rtnl) -> None:
    box.ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev wan nud permanent protocol 83")
    box.ip("neigh add 2001:db8::9 lladdr 02:00:00:00:00:0a dev wan nud permanent protocol 83")
    box.ip("neigh add 192.0.2.10 lladdr 02:00:00:00:00:0b dev wan nud permanent")
    box.ip("neigh add 192.0.2.11 lladdr 02:00:00:00:00:0c dev wan nud reachable protocol 83")
    hosts = {Host("192.0.2.9", "02:00:00:00:00:09"), Host("2001:db8::9", "02:00:00:00:00:0a")}
    found = observe(rtnl).links
    assert found["wan"].hosts == hosts
    assert not found["wan-peer"].hosts


@live
def test_forwarding_and_link_local_addresses_per_link(box: Any, rtnl: Rtnl) -> None:
    box.run("sysctl -qw net.ipv4.conf.wan.forwarding=1")
    box.run("sysctl -qw net.ipv6.conf.wan-peer.forwarding=1")
    if Path("/proc/sys/net/ipv6/conf/all/force_forwarding").exists():  # Linux 6.17: it is said twice
        assert not observe(rtnl).links["wan-peer"].forwarding6
        box.run("sysctl -qw net.ipv6.conf.wan-peer.force_forwarding=1")
    box.run("sysctl -qw net.ipv6.conf.wan-peer.disable_ipv6=1")
    box.ip("link add tiny mtu 1000 type bridge")
    found = observe(rtnl).links
    assert (found["wan"].forwarding4, found["wan"].forwarding6, found["wan"].link_local) == (
        True,
        False,
        True,
    )
    peer = found["wan-peer"]
    assert (peer.forwarding4, peer.forwarding6, peer.link_local) == (False, True, False)
    assert not found["tiny"].link_local, "IPv6 needs 1280 bytes"


@live
def test_the_namespace_of_a_veths_other_end(box: Any, rtnl: Rtnl, namespace: Any) -> None:
    other = namespace()
    box.ip(f"link add tap0 type veth peer name eth0 netns {other.name}")
    found = observe_with_names(box, rtnl)
    assert found.links["tap0"].peer_namespace == other.name
    assert found.links["wan"].peer_namespace is None


def observe_with_names(box: Any, rtnl: Rtnl) -> KernelObserved:
    from smartxd.planes.kernel.view import View

    with box.inside():
        view = View(rtnl)
    try:
        return view.observed()
    finally:
        view.close()


@live
def test_addresses_and_what_made_them(box: Any, rtnl: Rtnl) -> None:
    wan = observe(rtnl).links["wan"].index
    box.ip("address add 10.9.0.1 peer 10.9.0.2/32 dev wan")
    for family, length, address in ((AF_INET, 24, "10.0.0.1"), (AF_INET6, 64, "2001:db8::1")):
        data = inet_pton(family, address)
        body = struct.pack("=BBBBI", family, length, 0, 0, wan)
        rtnl.change(RTM_NEWADDR, body + attribute(1, data) + attribute(2, data) + attribute(11, b"\x53"))
    found = observe(rtnl).addresses
    assert found["wan", "10.0.0.1/24"] == ObservedAddress("wan", "10.0.0.1/24", 83)
    assert found["wan", "10.0.0.1/24"].marked
    assert not found["wan", "10.9.0.1/32"].marked
    assert found["wan", "2001:db8::1/64"].marked


@live
def test_routes_are_those_of_smartxd(box: Any, rtnl: Rtnl) -> None:
    box.ip("address add 2001:db8::1/64 dev wan nodad")
    box.ip("address add 192.0.3.1/24 dev wan-peer")
    box.batch(
        [
            "route add 10.0.0.0/8 via 192.0.2.9 metric 7 proto 83",
            "route add 10.1.0.0/16 proto 83 nexthop via 192.0.2.9 weight 3 nexthop via 192.0.3.9",
            "route add blackhole 10.2.0.0/16 proto 83 table 1000",
            "route add unreachable 10.3.0.0/16 proto 83",
            "route add 10.4.0.0/16 dev wan proto 83",
            "route add 10.5.0.0/16 dev wan proto 84",
            "route add 10.6.0.0/16 via inet6 2001:db8::9 dev wan proto 83",
            "route add default via 192.0.2.9 proto 83",
            "route add 2001:db8:1::/48 via 2001:db8::9 proto 83",
            "route add 2001:db8:2::/48 proto 83 nexthop via 2001:db8::9 nexthop via 2001:db8::8",
            "route add blackhole 2001:db8:3::/48 proto 83",
        ]
    )
    via = NextHop("192.0.2.9", "wan")
    expected = [
        ObservedRoute("10.0.0.0/8", 7, 254, (via,)),
        ObservedRoute(
            "10.1.0.0/16", 0, 254, (NextHop("192.0.2.9", "wan", 3), NextHop("192.0.3.9", "wan-peer"))
        ),
        ObservedRoute("10.2.0.0/16", 0, 1000, blackhole=True),
        ObservedRoute("10.3.0.0/16", 0, 254),
        ObservedRoute("10.4.0.0/16", 0, 254, (NextHop(link="wan"),)),
        ObservedRoute("10.6.0.0/16", 0, 254, (NextHop("2001:db8::9", "wan"),)),
        ObservedRoute("0.0.0.0/0", 0, 254, (via,)),
        ObservedRoute("2001:db8:1::/48", 1024, 254, (NextHop("2001:db8::9", "wan"),)),
        ObservedRoute(
            "2001:db8:2::/48", 1024, 254, (NextHop("2001:db8::8", "wan"), NextHop("2001:db8::9", "wan"))
        ),
        ObservedRoute("2001:db8:3::/48", 1024, 254, blackhole=True),
    ]
    found = observe(rtnl).routes
    assert found == {(r.destination, r.metric, r.table): r for r in expected}


# VLANs: the kernel of a small machine may know none, so the messages are made by hand.


def attribute(type_: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), type_) + data + b"\0" * (-len(data) % 4)


def entry(first: int, last: int, flags: int = 0) -> bytes:
    made = attribute(1, struct.pack("=HH", flags, first))
    return attribute(0x8001, made + (attribute(2, struct.pack("=H", last)) if last != first else b""))


def vlan_message(index: int, *entries: bytes) -> bytes:
    return struct.pack("=BxHI", 7, 0, index) + b"".join(entries)


def link_message(index: int, name: str, *attributes: bytes) -> bytes:
    return (
        struct.pack("=BxHiII", 0, 1, index, 1, 0) + attribute(3, name.encode() + b"\0") + b"".join(attributes)
    )


def bridge_message(index: int, name: str, *, aware: bool) -> bytes:
    data = attribute(7, bytes([aware])) + attribute(39, struct.pack("=H", 1))
    return link_message(index, name, attribute(18, attribute(1, b"bridge\0") + attribute(2, data)))


def port_message(index: int, name: str, master: int) -> bytes:
    slave = attribute(4, b"bridge\0") + attribute(5, attribute(1, b"\3") + attribute(8, b"\1"))
    return link_message(index, name, attribute(10, struct.pack("=I", master)), attribute(18, slave))


def test_vlans_are_as_few_ranges_as_can_be() -> None:
    messages = [
        vlan_message(3, entry(1, 1, 6), entry(10, 12), entry(20, 29, 4)),
        vlan_message(3, entry(13, 13), entry(30, 30, 4), entry(31, 31)),
        vlan_message(4, entry(4094, 4094)),
    ]
    assert vlans.by_link(messages) == {
        3: (
            VlanRange(1, 1, pvid=True, untagged=True),
            VlanRange(10, 13),
            VlanRange(20, 30, untagged=True),
            VlanRange(31, 31),
        ),
        4: (VlanRange(4094, 4094),),
    }


def test_only_a_bridge_that_knows_vlans_and_its_ports_have_any() -> None:
    ranges = {2: (VlanRange(5, 5),), 3: (VlanRange(7, 7, True, True),)}
    for aware in (True, False):
        bridge, port = bridge_message(2, "br0", aware=aware), port_message(3, "tap0", 2)
        assert links.knows_vlans(bridge) is aware
        around = Around({2: "br0", 3: "tap0"}, {2} if aware else set(), vlans=ranges)
        made, plugged = links.decode(bridge, around).link, links.decode(port, around).link
        assert made.bridge is not None
        assert (made.bridge.vlan_aware, made.bridge.default_pvid) == (aware, 1)
        assert made.bridge.vlans == (ranges[2] if aware else ())
        assert plugged.port == ObservedPort("forwarding", PortSettings(vlans=ranges[3] if aware else ()))
        assert plugged.master == "br0"


def test_a_vlan_link_names_its_bridge() -> None:
    info = attribute(1, b"vlan\0") + attribute(2, attribute(1, struct.pack("=H", 300)))
    message = link_message(5, "br0.300", attribute(5, struct.pack("=I", 2)), attribute(18, info))
    made = links.decode(message, Around({2: "br0", 5: "br0.300"}))
    assert made.link.vlan == ("br0", 300)
    assert made.related == (0, 2)
