from __future__ import annotations

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.observed import (
    FdbEntry,
    KernelObserved,
    ObservedAddress,
    ObservedLink,
    ObservedPort,
    ObservedVxlan,
)
from smartxd.planes.kernel.state import Bridge, KernelState, Vlan, Vxlan
from smartxd.planes.kernel.tables import bridges, tunnels

OWNER = ObjectRef("Tunnel", "t")
ZERO, MAC = "00:00:00:00:00:00", "02:00:00:00:00:0"


def seen(group: str = "") -> KernelObserved:
    links = [
        ObservedLink("br0", 2, "bridge"),
        ObservedLink(
            "vx0", 3, "vxlan", master="br0", port=ObservedPort(), vxlan=ObservedVxlan(7, group=group)
        ),
        ObservedLink("tap0", 4, "tun", master="br0", port=ObservedPort("disabled")),
        ObservedLink("br0.5", 5, "vlan", vlan=("br0", 5)),
    ]
    addresses = [("br0", "10.0.0.1/24"), ("br0.5", "10.5.0.1/24"), ("wan", "192.0.2.1/24")]
    return KernelObserved(
        {link.name: link for link in links}, {place: ObservedAddress(*place) for place in addresses}
    )


def wanted(group: str = "") -> KernelState:
    return KernelState(
        (
            Bridge(OWNER, "br0", 1450),
            Vlan(OWNER, "br0.5", "br0", 5, 1450),
            Vxlan(OWNER, "vx0", 7, "192.0.2.1", "br0", 1450, group=group),
        )
    )


def test_vteps_are_those_heard_flooded_to_or_told_by_evpn() -> None:
    fdb = [
        FdbEntry(3, ZERO, "192.0.2.2", permanent=True),
        FdbEntry(3, ZERO, "192.0.2.3", permanent=True),
        FdbEntry(3, f"{MAC}1", "192.0.2.3"),
        FdbEntry(3, f"{MAC}2", "192.0.2.3"),
        FdbEntry(3, f"{MAC}3", "192.0.2.4"),
        FdbEntry(9, f"{MAC}3", "192.0.2.5"),
        FdbEntry(3, f"{MAC}1", master=2),
    ]
    (tunnel,) = tunnels(wanted(), seen(), fdb)
    assert [(v.address, v.macs) for v in tunnel.vteps] == [
        ("192.0.2.2", 0),
        ("192.0.2.3", 2),
        ("192.0.2.4", 1),
    ]
    assert tunnel.up


def test_a_multicast_group_is_no_vtep() -> None:
    fdb = [FdbEntry(3, ZERO, "239.1.1.1", permanent=True), FdbEntry(3, f"{MAC}1", "192.0.2.2")]
    (tunnel,) = tunnels(wanted("239.1.1.1"), seen("239.1.1.1"), fdb)
    assert [(v.address, v.macs) for v in tunnel.vteps] == [("192.0.2.2", 1)]


def test_a_link_that_is_not_there_is_down_and_knows_nobody() -> None:
    (tunnel,) = tunnels(wanted(), KernelObserved(), [FdbEntry(3, ZERO, "192.0.2.2")])
    assert (tunnel.up, tunnel.vteps) == (False, ())


def test_a_bridge_has_its_ports_and_its_addresses_and_those_of_its_vlans() -> None:
    fdb = [
        FdbEntry(4, f"{MAC}1", master=2, vlan=5),
        FdbEntry(4, f"{MAC}1", master=2, vlan=6),
        FdbEntry(4, f"{MAC}2", master=2, permanent=True),
        FdbEntry(3, f"{MAC}3", master=2),
    ]
    (bridge,) = bridges(wanted(), seen(), fdb)
    assert bridge.addresses == ("10.0.0.1/24", "10.5.0.1/24")
    assert [(p.port, p.state, p.macs) for p in bridge.ports] == [
        ("tap0", "disabled", 1),
        ("vx0", "forwarding", 1),
    ]
