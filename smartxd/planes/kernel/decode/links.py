"""Links: what a message about one says, with what other tables of the kernel know of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6
from sys import byteorder

from smartxd.planes.kernel.decode.wire import attributes, ip, text, u32
from smartxd.planes.kernel.observed import ObservedBridge, ObservedLink, ObservedPort, ObservedVxlan
from smartxd.planes.kernel.state import Host, PortSettings, Station, VlanRange

IFF_UP = 0x1

# linux/if_link.h
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO = 1, 3, 4, 5, 10, 18
_IFALIAS, _AF_SPEC, _GROUP, _LINK_NETNSID = 20, 26, 27, 37
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_TTL, _VXLAN_LEARNING = 1, 2, 3, 4, 5, 7
_VXLAN_PORT, _VXLAN_GROUP6, _VXLAN_LOCAL6 = 15, 16, 17
_BR_STP_STATE, _BR_VLAN_FILTERING, _BR_MCAST_SNOOPING, _BR_VLAN_DEFAULT_PVID = 5, 7, 23, 39
_BRPORT_STATE, _BRPORT_LEARNING, _BRPORT_NEIGH_SUPPRESS, _BRPORT_ISOLATED = 1, 8, 32, 33
_VLAN_ID = 1
_INET_CONF, _INET6_CONF = 1, 2
_NETCONFA_FORWARDING = 2
_DISABLE_IPV6, _FORCE_FORWARDING = 26, 59
"""Places among the numbers of IFLA_INET6_CONF (linux/ipv6.h); the latter since Linux 6.17."""

_IFINFOMSG = struct.Struct("=BxHiII")
_PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_BRIDGE_KIND = struct.pack("=HH7s", 11, _INFO_KIND, b"bridge")
_ZERO_MAC = "00:00:00:00:00:00"


@dataclass(slots=True)
class Around:
    """What is known of links by their index besides their own messages."""

    names: dict[int, str] = field(default_factory=dict)
    aware: set[int] = field(default_factory=set)
    """Bridges that know VLANs."""
    vlans: dict[int, tuple[VlanRange, ...]] = field(default_factory=dict)
    fdb: dict[int, frozenset[tuple[str, str]]] = field(default_factory=dict)
    """Permanent entries of VXLAN links: MAC and VTEP."""
    hosts: dict[int, frozenset[Host]] = field(default_factory=dict)
    all_forwarding6: bool = False
    """Whether IPv6 is routed on all links; otherwise only on those that say so twice."""
    namespaces: Mapping[int, str] = field(default_factory=dict)
    """Names of other network namespaces by the number that this one has for each."""


def index_of(payload: bytes) -> int:
    """The link's index."""
    return int(_IFINFOMSG.unpack_from(payload)[2])


def is_up(payload: bytes) -> bool:
    """Whether the link is up, administratively."""
    return bool(_IFINFOMSG.unpack_from(payload)[3] & IFF_UP)


@dataclass(frozen=True, slots=True)
class Basics:
    """What tells whose a link is."""

    index: int
    alias: str
    group: int
    mac: str


def basics(payload: bytes) -> Basics:
    """The link's index, alias, group and MAC address."""
    found = attributes(payload, _IFINFOMSG.size)
    alias, mac = text(found.get(_IFALIAS, b"")), found.get(_ADDRESS, b"").hex(":")
    return Basics(index_of(payload), alias, u32(found.get(_GROUP)), mac)


def forwards(netconf: bytes) -> bool:
    """Whether a message about all links (RTM_NEWNETCONF) says that packets are routed."""
    return u32(attributes(netconf, 4).get(_NETCONFA_FORWARDING)) != 0


def name_of(payload: bytes) -> str:
    """The link's name."""
    size, type_ = struct.unpack_from("=HH", payload, _IFINFOMSG.size)
    if type_ == _IFNAME:  # The kernel says it first.
        return text(payload[_IFINFOMSG.size + 4 : _IFINFOMSG.size + size])
    return text(attributes(payload, _IFINFOMSG.size).get(_IFNAME, b""))


def knows_vlans(payload: bytes) -> bool:
    """Whether the link is a VLAN-aware bridge."""
    # Found by its bytes, which is cheaper: with NULs among them they are no part of a name or an alias.
    kind = payload.find(_BRIDGE_KIND)
    if kind < 0:
        return False
    start = kind + (len(_BRIDGE_KIND) + 3 & ~3)
    size, type_ = struct.unpack_from("=HH", payload, start)
    if type_ & 0x3FFF != _INFO_DATA:
        return False
    return attributes(payload[start + 4 : start + size]).get(_BR_VLAN_FILTERING, b"\0")[0] != 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A link, and on what else it depends."""

    link: ObservedLink
    related: tuple[int, int]
    """Indices of its master and of the link below it, or beside it: a veth's other end."""
    nsid: int | None
    """Number of the namespace that is named in it."""


