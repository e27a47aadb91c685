"""Links, ports and their forwarding and neighbour entries as rtnetlink messages: pure, bytes out.

The numbers are those of linux/if_link.h, if_bridge.h, if_addr.h, neighbour.h and rtnetlink.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_address
from socket import AF_INET

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.decode.neighbors import AF_BRIDGE, NUD_NOARP, NUD_PERMANENT
from smartxd.planes.kernel.rtnl import (
    CHANGE,
    CREATE,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
)
from smartxd.planes.kernel.state import (
    NEWBORN_GROUP,
    PROTOCOL,
    Bridge,
    Host,
    Link,
    PortSettings,
    Station,
    Vlan,
    VlanRange,
    Vxlan,
    mark,
)
from smartxd.planes.kernel.words import (
    GONE,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NONE,
    Indices,
    Request,
    attribute,
    family,
    index_of,
    mac_of,
    nested,
    text,
    u8,
    u16,
    u32,
)

RTM_SETLINK = 19
IFF_UP = 0x1


_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_PROTINFO = 1, 3, 4, 5, 10, 12
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_GROUP = 18, 20, 26, 27
_INFO_KIND, _INFO_DATA = 1, 2
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_TTL, _VXLAN_LEARNING = 1, 2, 3, 4, 5, 7
_VXLAN_PORT, _VXLAN_GROUP6, _VXLAN_LOCAL6 = 15, 16, 17
_BR_STP_STATE, _BR_VLAN_FILTERING, _BR_MCAST_SNOOPING, _BR_VLAN_DEFAULT_PVID = 5, 7, 23, 39
_BRPORT_LEARNING, _BRPORT_NEIGH_SUPPRESS, _BRPORT_ISOLATED = 8, 32, 33
_VLAN_ID = 1
_BRIDGE_FLAGS, _BRIDGE_VLAN_INFO = 0, 2
_FLAGS_MASTER, _FLAGS_SELF = 1, 2
_VLAN_PVID, _VLAN_UNTAGGED, _VLAN_RANGE_BEGIN, _VLAN_RANGE_END = 2, 4, 8, 16
_NDA_DST, _NDA_LLADDR, _NDA_VLAN, _NDA_PROTOCOL = 1, 2, 5, 12
_NTF_SELF, _NTF_MASTER = 2, 4
_INET_CONF, _PROMOTE_SECONDARIES = 1, 20
_ALL_ZERO_MAC = "00:00:00:00:00:00"


def new_link(want: Link, indices: Indices) -> Request:
    """Makes a link, down and unmarked but for its group; OSError ENODEV where one that it needs is gone."""
    parts = [text(_IFLA_IFNAME, want.name), attribute(_IFLA_GROUP, u32(NEWBORN_GROUP))]
    if isinstance(want, Bridge):
        # Born with another MTU, because only one that is changed later is kept when ports come and go.
        parts.append(attribute(_IFLA_MTU, u32(want.mtu + 1)))
        info = [text(_INFO_KIND, "bridge"), nested(_INFO_DATA, *_bridge(want, _unlike_a_new_one(want)))]
    elif isinstance(want, Vlan):
        parts += [attribute(_IFLA_LINK, u32(index_of(indices, want.bridge))), _mtu(want)]
        info = [text(_INFO_KIND, "vlan"), nested(_INFO_DATA, attribute(_VLAN_ID, u16(want.vid)))]
    else:
        parts.append(_mtu(want))
        info = [text(_INFO_KIND, "vxlan"), nested(_INFO_DATA, *_vxlan(want, indices))]
    if not isinstance(want, Vxlan) and want.mac:
        parts.append(attribute(_IFLA_ADDRESS, mac_of(want.mac)))
    return Request(RTM_NEWLINK, CREATE, _ifinfomsg(0) + b"".join([*parts, nested(_IFLA_LINKINFO, *info)]))


def marking(index: int, owner: ObjectRef) -> Request:
    """Marks a link as made for ``owner``: first of all, so that no failure leaves one that is nobody's."""
    alias = attribute(_IFLA_IFALIAS, mark(owner).encode())
    return _set(index, alias + attribute(_IFLA_GROUP, u32(0)))


