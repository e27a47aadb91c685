"""rtnetlink messages decoded: bytes in, observed objects out.

A dump of 2,000 links is 4 MB of attributes, of which a dozen per link matter here. They are picked by their
offsets, because building an object for every attribute costs twenty times as much.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

from smartxd.planes.kernel.observed import FdbEntry, ObservedAddress, ObservedLink, ObservedVxlan

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_MULTI, NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x2, 0x10, 0x100, 0x200
IFF_UP = 0x1
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80

# linux/if_link.h
_IFNAME, _MTU, _MASTER, _LINKINFO, _IFALIAS, _GROUP = 3, 4, 10, 18, 20, 27
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_TTL, _VXLAN_LEARNING = 1, 2, 3, 4, 5, 7
_VXLAN_PORT, _VXLAN_GROUP6, _VXLAN_LOCAL6 = 15, 16, 17
_BRPORT_STATE = 1
# linux/if_addr.h, linux/neighbour.h, linux/netlink.h
_IFA_ADDRESS, _IFA_LOCAL, _IFA_PROTO = 1, 2, 11
_NDA_DST, _NDA_LLADDR, _NDA_MASTER = 1, 2, 9
_NLMSGERR_MSG = 1

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_NDMSG = struct.Struct("=B3xiHBB")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")
_PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")


class Message(NamedTuple):
    """A netlink message without its header's length and port."""

    type: int
    flags: int
    sequence: int
    payload: bytes


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    start = 0
    while start + _HEADER.size <= len(data):
        size, type_, flags, sequence, _ = _HEADER.unpack_from(data, start)
        if size < _HEADER.size:
            return
        yield Message(type_, flags, sequence, data[start + _HEADER.size : start + size])
        start += (size + 3) & ~3


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes from ``start`` on, payload by type."""
    found = {}
    end = len(data)
    unpack = _ATTRIBUTE.unpack_from
    while start + 4 <= end:
        size, type_ = unpack(data, start)
        if size < 4:
            break
        found[type_ & 0x3FFF] = data[start + 4 : start + size]
        start += (size + 3) & ~3
    return found


def error(message: Message) -> OSError | None:
    """What the kernel refused and why; None when the message acknowledges."""
    (code,) = _S32.unpack_from(message.payload) if len(message.payload) >= 4 else (0,)
    if code == 0:
        return None
    text = ""
    if message.type == NLMSG_ERROR and message.flags & NLM_F_ACK_TLVS:
        (request_size,) = _U32.unpack_from(message.payload, 4)
        size = _HEADER.size if message.flags & NLM_F_CAPPED else (request_size + 3) & ~3
        text = _text(attributes(message.payload, 4 + size).get(_NLMSGERR_MSG, b""))
    return OSError(-code, text or os.strerror(-code))


def links(payloads: Iterable[bytes]) -> dict[str, ObservedLink]:
    """The links of a dump by name; masters and underlays are named."""
    raw = [(_IFINFOMSG.unpack_from(p), attributes(p, _IFINFOMSG.size)) for p in payloads]
    names = {header[2]: _text(attrs[_IFNAME]) for header, attrs in raw}
    decoded = (_link(header[2], header[3], attrs, names) for header, attrs in raw)
    return {link.name: link for link in decoded}


def _link(index: int, flags: int, attrs: Mapping[int, bytes], names: Mapping[int, str]) -> ObservedLink:
    info = attributes(attrs.get(_LINKINFO, b""))
    kind = _text(info.get(_INFO_KIND, b""))
    vxlan = _vxlan(attributes(info[_INFO_DATA]), names) if kind == "vxlan" and _INFO_DATA in info else None
    port_state = ""
    if _text(info.get(_INFO_SLAVE_KIND, b"")) == "bridge":
        state = attributes(info.get(_INFO_SLAVE_DATA, b"")).get(_BRPORT_STATE, b"\xff")[0]
        port_state = _PORT_STATES[state] if state < len(_PORT_STATES) else "unknown"
    return ObservedLink(
        name=names[index],
        index=index,
        kind=kind,
        mtu=_u32(attrs.get(_MTU)),
        up=bool(flags & IFF_UP),
        alias=_text(attrs.get(_IFALIAS, b"")),
        group=_u32(attrs.get(_GROUP)),
        master=names.get(_u32(attrs.get(_MASTER)), ""),
        port_state=port_state,
        vxlan=vxlan,
    )


def _vxlan(attrs: Mapping[int, bytes], names: Mapping[int, str]) -> ObservedVxlan:
    return ObservedVxlan(
        vni=_u32(attrs.get(_VXLAN_ID)),
        group=_ip(attrs.get(_VXLAN_GROUP) or attrs.get(_VXLAN_GROUP6)),
        local=_ip(attrs.get(_VXLAN_LOCAL) or attrs.get(_VXLAN_LOCAL6)),
        underlay=names.get(_u32(attrs.get(_VXLAN_LINK)), ""),
        port=int.from_bytes(attrs.get(_VXLAN_PORT, b""), "big"),
        ttl=int.from_bytes(attrs.get(_VXLAN_TTL, b""), "little"),
        learning=attrs.get(_VXLAN_LEARNING) == b"\x01",
    )


def addresses(payloads: Iterable[bytes], names: Mapping[int, str]) -> dict[tuple[str, str], ObservedAddress]:
    """The addresses of a dump by link and address; ``names`` are the links' by index."""
    found = {}
    for payload in payloads:
        _, prefix_length, _, _, index = _IFADDRMSG.unpack_from(payload)
        attrs = attributes(payload, _IFADDRMSG.size)
        # On a point-to-point link IFA_ADDRESS is the far end.
        local = _ip(attrs.get(_IFA_LOCAL) or attrs.get(_IFA_ADDRESS))
        if not local or index not in names:
            continue
        protocol = attrs.get(_IFA_PROTO, b"\0")[0]
        address = ObservedAddress(names[index], f"{local}/{prefix_length}", protocol)
        found[address.link, address.address] = address
    return found


def fdb(payloads: Iterable[bytes]) -> tuple[FdbEntry, ...]:
    """The forwarding entries of a dump, of bridges and of VXLAN links."""
    found = []
    for payload in payloads:
        _, index, state, _, _ = _NDMSG.unpack_from(payload)
        attrs = attributes(payload, _NDMSG.size)
        found.append(
            FdbEntry(
                index=index,
                mac=attrs.get(_NDA_LLADDR, b"").hex(":"),
                dst=_ip(attrs.get(_NDA_DST)),
                master=_u32(attrs.get(_NDA_MASTER)),
                permanent=bool(state & (NUD_PERMANENT | NUD_NOARP)),
            )
        )
    return tuple(found)


def link_name(payload: bytes) -> tuple[int, int, str]:
    """Address family, index and name in a message about a link."""
    family, _, index, _, _ = _IFINFOMSG.unpack_from(payload)
    return family, index, _text(attributes(payload, _IFINFOMSG.size).get(_IFNAME, b""))


def address_text(payload: bytes) -> tuple[int, str]:
    """Index of the link, and the address, in a message about an address."""
    _, prefix_length, _, _, index = _IFADDRMSG.unpack_from(payload)
    attrs = attributes(payload, _IFADDRMSG.size)
    return index, f"{_ip(attrs.get(_IFA_LOCAL) or attrs.get(_IFA_ADDRESS))}/{prefix_length}"


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _u32(data: bytes | None) -> int:
    return int(_U32.unpack_from(data)[0]) if data else 0


def _ip(data: bytes | None) -> str:
    if not data:
        return ""
    return inet_ntop(AF_INET if len(data) == 4 else AF_INET6, data)
