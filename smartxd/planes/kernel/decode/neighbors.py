"""Neighbour entries: forwarding tables of bridges and VXLAN links, and hosts on a link."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from socket import AF_INET, AF_INET6

from smartxd.planes.kernel.decode.wire import attributes, ip, u32
from smartxd.planes.kernel.observed import FdbEntry
from smartxd.planes.kernel.state import PROTOCOL, Host

AF_BRIDGE = 7
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
NTF_EXT_LEARNED = 0x10
NDA_PROTOCOL = 12
_NDA_DST, _NDA_LLADDR, _NDA_VLAN, _NDA_MASTER = 1, 2, 5, 9
_NDMSG = struct.Struct("=B3xiHBB")


def fdb(payloads: Iterable[bytes]) -> tuple[FdbEntry, ...]:
    """All forwarding entries of a dump, of bridges and of VXLAN links."""
    found = []
    for payload in payloads:
        _, index, state, flags, _ = _NDMSG.unpack_from(payload)
        attrs = attributes(payload, _NDMSG.size)
        vlan = attrs.get(_NDA_VLAN)
        found.append(
            FdbEntry(
                index=index,
                mac=attrs.get(_NDA_LLADDR, b"").hex(":"),
                dst=ip(attrs.get(_NDA_DST)),
                master=u32(attrs.get(_NDA_MASTER)),
                # What EVPN says has been learned, if not from frames.
                permanent=bool(state & (NUD_PERMANENT | NUD_NOARP)) and not flags & NTF_EXT_LEARNED,
                vlan=struct.unpack("=H", vlan)[0] if vlan else 0,
            )
        )
    return tuple(found)


def remote(payloads: Iterable[bytes]) -> dict[int, frozenset[tuple[str, str]]]:
    """MAC and VTEP of the permanent entries that EVPN did not make, by the index of the VXLAN link."""
    found: dict[int, set[tuple[str, str]]] = {}
    for payload in payloads:
        family, index, state, flags, _ = _NDMSG.unpack_from(payload)
        if family != AF_BRIDGE or not state & (NUD_PERMANENT | NUD_NOARP) or flags & NTF_EXT_LEARNED:
            continue
        attrs = attributes(payload, _NDMSG.size)
        if _NDA_DST in attrs:
            entry = attrs.get(_NDA_LLADDR, b"").hex(":"), ip(attrs[_NDA_DST])
            found.setdefault(index, set()).add(entry)
    return {index: frozenset(entries) for index, entries in found.items()}


def hosts(payloads: Iterable[bytes]) -> dict[int, frozenset[Host]]:
    """The permanent entries that bear smartxd's protocol number, by the index of the link."""
    found: dict[int, set[Host]] = {}
    for payload in payloads:
        family, index, state, _, _ = _NDMSG.unpack_from(payload)
        if family not in (AF_INET, AF_INET6) or not state & NUD_PERMANENT:
            continue
        attrs = attributes(payload, _NDMSG.size)
        if attrs.get(NDA_PROTOCOL, b"\0")[0] == PROTOCOL:
            host = Host(ip(attrs.get(_NDA_DST)), attrs.get(_NDA_LLADDR, b"").hex(":"))
            found.setdefault(index, set()).add(host)
    return {index: frozenset(entries) for index, entries in found.items()}