def finish(index: int, mac: str, want: Link, indices: Indices) -> list[Request]:
    """Brings a link that was just made, with some MAC, and marked into shape; a bridge before its ports."""
    if not isinstance(want, Vxlan):
        done = [_set(index, _pinned(want, mac), up=True)]
        if isinstance(want, Bridge):
            done += vlans(index, (), want.vlans, itself=True)
        return [*done, *hosts(index, frozenset(), want.hosts)]
    # When a VXLAN link is made the kernel lowers an MTU that the underlay cannot carry; now it refuses it.
    return [
        _set(index, _mtu(want) + attribute(_IFLA_MASTER, u32(index_of(indices, want.bridge))), up=True),
        *port(index, PortSettings(), want.settings),
        *forwarding_entries(index, None, want),
    ]


def _pinned(want: Bridge | Vlan, mac: str) -> bytes:
    """What makes it stay as it is when ports come and go.

    A bridge keeps an MTU, and a MAC, that is set after its creation. Otherwise it takes the lowest of its
    ports', and each time its hosts lose their gateway and it its neighbours.
    """
    return attribute(_IFLA_ADDRESS, mac_of(want.mac or mac)) + keep_secondaries() + _mtu(want)


def update(index: int, old: Link, want: Link, fields: set[str], indices: Indices) -> list[Request]:
    """Sets the named fields of a link that is there."""
    parts = [_mtu(want)] if "mtu" in fields else []
    requests: list[Request] = []
    if not isinstance(want, Vxlan):
        readdressed = bool(fields & {"mac", "up"})
        if readdressed and not isinstance(old, Vxlan):
            # One that is down may never have been brought into shape.
            parts = [_pinned(want, old.mac)]
        if isinstance(want, Bridge) and (data := _bridge(want, fields)):
            parts.append(_info("bridge", *data))
        requests += _set_if(index, parts, up="up" in fields)
        if "vlans" in fields and isinstance(want, Bridge) and isinstance(old, Bridge):
            requests += vlans(index, old.vlans, want.vlans, itself=True)
        if (readdressed or "hosts" in fields) and not isinstance(old, Vxlan):
            # With its MAC a link loses its neighbour entries, the permanent ones too.
            left = frozenset[Host]() if readdressed else old.hosts
            requests += hosts(index, left, want.hosts)
        return requests
    if "bridge" in fields and isinstance(old, Vxlan) and want.remotes is not None:
        # What the bridge has of them goes with the move; a kill in between is seen by what is missing here.
        requests += [_fdb_remote(RTM_DELNEIGH, index, s.mac, s.vtep) for s in sorted(old.stations)]
        old = replace(old, stations=frozenset())
    if "bridge" in fields:
        parts.append(attribute(_IFLA_MASTER, u32(index_of(indices, want.bridge))))
    if fields & {"ttl", "learning"}:
        parts.append(_info("vxlan", u8(_VXLAN_TTL, want.ttl), u8(_VXLAN_LEARNING, want.learning)))
    requests += _set_if(index, parts, up="up" in fields)
    if not isinstance(old, Vxlan):
        return requests
    # A port that comes to another bridge begins with the defaults.
    settings = PortSettings() if "bridge" in fields else old.settings
    requests += port(index, settings, want.settings)
    if want.remotes is not None and fields & {"remotes", "stations", "bridge"}:
        requests += forwarding_entries(index, old, want)
    return requests


def plug(index: int, bridge: int, old: PortSettings, want: PortSettings, *, join: bool) -> list[Request]:
    """Makes somebody's link a port of a bridge, or changes how it is one."""
    joined = [_set(index, attribute(_IFLA_MASTER, u32(bridge)))] if join else []
    return [*joined, *port(index, old, want)]


def unplug(index: int) -> Request:
    """Takes a link out of its bridge."""
    return _set(index, attribute(_IFLA_MASTER, u32(0)), fine=GONE)


def port(index: int, old: PortSettings, want: PortSettings) -> list[Request]:
    """From one way of being a bridge's port to another."""
    flags = [
        u8(number, value)
        for number, before, value in (
            (_BRPORT_LEARNING, old.learning, want.learning),
            (_BRPORT_ISOLATED, old.isolated, want.isolated),
            (_BRPORT_NEIGH_SUPPRESS, old.neighbor_suppression, want.neighbor_suppression),
        )
        if before != value
    ]
    body = _ifinfomsg(index, family=AF_BRIDGE) + nested(_IFLA_PROTINFO, *flags)
    return [*([Request(RTM_SETLINK, CHANGE, body)] if flags else []), *vlans(index, old.vlans, want.vlans)]


