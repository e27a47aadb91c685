"""Frames that the tracer is measured with, of 64 bytes on the wire where they can be."""

from __future__ import annotations

import socket
import struct

_ETHERNET = bytes.fromhex("02000000000b02000000000a")


def _ethernet(ethertype: int, payload: bytes, tag: bytes = b"") -> bytes:
    return _ETHERNET + tag + struct.pack("!H", ethertype) + payload


def _ip4(protocol: int, payload: bytes, src: str = "192.0.2.1", dst: str = "198.51.100.2") -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    return head + socket.inet_aton(src) + socket.inet_aton(dst) + payload


def _ip6(protocol: int, payload: bytes) -> bytes:
    addresses = (socket.inet_pton(socket.AF_INET6, a) for a in ("2001:db8::1", "2001:db8:1::2"))
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + b"".join(addresses) + payload


def udp(src: int, dst: int, payload: bytes = bytes(18)) -> bytes:
    """A datagram, without a checksum."""
    return struct.pack("!HHHH", src, dst, 8 + len(payload), 0) + payload


def _vxlan(frame: bytes) -> bytes:
    return struct.pack("!II", 0x08 << 24, 0x123456 << 8) + frame


def plain(port: int) -> bytes:
    """A datagram over IPv4 from a port."""
    return _ethernet(0x0800, _ip4(17, udp(port, 2222)))


_TCP = struct.pack("!HHIIBBHHH", 33, 80, 1, 2, 0x50, 0x10, 1000, 0, 0)
_INNER = _ethernet(0x0800, _ip4(17, udp(33, 80), "10.0.0.1", "10.0.0.2"))

UDP = plain(1111)
VXLAN = _ethernet(0x0800, _ip4(17, udp(5555, 4789, _vxlan(_INNER))))
OTHERS = {
    "TCP": _ethernet(0x0800, _ip4(6, _TCP)),
    "ARP": _ethernet(0x0806, bytes(28)),
    "UDP, IPv6": _ethernet(0x86DD, _ip6(17, udp(1111, 2222))),
    "UDP, VLAN tag in the frame": _ethernet(0x0800, _ip4(17, udp(1111, 2222)), bytes.fromhex("81000064")),
    "VXLAN, IPv6 outside and inside": _ethernet(
        0x86DD, _ip6(17, udp(5555, 4789, _vxlan(_ethernet(0x86DD, _ip6(17, udp(33, 80))))))
    ),
}
"""By what they are called in a table."""