def decode(payload: bytes, around: Around) -> Decoded:
    """The link that a message is about."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(payload)
    attrs = attributes(payload, _IFINFOMSG.size)
    get = attrs.get
    info = attributes(get(_LINKINFO, b""))
    kind = text(info.get(_INFO_KIND, b""))
    data = attributes(info[_INFO_DATA]) if _INFO_DATA in info and kind in _DETAILED else {}
    names = around.names
    master = u32(get(_MASTER))
    elsewhere = get(_LINK_NETNSID)
    lower = 0
    if elsewhere is None:  # Else it is the index of a link in another namespace.
        lower = u32(data.get(_VXLAN_LINK) if kind == "vxlan" else get(_LINK))
    nsid = u32(elsewhere) if kind == "veth" and elsewhere is not None else None
    forwarding4, forwarding6, link_local = _af_spec(attributes(get(_AF_SPEC, b"")), around)
    port = None
    if info.get(_INFO_SLAVE_KIND) == b"bridge\0":
        vlans = around.vlans.get(index, ()) if master in around.aware else ()
        port = _port(attributes(info.get(_INFO_SLAVE_DATA, b"")), vlans)
    link = ObservedLink(
        name=names.get(index) or text(get(_IFNAME, b"")),
        index=index,
        kind=kind,
        mtu=u32(get(_MTU)),
        up=bool(flags & IFF_UP),
        mac=get(_ADDRESS, b"").hex(":"),
        alias=text(get(_IFALIAS, b"")),
        group=u32(get(_GROUP)),
        master=names.get(master, ""),
        port=port,
        link_local=link_local,
        forwarding4=forwarding4,
        forwarding6=forwarding6,
        peer_namespace=None if nsid is None else around.namespaces.get(nsid),
        vxlan=_vxlan(data, names.get(lower, ""), around.fdb.get(index, ())) if kind == "vxlan" else None,
        bridge=_bridge(data, around.vlans.get(index, ())) if kind == "bridge" else None,
        vlan=_vlan(data, names.get(lower, "")) if kind == "vlan" else None,
        hosts=around.hosts.get(index, frozenset()),
    )
    return Decoded(link, (master, lower), nsid)


_DETAILED = frozenset({"vxlan", "bridge", "vlan"})


def _af_spec(families: Mapping[int, bytes], around: Around) -> tuple[bool, bool, bool]:
    """IPv4 and IPv6 forwarding, and whether there is IPv6."""
    forwarding4 = forwarding6 = link_local = False
    if AF_INET in families:
        forwarding4 = u32(attributes(families[AF_INET]).get(_INET_CONF)) != 0
    if AF_INET6 in families:
        six = attributes(families[AF_INET6])
        conf = six.get(_INET6_CONF, b"")
        forwarding6 = u32(conf) != 0
        if len(conf) > 4 * _FORCE_FORWARDING and not around.all_forwarding6:
            forwarding6 &= u32(conf[4 * _FORCE_FORWARDING :]) != 0
        link_local = len(conf) > 4 * _DISABLE_IPV6 and not u32(conf[4 * _DISABLE_IPV6 :])
    return forwarding4, forwarding6, link_local


def _port(attrs: Mapping[int, bytes], vlans: tuple[VlanRange, ...]) -> ObservedPort:
    state = attrs.get(_BRPORT_STATE, b"\xff")[0]
    return ObservedPort(
        state=_PORT_STATES[state] if state < len(_PORT_STATES) else "unknown",
        settings=PortSettings(
            vlans=vlans,
            isolated=attrs.get(_BRPORT_ISOLATED) == b"\x01",
            learning=attrs.get(_BRPORT_LEARNING) == b"\x01",
            neighbor_suppression=attrs.get(_BRPORT_NEIGH_SUPPRESS) == b"\x01",
        ),
    )


def _bridge(attrs: Mapping[int, bytes], vlans: tuple[VlanRange, ...]) -> ObservedBridge:
    aware = attrs.get(_BR_VLAN_FILTERING, b"\0")[0] != 0
    return ObservedBridge(
        vlan_aware=aware,
        default_pvid=int.from_bytes(attrs.get(_BR_VLAN_DEFAULT_PVID, b"")[:2], byteorder),
        vlans=vlans if aware else (),
        stp=u32(attrs.get(_BR_STP_STATE)) != 0,
        multicast_snooping=attrs.get(_BR_MCAST_SNOOPING, b"\0")[0] != 0,
    )


def _vlan(attrs: Mapping[int, bytes], lower: str) -> tuple[str, int]:
    return lower, int.from_bytes(attrs.get(_VLAN_ID, b"")[:2], byteorder)


def _vxlan(
    attrs: Mapping[int, bytes], underlay: str, fdb: frozenset[tuple[str, str]] | tuple[()]
) -> ObservedVxlan:
    group = ip(attrs.get(_VXLAN_GROUP) or attrs.get(_VXLAN_GROUP6))
    return ObservedVxlan(
        vni=u32(attrs.get(_VXLAN_ID)),
        local=ip(attrs.get(_VXLAN_LOCAL) or attrs.get(_VXLAN_LOCAL6)),
        group=group,
        underlay=underlay,
        port=int.from_bytes(attrs.get(_VXLAN_PORT, b""), "big"),
        ttl=int.from_bytes(attrs.get(_VXLAN_TTL, b""), byteorder),
        learning=attrs.get(_VXLAN_LEARNING) == b"\x01",
        remotes=frozenset(vtep for mac, vtep in fdb if mac == _ZERO_MAC and vtep != group),
        stations=frozenset(Station(mac, vtep) for mac, vtep in fdb if mac != _ZERO_MAC),
    )