def vlans(
    index: int, old: Iterable[VlanRange], want: Iterable[VlanRange], *, itself: bool = False
) -> list[Request]:
    """From some VLANs of a port, or of a bridge ``itself``, to others; what stays is not touched."""
    before, after = set(old), set(want)
    return [
        *(_vlan(RTM_DELLINK, index, r, itself=itself, fine=GONE) for r in sorted(before - after)),
        *(_vlan(RTM_SETLINK, index, r, itself=itself) for r in sorted(after - before)),
    ]


def _vlan(type_: int, index: int, r: VlanRange, *, itself: bool, fine: frozenset[int] = NONE) -> Request:
    flags = _VLAN_PVID * r.pvid | _VLAN_UNTAGGED * r.untagged
    ends = [(flags, r.first)]
    if r.first != r.last:
        ends = [(flags | _VLAN_RANGE_BEGIN, r.first), (flags | _VLAN_RANGE_END, r.last)]
    parts = [attribute(_BRIDGE_VLAN_INFO, struct.pack("=HH", *end)) for end in ends]
    to = attribute(_BRIDGE_FLAGS, u16(_FLAGS_SELF if itself else _FLAGS_MASTER))
    body = _ifinfomsg(index, family=AF_BRIDGE) + nested(_IFLA_AF_SPEC, to, *parts)
    return Request(type_, CHANGE, body, fine)


def forwarding_entries(index: int, old: Vxlan | None, want: Vxlan) -> list[Request]:
    """From one forwarding table of a VXLAN link to another: VTEPs to flood to, and where stations are."""
    pvid = next((r.first for r in want.settings.vlans if r.pvid), 0)
    flooded = frozenset[str]() if old is None else old.remotes or frozenset()
    known = frozenset[Station]() if old is None else old.stations
    remotes, stations = want.remotes or frozenset(), want.stations
    requests = [_fdb_remote(RTM_DELNEIGH, index, _ALL_ZERO_MAC, r) for r in sorted(flooded - remotes)]
    requests += [_fdb_remote(RTM_NEWNEIGH, index, _ALL_ZERO_MAC, r) for r in sorted(remotes - flooded)]
    # Only the link's own entry is looked at later: it comes after the bridge's, and goes after it.
    # A station that moves is replaced, not deleted: its MAC has one VTEP.
    staying = {station.mac for station in stations}
    for station in sorted(s for s in known - stations if s.mac not in staying):
        requests.append(_fdb_bridge(RTM_DELNEIGH, index, station.mac, pvid))
        requests.append(_fdb_remote(RTM_DELNEIGH, index, station.mac, station.vtep))
    # What the bridge had of a port that comes from another bridge is gone.
    fresh = stations if old is None or old.bridge != want.bridge else stations - known
    for station in sorted(fresh):
        requests.append(_fdb_bridge(RTM_NEWNEIGH, index, station.mac, pvid))
        requests.append(_fdb_remote(RTM_NEWNEIGH, index, station.mac, station.vtep))
    return requests


def _fdb_remote(type_: int, index: int, mac: str, vtep: str) -> Request:
    # The flood list is what the all-zero MAC is behind: the only one that may be behind several VTEPs.
    several = NLM_F_APPEND if mac == _ALL_ZERO_MAC else NLM_F_REPLACE
    flags, fine = (CHANGE | NLM_F_CREATE | several, frozenset({errno.EEXIST}))
    if type_ == RTM_DELNEIGH:
        flags, fine = CHANGE, GONE
    head = _ndmsg(AF_BRIDGE, index, NUD_PERMANENT, _NTF_SELF)
    body = head + attribute(_NDA_DST, ip_address(vtep).packed) + attribute(_NDA_LLADDR, mac_of(mac))
    return Request(type_, flags, body, fine)


def _fdb_bridge(type_: int, index: int, mac: str, vlan: int) -> Request:
    flags, fine = (CHANGE | NLM_F_CREATE | NLM_F_REPLACE, NONE)
    if type_ == RTM_DELNEIGH:
        flags, fine = CHANGE, GONE
    body = _ndmsg(AF_BRIDGE, index, NUD_NOARP, _NTF_MASTER) + attribute(_NDA_LLADDR, mac_of(mac))
    return Request(type_, flags, body + (attribute(_NDA_VLAN, u16(vlan)) if vlan else b""), fine)


