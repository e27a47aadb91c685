"""Frames built by hand, byte by byte: the oracle knows what is in them because it put it there."""

from __future__ import annotations

import socket
import struct

ETHERNET = bytes.fromhex("02000000000b02000000000a")


def ethernet(ethertype: int, payload: bytes, *tags: tuple[int, int]) -> bytes:
    """A frame; each tag is a (TPID, VLAN ID)."""
    inner = b"".join(struct.pack("!HH", tpid, 0x6000 | vid) for tpid, vid in tags)
    return ETHERNET + inner + struct.pack("!H", ethertype) + payload


def ip4(
    protocol: int,
    payload: bytes,
    src: str = "192.0.2.1",
    dst: str = "198.51.100.2",
    options: bytes = b"",
    fragment: int = 0,
    ttl: int = 64,
) -> bytes:
    """A packet; ``fragment`` is the field of flags and offset. Its checksum is right."""
    ihl = 5 + len(options) // 4
    head = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x40 | ihl, 0, ihl * 4 + len(payload), 7, fragment, ttl, protocol, 0),
        *(socket.inet_aton(src), socket.inet_aton(dst)),
    )
    head += options
    total = sum(struct.unpack(f"!{ihl * 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + payload


def ip6(next_header: int, payload: bytes, src: str = "2001:db8::1", dst: str = "2001:db8:1::2") -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst)
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, 64) + addresses + payload


def ip6_extension(next_header: int, length_units: int = 0) -> bytes:
    """Hop-by-hop, routing or destination options of 8 * (1 + units) bytes."""
    return struct.pack("!BB", next_header, length_units) + bytes(6 + 8 * length_units)


def ip6_fragment(next_header: int, offset: int, more: bool) -> bytes:
    return struct.pack("!BBHI", next_header, 0, offset * 8 | more, 99)


def udp(src: int, dst: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", src, dst, 8 + len(payload), 0) + payload


def tcp(src: int, dst: int, flags: int, options: bytes = b"", payload: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    return struct.pack("!HHIIBBHHH", src, dst, 1, 2, words << 4, flags, 1000, 0, 0) + options + payload


def icmp(kind: int, code: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, 1, 1) + payload


def sctp(src: int, dst: int) -> bytes:
    return struct.pack("!HHII", src, dst, 0, 0)


def vxlan(vni: int, frame: bytes, flags: int = 0x08) -> bytes:
    return struct.pack("!BBHI", flags, 0, 0, vni << 8) + frame
