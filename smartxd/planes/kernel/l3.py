"""Addresses and routes as rtnetlink messages: pure, bytes out (linux/if_addr.h, rtnetlink.h)."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address, ip_interface, ip_network

from smartxd.planes.kernel.rtnl import (
    CHANGE,
    CREATE,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
)
from smartxd.planes.kernel.state import PROTOCOL, Address, Route
from smartxd.planes.kernel.words import (
    GONE,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Indices,
    Request,
    attribute,
    family,
    index_of,
    u32,
)

_IFA_ADDRESS, _IFA_LOCAL, _IFA_PROTO = 1, 2, 11
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 6, 9, 15
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253


def add_address(index: int, want: Address) -> Request:
    """Adds an address under smartxd's protocol number."""
    body = _ifaddrmsg(index, want) + attribute(_IFA_PROTO, bytes([PROTOCOL]))
    return Request(RTM_NEWADDR, CREATE, body, frozenset({errno.EEXIST}))


def delete_address(index: int, old: Address) -> Request:
    """Deletes an address."""
    return Request(RTM_DELADDR, CHANGE, _ifaddrmsg(index, old), GONE)


def route(want: Route, indices: Indices, *, replace: bool) -> Request:
    """Makes a route, or exchanges the one of its prefix, metric and table for it in one step."""
    flags = CHANGE | NLM_F_CREATE | NLM_F_REPLACE if replace else CREATE
    return Request(RTM_NEWROUTE, flags, _rtmsg(want) + _hops(want, indices))


def delete_route(old: Route) -> Request:
    """Deletes the route of smartxd's to a prefix with a metric in a table."""
    return Request(RTM_DELROUTE, CHANGE, _rtmsg(old), GONE)


def _rtmsg(want: Route) -> bytes:
    network = ip_network(want.destination)
    local = all(not hop.address for hop in want.hops) and bool(want.hops) and network.version == 4
    head = struct.pack(
        "=BBBBBBBBI",
        *(family(network.version), network.prefixlen, 0, 0),
        *(want.table if want.table < 256 else 0, PROTOCOL, _SCOPE_LINK if local else _SCOPE_UNIVERSE),
        *(_RTN_UNICAST if want.hops else _RTN_BLACKHOLE, 0),
    )
    parts = [
        attribute(_RTA_DST, network.network_address.packed),
        attribute(_RTA_TABLE, u32(want.table)),
        attribute(_RTA_PRIORITY, u32(want.metric)),
    ]
    return head + b"".join(parts)


def _hops(want: Route, indices: Indices) -> bytes:
    def parts(address: str) -> bytes:
        return attribute(_RTA_GATEWAY, ip_address(address).packed) if address else b""

    if len(want.hops) == 1:
        (hop,) = want.hops
        out = attribute(_RTA_OIF, u32(index_of(indices, hop.link))) if hop.link else b""
        return parts(hop.address) + out
    made = b""
    for hop in want.hops:
        index = index_of(indices, hop.link) if hop.link else 0
        gateway = parts(hop.address)
        made += struct.pack("=HBBi", 8 + len(gateway), 0, hop.weight - 1, index) + gateway
    return attribute(_RTA_MULTIPATH, made) if made else b""


def _ifaddrmsg(index: int, address: Address) -> bytes:
    interface = ip_interface(address.address)
    # No duplicate address detection: the rules of specs look for duplicates, and an anycast gateway is one.
    flags = _IFA_F_NODAD if interface.version == 6 else 0
    head = struct.pack("=BBBBI", family(interface.version), interface.network.prefixlen, flags, 0, index)
    packed = interface.ip.packed
    return head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
