"""What all messages of rtnetlink have in common: headers, attributes, refusals.

A dump of 2,000 links is 4 MB of attributes, of which a dozen per link matter here. They are picked by their
offsets, because building an object for every attribute costs twenty times as much.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_MULTI, NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x2, 0x10, 0x100, 0x200
_NLMSGERR_MSG = 1

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")


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
    # Sizes and types as halves of words: two thirds of the cost of unpacking them.
    halves = memoryview(data if len(data) % 2 == 0 else data + b"\0").cast("H")
    end = len(data) - 3
    while start < end:
        size = halves[start >> 1]
        if size < 4:
            break
        found[halves[(start >> 1) + 1] & 0x3FFF] = data[start + 4 : start + size]
        start += (size + 3) & ~3
    return found


def each(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes from ``start`` on, in order, where a type may come more than once."""
    while start + 4 <= len(data):
        size, type_ = _ATTRIBUTE.unpack_from(data, start)
        if size < 4:
            return
        yield type_ & 0x3FFF, data[start + 4 : start + size]
        start += (size + 3) & ~3


def error(message: Message) -> OSError | None:
    """What the kernel refused and why; None when the message acknowledges."""
    (code,) = _S32.unpack_from(message.payload) if len(message.payload) >= 4 else (0,)
    if code == 0:
        return None
    reason = ""
    if message.type == NLMSG_ERROR and message.flags & NLM_F_ACK_TLVS:
        (request_size,) = _U32.unpack_from(message.payload, 4)
        size = _HEADER.size if message.flags & NLM_F_CAPPED else (request_size + 3) & ~3
        reason = text(attributes(message.payload, 4 + size).get(_NLMSGERR_MSG, b""))
    return OSError(-code, reason or os.strerror(-code))


def text(data: bytes) -> str:
    """A string without its end."""
    return data.rstrip(b"\0").decode(errors="replace")


def u32(data: bytes | None) -> int:
    """A number of the host's byte order; 0 where there is none."""
    return int(_U32.unpack_from(data)[0]) if data else 0


def ip(data: bytes | None) -> str:
    """An address of either family; empty where there is none."""
    if not data:
        return ""
    return inet_ntop(AF_INET if len(data) == 4 else AF_INET6, data)
