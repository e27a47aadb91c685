"""What the kernel tells of its changes: one socket, of which only the heads of messages are read."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from dataclasses import dataclass, field

from smartxd.planes.kernel.decode.links import IFF_UP
from smartxd.planes.kernel.decode.neighbors import (
    AF_BRIDGE,
    NDA_PROTOCOL,
    NTF_EXT_LEARNED,
    NUD_NOARP,
    NUD_PERMANENT,
)
from smartxd.planes.kernel.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_DELVLAN,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWNETCONF,
    RTM_NEWROUTE,
    RTM_NEWVLAN,
)
from smartxd.planes.kernel.state import PROTOCOL

# linux/rtnetlink.h: links, neighbours, addresses, routes, forwarding, VLANs.
_GROUPS = (1, 3, 5, 9, 7, 11, 24, 25, 33)
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
BUFFER_BYTES = 16 << 20
"""Some 5,000 messages of links; the kernel takes the memory only while it is used."""

_HEAD_BYTES = 64
_AT_ONCE = 100_000
"""More is left for the next time: who changes the network without end stops nothing else."""
_HEADER = struct.Struct("=IHH8x")
_IFINFOMSG = struct.Struct("=BxHiI")
_IFADDRMSG = struct.Struct("=B3xI")
_NDMSG = struct.Struct("=B3xi")
_VLANMSG = struct.Struct("=4xI")
_NETCONF_IFINDEX = struct.Struct("=4xHHi")
_NETCONFA_IFINDEX, _ALL_LINKS = 1, -1


@dataclass(slots=True)
class Changes:
    """Where something may have changed, by the index of the link."""

    links: set[int] = field(default_factory=set)
    addresses: set[int] = field(default_factory=set)
    vlans: set[int] = field(default_factory=set)
    fdb: set[int] = field(default_factory=set)
    hosts: set[int] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)
    """Names of links of which not everything may have been told."""
    routes: bool = False
    """A route of smartxd's has been changed."""
    flushed: bool = False
    """IPv4 routes may have gone, of which the kernel does not tell."""
    lost: bool = False
    """The kernel told more than there was room for."""

    def __bool__(self) -> bool:
        # Whatever else changes on a link, its index stands among those of links.
        return bool(self.links or self.routes or self.doubted or self.lost)

    def file(self, head: bytes) -> None:
        """Note what a message is about; its head is enough."""
        _, type_, _ = _HEADER.unpack_from(head)
        if type_ in (RTM_NEWLINK, RTM_DELLINK):
            self._link(type_, *_IFINFOMSG.unpack_from(head, _HEADER.size))
        elif type_ in (RTM_NEWADDR, RTM_DELADDR):
            _, index = _IFADDRMSG.unpack_from(head, _HEADER.size)
            self.links.add(index)
            self.addresses.add(index)
            self.flushed |= type_ == RTM_DELADDR
        elif type_ in (RTM_NEWNEIGH, RTM_DELNEIGH):
            family, index = _NDMSG.unpack_from(head, _HEADER.size)
            self.links.add(index)
            (self.fdb if family == AF_BRIDGE else self.hosts).add(index)
        elif type_ in (RTM_NEWVLAN, RTM_DELVLAN):
            (index,) = _VLANMSG.unpack_from(head, _HEADER.size)
            self.links.add(index)
            self.vlans.add(index)
        elif type_ in (RTM_NEWROUTE, RTM_DELROUTE):
            self.routes = True
        elif type_ == RTM_NEWNETCONF:
            _, attribute, index = _NETCONF_IFINDEX.unpack_from(head, _HEADER.size)
            if attribute == _NETCONFA_IFINDEX and index > 0:
                self.links.add(index)
            elif index == _ALL_LINKS:
                self.lost = True

    def _link(self, type_: int, family: int, _: int, index: int, flags: int) -> None:
        self.links.add(index)
        self.vlans.add(index)
        gone = type_ == RTM_DELLINK and family != AF_BRIDGE
        if gone or not flags & IFF_UP:
            self.addresses.add(index)
            self.fdb.add(index)
            self.hosts.add(index)
            self.flushed = True


