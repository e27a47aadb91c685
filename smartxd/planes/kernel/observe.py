"""Ask the kernel what is there: one dump per family, whatever the number of objects."""

from __future__ import annotations

import errno
import os
import re
import struct
from functools import cache
from socket import AF_UNSPEC

from smartxd.planes.kernel import decode
from smartxd.planes.kernel.observed import FdbEntry, KernelObserved, ObservedLink
from smartxd.planes.kernel.rtnl import RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH, Rtnl

AF_BRIDGE = 7
_IFLA_EXT_MASK = 29
_RTEXT_FILTER_SKIP_STATS = 8
_IFA_PROTO_SINCE = (5, 18)

# Statistics are most of a link's message, and nothing here reads them.
_SKIP_STATS = struct.pack("=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)


def observe(rtnl: Rtnl) -> KernelObserved:
    """All links and addresses of the socket's network namespace."""
    links = observe_links(rtnl)
    names = {link.index: link.name for link in links.values()}
    addresses = decode.addresses(rtnl.dump(RTM_GETADDR, struct.pack("=BBBBI", AF_UNSPEC, 0, 0, 0, 0)), names)
    return KernelObserved(links, addresses, marks_addresses=keeps_address_protocol(os.uname().release))


def observe_links(rtnl: Rtnl) -> dict[str, ObservedLink]:
    """All links of the socket's network namespace, by name."""
    return decode.links(rtnl.dump(RTM_GETLINK, _ifinfomsg(0) + _SKIP_STATS))


def observe_link(rtnl: Rtnl, index: int) -> ObservedLink | None:
    """One link by its index, with no names of other links in it; None when it is gone."""
    return _one(rtnl, _ifinfomsg(index) + _SKIP_STATS)


def observe_link_named(rtnl: Rtnl, name: str) -> ObservedLink | None:
    """One link by its name, with no names of other links in it; None when there is none."""
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), 3) + text + b"\0" * (-len(text) % 4)
    return _one(rtnl, _ifinfomsg(0) + attribute + _SKIP_STATS)


def observe_fdb(rtnl: Rtnl) -> tuple[FdbEntry, ...]:
    """The forwarding tables of all bridges and VXLAN links."""
    return decode.fdb(rtnl.dump(RTM_GETNEIGH, struct.pack("=B3xiHBB", AF_BRIDGE, 0, 0, 0, 0)))


@cache
def keeps_address_protocol(release: str) -> bool:
    """Whether the kernel of this release keeps IFA_PROTO."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) >= _IFA_PROTO_SINCE


def _ifinfomsg(index: int) -> bytes:
    return struct.pack("=BxHiII", AF_UNSPEC, 0, index, 0, 0)


def _one(rtnl: Rtnl, body: bytes) -> ObservedLink | None:
    try:
        found = decode.links([rtnl.get(RTM_GETLINK, body)])
    except OSError as err:
        if err.errno == errno.ENODEV:
            return None
        raise
    return next(iter(found.values()))
