"""Static routes of smartxd's."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from socket import AF_INET, AF_INET6

from smartxd.planes.kernel.decode.wire import attributes, ip, u32
from smartxd.planes.kernel.observed import ObservedRoute
from smartxd.planes.kernel.state import PROTOCOL, NextHop

_DST, _OIF, _GATEWAY, _PRIORITY, _MULTIPATH, _TABLE, _VIA = 1, 4, 5, 6, 9, 15, 18
_UNICAST, _BLACKHOLE = 1, 6
_RTMSG = struct.Struct("=8BI")
_RTNEXTHOP = struct.Struct("=HBBi")


def by_key(payloads: Iterable[bytes], names: Mapping[int, str]) -> dict[tuple[str, int, int], ObservedRoute]:
    """By destination, metric and table; ``names`` are the links' by index."""
    found = {}
    for payload in payloads:
        family, length, _, _, table, protocol, _, type_, _ = _RTMSG.unpack_from(payload)
        if protocol != PROTOCOL or family not in (AF_INET, AF_INET6):
            continue
        attrs = attributes(payload, _RTMSG.size)
        prefix = ip(attrs.get(_DST)) or ("0.0.0.0" if family == AF_INET else "::")
        hops = (
            sorted(_hops(attrs, names), key=lambda hop: (hop.address, hop.link)) if type_ == _UNICAST else ()
        )
        route = ObservedRoute(
            destination=f"{prefix}/{length}",
            metric=u32(attrs.get(_PRIORITY)),
            table=u32(attrs.get(_TABLE)) or table,
            hops=tuple(hops),
            blackhole=type_ == _BLACKHOLE,
        )
        found[route.destination, route.metric, route.table] = route
    return found


def _hops(attrs: Mapping[int, bytes], names: Mapping[int, str]) -> Iterator[NextHop]:
    several = attrs.get(_MULTIPATH)
    if several is None:
        yield NextHop(_gateway(attrs), names.get(u32(attrs.get(_OIF)), ""))
        return
    start = 0
    while start + _RTNEXTHOP.size <= len(several):
        size, _, less_one, index = _RTNEXTHOP.unpack_from(several, start)
        if size < _RTNEXTHOP.size:
            return
        inner = attributes(several[start : start + size], _RTNEXTHOP.size)
        yield NextHop(_gateway(inner), names.get(index, ""), less_one + 1)
        start += (size + 3) & ~3


def _gateway(attrs: Mapping[int, bytes]) -> str:
    """The next hop's address; that of an IPv4 route may be IPv6."""
    return ip(attrs.get(_GATEWAY) or attrs.get(_VIA, b"")[2:])