def hosts(index: int, old: frozenset[Host], want: frozenset[Host]) -> list[Request]:
    """From some permanent neighbour entries of smartxd's on a link to others."""
    kept = {host.address for host in want}
    return [
        *(_host(RTM_DELNEIGH, index, h) for h in sorted(old - want) if h.address not in kept),
        *(_host(RTM_NEWNEIGH, index, h) for h in sorted(want - old)),
    ]


def _host(type_: int, index: int, host: Host) -> Request:
    address = ip_address(host.address)
    body = _ndmsg(family(address.version), index, NUD_PERMANENT, 0) + attribute(_NDA_DST, address.packed)
    if type_ == RTM_DELNEIGH:
        return Request(type_, CHANGE, body, GONE)
    body += attribute(_NDA_LLADDR, mac_of(host.mac)) + attribute(_NDA_PROTOCOL, bytes([PROTOCOL]))
    return Request(type_, CHANGE | NLM_F_CREATE | NLM_F_REPLACE, body)


def promote(index: int) -> Request:
    """Lets the other IPv4 addresses of a subnet, whoever made them, outlive its first one on the link."""
    return _set(index, keep_secondaries(), fine=GONE)


def keep_secondaries() -> bytes:
    """The attribute that says so."""
    conf = nested(_INET_CONF, attribute(_PROMOTE_SECONDARIES, u32(1)))
    return nested(_IFLA_AF_SPEC, nested(AF_INET, conf))


def link_by_name(name: str) -> bytes:
    """What asks for the link of a name, without its statistics."""
    skip_stats = attribute(29, u32(8))
    return _ifinfomsg(0) + text(_IFLA_IFNAME, name) + skip_stats


def _bridge(want: Bridge, fields: Collection[str]) -> list[bytes]:
    parts: list[bytes] = []
    if "stp" in fields:
        parts.append(attribute(_BR_STP_STATE, u32(want.stp)))
    if "multicast_snooping" in fields:
        parts.append(u8(_BR_MCAST_SNOOPING, want.multicast_snooping))
    # A kernel without VLAN filtering refuses the very words.
    if "vlan_aware" in fields or "default_pvid" in fields:
        pvid = 0 if want.vlan_aware else 1
        parts += [attribute(_BR_VLAN_DEFAULT_PVID, u16(pvid)), u8(_BR_VLAN_FILTERING, want.vlan_aware)]
    return parts


def _unlike_a_new_one(want: Bridge) -> set[str]:
    """The fields in which a bridge differs from what the kernel makes unasked."""
    given = {
        "stp": want.stp,
        "multicast_snooping": not want.multicast_snooping,
        "vlan_aware": want.vlan_aware,
    }
    return {field for field, differs in given.items() if differs}


def _vxlan(want: Vxlan, indices: Indices) -> list[bytes]:
    v6 = ":" in want.local
    parts = [
        attribute(_VXLAN_ID, u32(want.vni)),
        attribute(_VXLAN_LOCAL6 if v6 else _VXLAN_LOCAL, ip_address(want.local).packed),
        attribute(_VXLAN_PORT, want.port.to_bytes(2, "big")),
        u8(_VXLAN_TTL, want.ttl),
        u8(_VXLAN_LEARNING, want.learning),
    ]
    if want.group:
        group = ip_address(want.group).packed
        parts.append(attribute(_VXLAN_GROUP6 if v6 else _VXLAN_GROUP, group))
    if want.underlay:
        parts.append(attribute(_VXLAN_LINK, u32(index_of(indices, want.underlay))))
    return parts


def _info(kind: str, *data: bytes) -> bytes:
    return nested(_IFLA_LINKINFO, text(_INFO_KIND, kind), nested(_INFO_DATA, *data))


def _set_if(index: int, parts: list[bytes], *, up: bool) -> list[Request]:
    return [_set(index, b"".join(parts), up=up)] if parts or up else []


def _set(index: int, parts: bytes, *, up: bool = False, fine: frozenset[int] = NONE) -> Request:
    return Request(RTM_NEWLINK, CHANGE, _ifinfomsg(index, up=up) + parts, fine)


def _ifinfomsg(index: int, *, family: int = 0, up: bool = False) -> bytes:
    flags = IFF_UP if up else 0
    return struct.pack("=BxHiII", family, 0, index, flags, flags)


def _ndmsg(family: int, index: int, state: int, flags: int) -> bytes:
    return struct.pack("=B3xiHBB", family, index, state, flags, 0)


def _mtu(want: Link) -> bytes:
    return attribute(_IFLA_MTU, u32(want.mtu))
