"""Ask the kernel what is there: one dump per family, or what one link has of it."""

from __future__ import annotations

import errno
import os
import re
import struct
from functools import cache
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNSPEC

from smartxd.planes.kernel.decode import addresses as address_messages
from smartxd.planes.kernel.decode import links as link_messages
from smartxd.planes.kernel.decode import neighbors, vlans
from smartxd.planes.kernel.observed import FdbEntry, KernelObserved, ObservedLink
from smartxd.planes.kernel.picture import Picture
from smartxd.planes.kernel.rtnl import (
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETNETCONF,
    RTM_GETROUTE,
    RTM_GETVLAN,
    Rtnl,
)
from smartxd.planes.kernel.state import PROTOCOL, Host, VlanRange

AF_BRIDGE = neighbors.AF_BRIDGE
_IFLA_IFNAME, _IFLA_EXT_MASK = 3, 29
_RTEXT_FILTER_SKIP_STATS = 8
_NDA_IFINDEX = 8
_NETCONFA_IFINDEX = 1
_IFA_PROTO_SINCE = (5, 18)

# Statistics are most of a link's message, and nothing here reads them.
_SKIP_STATS = struct.pack("=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
_GONE = frozenset({errno.ENODEV})
# A link that is no bridge and no port has no VLANs, and a kernel without its bridge module knows none.
_NO_VLANS = frozenset({errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP})


def observe(rtnl: Rtnl) -> KernelObserved:
    """All of the socket's network namespace, read at once."""
    picture = new_picture()
    take_all(rtnl, picture)
    return picture.observed()


def new_picture() -> Picture:
    """An empty one, that knows what the kernel can."""
    return Picture(
        marks_addresses=keeps_address_protocol(os.uname().release),
        forces_forwarding=Path("/proc/sys/net/ipv6/conf/all/force_forwarding").exists(),
    )


def take_all(rtnl: Rtnl, picture: Picture) -> None:
    """Read everything into the picture; of what is there already, what has gone is forgotten."""
    picture.links(raw_links(rtnl))
    picture.addresses(addresses(rtnl))
    picture.vlans(vlan_ranges(rtnl))
    picture.fdb(remote_entries(rtnl))
    picture.hosts(hosts(rtnl))
    picture.routes(raw_routes(rtnl))
    picture.all_forwarding6(all_forwarding6(rtnl))


def all_forwarding6(rtnl: Rtnl) -> bool:
    """Whether IPv6 is routed on all links."""
    body = struct.pack("=B3xHHi", AF_INET6, 8, _NETCONFA_IFINDEX, -1)
    try:
        return link_messages.forwards(rtnl.get(RTM_GETNETCONF, body))
    except OSError:  # a kernel without IPv6
        return False


# Of one link where there is an index, of all where it is 0.


def raw_links(rtnl: Rtnl) -> dict[int, bytes]:
    """A message of every link, by index."""
    payloads = rtnl.dump(RTM_GETLINK, _ifinfomsg(0) + _SKIP_STATS)
    return {link_messages.index_of(payload): payload for payload in payloads}


def raw_link(rtnl: Rtnl, index: int) -> bytes | None:
    """The message of one link; None when it is gone."""
    return _one(rtnl, _ifinfomsg(index) + _SKIP_STATS)


def addresses(rtnl: Rtnl, index: int = 0) -> dict[int, tuple[tuple[str, int], ...]]:
    """Addresses and their protocols, by link."""
    body = struct.pack("=BBBBI", AF_UNSPEC, 0, 0, 0, index)
    return address_messages.by_link(rtnl.dump(RTM_GETADDR, body, none_if=_GONE))


def vlan_ranges(rtnl: Rtnl, index: int = 0) -> dict[int, tuple[VlanRange, ...]]:
    """VLANs of bridges and ports, by link."""
    body = struct.pack("=BxHI", AF_BRIDGE, 0, index)
    return vlans.by_link(rtnl.dump(RTM_GETVLAN, body, none_if=_NO_VLANS))


def remote_entries(rtnl: Rtnl, index: int = 0) -> dict[int, frozenset[tuple[str, str]]]:
    """MACs and VTEPs that are fixed, by VXLAN link."""
    return neighbors.remote(rtnl.dump(RTM_GETNEIGH, _ndmsg(AF_BRIDGE, index), none_if=_GONE))


def hosts(rtnl: Rtnl, index: int = 0) -> dict[int, frozenset[Host]]:
    """Neighbour entries of smartxd's, by link."""
    body = _ndmsg(AF_UNSPEC, 0)
    if index:
        body += struct.pack("=HHI", 8, _NDA_IFINDEX, index)
    return neighbors.hosts(rtnl.dump(RTM_GETNEIGH, body))


def raw_routes(rtnl: Rtnl) -> tuple[bytes, ...]:
    """A message of every route of smartxd's."""
    found: list[bytes] = []
    for family in (AF_INET, AF_INET6):
        found += rtnl.dump(RTM_GETROUTE, struct.pack("=8BI", family, 0, 0, 0, 0, PROTOCOL, 0, 0, 0))
    return tuple(found)


def observe_fdb(rtnl: Rtnl) -> tuple[FdbEntry, ...]:
    """The forwarding tables of all bridges and VXLAN links, with what they have learned."""
    return neighbors.fdb(rtnl.dump(RTM_GETNEIGH, _ndmsg(AF_BRIDGE, 0)))


# What applying needs to know of single links.


def observe_links(rtnl: Rtnl) -> dict[str, ObservedLink]:
    """All links of the socket's network namespace by name, less what is known of them elsewhere."""
    picture = Picture()
    picture.links(raw_links(rtnl))
    return dict(picture.observed().links)


def observe_link(rtnl: Rtnl, index: int) -> ObservedLink | None:
    """One link by its index, with no names of other links in it; None when it is gone."""
    return _alone(raw_link(rtnl, index))


def observe_link_named(rtnl: Rtnl, name: str) -> ObservedLink | None:
    """One link by its name, with no names of other links in it; None when there is none."""
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), _IFLA_IFNAME) + text + b"\0" * (-len(text) % 4)
    return _alone(_one(rtnl, _ifinfomsg(0) + attribute + _SKIP_STATS))


@cache
def keeps_address_protocol(release: str) -> bool:
    """Whether the kernel of this release keeps IFA_PROTO."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) >= _IFA_PROTO_SINCE


def _alone(payload: bytes | None) -> ObservedLink | None:
    return None if payload is None else link_messages.decode(payload, link_messages.Around()).link


def _ifinfomsg(index: int) -> bytes:
    return struct.pack("=BxHiII", AF_UNSPEC, 0, index, 0, 0)


def _ndmsg(family: int, index: int) -> bytes:
    return struct.pack("=B3xiHBB", family, index, 0, 0, 0)


def _one(rtnl: Rtnl, body: bytes) -> bytes | None:
    try:
        return rtnl.get(RTM_GETLINK, body)
    except OSError as err:
        if err.errno == errno.ENODEV:
            return None
        raise
