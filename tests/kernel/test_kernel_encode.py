"""Messages that this machine's kernel may not understand, by their bytes: VLANs."""

from __future__ import annotations

import struct
from dataclasses import replace

from smartxd.objects import ObjectRef
from smartxd.planes.kernel import encode
from smartxd.planes.kernel.decode.wire import attributes
from smartxd.planes.kernel.encode import RTM_SETLINK, Request
from smartxd.planes.kernel.rtnl import CHANGE, RTM_DELLINK, RTM_NEWNEIGH
from smartxd.planes.kernel.state import Bridge, PortSettings, Station, Vlan, VlanRange, Vxlan

OWNER = ObjectRef("Tunnel", "a")
ACCESS = VlanRange(10, 10, pvid=True, untagged=True)
TRUNK = VlanRange(20, 29)
VXLAN = Vxlan(OWNER, "vx1", 1, "192.0.2.1", "br1", 1450)
MASTER, SELF = 1, 2


def told(request: Request) -> tuple[int, int, int, list[tuple[int, int]]]:
    """Message type, link, whether of the bridge itself, and (flags, VLAN) pairs of an IFLA_AF_SPEC."""
    family, index = struct.unpack_from("=B3xi", request.body)
    assert family == 7
    assert request.flags == CHANGE
    length, type_ = struct.unpack_from("=HH", request.body, 16)
    assert (type_, length) == (26 | 0x8000, len(request.body) - 16)
    pairs, to, at = [], 0, 20
    while at < len(request.body):
        size, kind = struct.unpack_from("=HH", request.body, at)
        if kind == 0:
            (to,) = struct.unpack_from("=H", request.body, at + 4)
        else:
            assert (kind, size) == (2, 8)
            pairs.append(struct.unpack_from("=HH", request.body, at + 4))
        at += size + -size % 4
    return request.type, index, to, pairs


def test_vlans_of_a_port_are_set_and_deleted_singly_and_in_ranges() -> None:
    made = [told(r) for r in encode.vlans(5, (), (ACCESS, TRUNK))]
    assert made == [
        (RTM_SETLINK, 5, MASTER, [(0x2 | 0x4, 10)]),
        (RTM_SETLINK, 5, MASTER, [(0x8, 20), (0x10, 29)]),
    ]
    moved = [told(r) for r in encode.vlans(5, (ACCESS, TRUNK), (TRUNK, replace(ACCESS, first=11, last=11)))]
    assert moved == [
        (RTM_DELLINK, 5, MASTER, [(0x2 | 0x4, 10)]),
        (RTM_SETLINK, 5, MASTER, [(0x2 | 0x4, 11)]),
    ]
    assert encode.vlans(5, (TRUNK,), (TRUNK,)) == []


def test_a_bridge_has_its_own_vlans_as_a_port_of_itself() -> None:
    bridge = Bridge(OWNER, "br1", 1450, vlan_aware=True, vlans=(TRUNK,))
    requests = encode.finish(5, "02:00:00:00:00:01", bridge, {})
    assert told(requests[1]) == (RTM_SETLINK, 5, SELF, [(0x8, 20), (0x10, 29)])


def info_data(request: Request) -> dict[int, bytes]:
    info = attributes(attributes(request.body[16:])[18])
    return dict(attributes(info[2]))


def test_a_bridge_that_knows_vlans_gives_no_port_one_unasked() -> None:
    data = info_data(encode.new_link(Bridge(OWNER, "br1", 1450, vlan_aware=True), {}))
    assert (data[7], data[39]) == (b"\x01", b"\0\0")
    # A kernel without VLAN filtering would refuse the very attributes.
    assert not info_data(encode.new_link(Bridge(OWNER, "br1", 1450, stp=True), {})).keys() & {7, 39}


def test_a_vlan_link_is_on_its_bridge() -> None:
    request = encode.new_link(Vlan(OWNER, "br1.7", "br1", 7, 1450), {"br1": 5})
    assert attributes(request.body[16:])[5] == struct.pack("=I", 5)
    assert attributes(attributes(request.body[16:])[18])[1] == b"vlan\0"
    assert info_data(request)[1] == struct.pack("=H", 7)


def test_a_station_behind_a_port_is_in_the_vlan_of_its_untagged_frames() -> None:
    stations = frozenset({Station("02:00:00:00:00:05", "192.0.2.2")})
    aware = replace(VXLAN, stations=stations, settings=PortSettings((ACCESS,)))
    bridge, own = encode.forwarding_entries(5, None, aware)
    assert (own.type, bridge.type) == (RTM_NEWNEIGH, RTM_NEWNEIGH)
    assert attributes(bridge.body[12:])[5] == struct.pack("=H", 10)
    bridge, _ = encode.forwarding_entries(5, None, replace(aware, settings=PortSettings()))
    assert 5 not in attributes(bridge.body[12:])
