"""What rtnetlink messages are made of: requests, attributes, numbers."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from socket import AF_INET, AF_INET6
from typing import NamedTuple

NLM_F_REPLACE, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x400, 0x800
_NESTED = 0x8000

GONE = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT, errno.ENXIO})
"""What the kernel answers where what is to be deleted is gone already."""
NONE: frozenset[int] = frozenset()

Indices = Mapping[str, int]
"""Index of each link by name."""


class Request(NamedTuple):
    """A message to the kernel."""

    type: int
    flags: int
    body: bytes
    fine: frozenset[int] = NONE
    """Refusals (errno) that say no more than that it is so already."""


def attribute(type_: int, payload: bytes) -> bytes:
    """One attribute, filled up to a multiple of four bytes."""
    size = 4 + len(payload)
    return struct.pack("=HH", size, type_) + payload + b"\0" * (-size % 4)


def nested(type_: int, *parts: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(type_ | _NESTED, b"".join(parts))


def index_of(indices: Indices, name: str) -> int:
    """Index of a link; OSError ENODEV where it is not there."""
    if name not in indices:
        raise OSError(errno.ENODEV, f"link {name} is not there")
    return indices[name]


def family(version: int) -> int:
    """The address family of an IP version."""
    return AF_INET if version == 4 else AF_INET6


def mac_of(mac: str) -> bytes:
    """A MAC address as bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def text(type_: int, text: str) -> bytes:
    """An attribute of text, with its NUL."""
    return attribute(type_, text.encode() + b"\0")


def u8(type_: int, value: int) -> bytes:
    """An attribute of one byte."""
    return attribute(type_, bytes([value]))


def u16(value: int) -> bytes:
    """Two bytes in the host's order."""
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    """Four bytes in the host's order."""
    return struct.pack("=I", value)