class Multicast:
    """An open socket in the network namespace of the thread that makes it.

    ``drain`` is the only reader; any thread may wait for the socket to become readable.
    """

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._socket.setblocking(False)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
            except PermissionError:  # Who may not change the network either; the default does for looking.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            _attach(self._socket, _filter())
            self._socket.bind((0, 0))
            for group in _GROUPS:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For waiting."""
        return self._socket.fileno()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def drain(self, changes: Changes) -> int:
        """Note what has been told since the last time; the number of messages."""
        count = 0
        receive, file = self._socket.recv, changes.file
        while count < _AT_ONCE:
            try:
                head = receive(_HEAD_BYTES)
            except BlockingIOError:
                return count
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                changes.lost = True
                continue
            count += 1
            file(head)
        return count


# The filter: classic BPF, run by the kernel on each message before it takes any room in the buffer.

_LD_WORD, _LD_HALF, _LD_BYTE, _LD_IMMEDIATE, _LDX_IMMEDIATE = 0x20, 0x28, 0x30, 0x00, 0x01
_JEQ, _JGT, _JSET, _RET = 0x15, 0x25, 0x45, 0x06
_FIND_ATTRIBUTE = 0xFFFFF000 + 12
"""SKF_AD_OFF + SKF_AD_NLATTR: where the attribute of type X is from A on, or 0."""
_NLM_F_REPLACE = 0x100
_RTPROT_STATIC = 4
_NLMSG = 16
_Step = tuple[str, int, str, str, int]
"""Its label, the operation, where to go on if it holds and if not (empty: to the next), the operand."""


def _half(number: int) -> int:
    """As the filter sees a number of the host's: in the network's order."""
    return int.from_bytes(struct.pack("=H", number), "big")


def _filter() -> bytes:
    """Lets pass what concerns smartxd; a full table of BGP's or a busy bridge then costs nothing.

    Of routes: its own; and what replaces a route by hand (protocols up to ``static``), which may be its own,
    of whose end the kernel tells nothing else. Of neighbours on a link: those that bear anyone's protocol
    number, which its own may have got by hand. Of forwarding tables: what never ages. Of neither what EVPN
    made.
    """
    code: list[_Step] = [
        ("", _LD_HALF, "", "", 4),  # nlmsg_type
        ("", _JEQ, "route", "", _half(RTM_NEWROUTE)),
        ("", _JEQ, "route", "", _half(RTM_DELROUTE)),
        ("", _JEQ, "neighbor", "", _half(RTM_NEWNEIGH)),
        ("", _JEQ, "neighbor", "pass", _half(RTM_DELNEIGH)),
        ("route", _LD_BYTE, "", "", _NLMSG + 5),  # rtm_protocol
        ("", _JEQ, "pass", "", PROTOCOL),
        ("", _JGT, "drop", "", _RTPROT_STATIC),
        ("", _LD_HALF, "", "", 6),  # nlmsg_flags
        ("", _JSET, "pass", "drop", _half(_NLM_F_REPLACE)),
        ("neighbor", _LD_BYTE, "", "", _NLMSG + 10),  # ndm_flags
        ("", _JSET, "drop", "", NTF_EXT_LEARNED),
        ("", _LD_BYTE, "", "", _NLMSG),  # ndm_family
        ("", _JEQ, "", "host", AF_BRIDGE),
        ("", _LD_HALF, "", "", _NLMSG + 8),  # ndm_state
        ("", _JSET, "pass", "drop", _half(NUD_PERMANENT | NUD_NOARP)),
        ("host", _LD_IMMEDIATE, "", "", _NLMSG + 12),  # where attributes begin
        ("", _LDX_IMMEDIATE, "", "", NDA_PROTOCOL),
        ("", _LD_WORD, "", "", _FIND_ATTRIBUTE),
        ("", _JEQ, "drop", "pass", 0),
        ("drop", _RET, "", "", 0),
        ("pass", _RET, "", "", 0xFFFFFFFF),
    ]
    places = {label: place for place, (label, *_) in enumerate(code) if label}
    return b"".join(
        struct.pack(
            "=HBBI",
            operation,
            places[yes] - place - 1 if yes else 0,
            places[no] - place - 1 if no else 0,
            operand,
        )
        for place, (_, operation, yes, no, operand) in enumerate(code)
    )


def _attach(to: socket.socket, code: bytes) -> None:
    program = ctypes.create_string_buffer(code, len(code))
    to.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code) // 8, ctypes.addressof(program))
    )
