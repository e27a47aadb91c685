"""The oracle's frames, made with scapy: each protocol whole and cut off everywhere, and what is odd.

A sound frame is cut off in the middle of each header, one byte before its end and at its end, from Ethernet's
14 bytes on, below which nothing passes an interface. Each cut comes three times: the lengths in the headers
before it as they were, as short as the rest, and that with Ethernet's padding, which is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import truediv

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, GRE, LLC, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.layers.vxlan import VXLAN
from scapy.packet import NoPayload, Packet, Raw

ETHERNET_BYTES, FRAME_MIN = 14, 60
_LAST = (ARP, LLC, GRE, ICMP, ICMPv6EchoRequest, ICMPv6ND_NS, SCTP, Raw)
"""Behind these the parser reads nothing."""

DATA = Raw(b"x" * 23)
EXPERIMENT = 253  # a protocol that is nobody's (RFC 3692)


def _ether(**fields: int) -> Packet:
    return Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b", **fields)


def _ip(**fields: object) -> Packet:
    return IP(src="192.0.2.1", dst="198.51.100.2", **fields)


def _ip6(**fields: object) -> Packet:
    return IPv6(src="2001:db8::1", dst="2001:db8:1::2", **fields)


def _udp(**fields: object) -> Packet:
    return UDP(sport=61111, dport=62222, **fields) / DATA


def _tcp(flags: str = "PA", **fields: object) -> Packet:
    return TCP(sport=61000, dport=62000, flags=flags, **fields) / DATA


def _vxlan(*inner: Packet, vni: int = 0x123456, length: int | None = None, **fields: object) -> Packet:
    return (
        UDP(sport=60001, dport=4789, len=length)
        / VXLAN(vni=vni, **{"flags": 0x08, **fields})
        / _stack(*inner)
    )


def _stack(*layers: Packet) -> Packet:
    return reduce(truediv, layers)


E, Q = _ether(), Dot1Q(vlan=0x123, prio=5)
IN4 = IP(src="10.0.0.1", dst="10.0.0.2")
IN6 = IPv6(src="fd00::1", dst="fd00::2")
OPTIONS = [("MSS", 1460), ("NOP", None), ("WScale", 7), ("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
HOPOPTS, DSTOPTS = IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()
ROUTING = IPv6ExtHdrRouting(addresses=["2001:db8::9"])


def _auth(next_header: int) -> Packet:
    return AH(nh=next_header, payloadlen=4, spi=7, seq=8, icv=b"\x99" * 12)


SOUND: dict[str, Packet] = {
    "arp": E / ARP(op=2, psrc="10.0.0.1", pdst="10.0.0.2"),
    "arp-vlan": E / Q / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
    "802.3": Dot3(src=E.src, dst=E.dst) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / DATA,
    "unknown-ethertype": _ether(type=0x88B5) / DATA,
    "vlan-udp": E / Q / _ip() / _udp(),
    "vlan-priority": E / Dot1Q(vlan=0, prio=7) / _ip() / _tcp(),
    "vlan-udp6": E / Q / _ip6() / _udp(),
    "vlan-stacked": E / Dot1AD(vlan=100) / Dot1Q(vlan=200) / _ip() / _udp(),
    "vlan-stacked-tcp6": E / Dot1Q(vlan=100) / Dot1Q(vlan=200) / _ip6() / _tcp(),
    "udp": E / _ip() / _udp(),
    "udp-empty": E / _ip() / UDP(sport=61111, dport=62222),
    "tcp": E / _ip() / _tcp(),
    "tcp-syn": E / _ip() / _tcp("S", options=OPTIONS),
    "tcp-all-flags": E / _ip() / _tcp("FSRPAUECN"),
    "icmp": E / _ip() / ICMP() / DATA,
    "icmp-unreachable": E / _ip() / ICMP(type=3, code=4) / IN4 / _udp(),
    "sctp": E / _ip() / SCTP(sport=61009, dport=62010) / SCTPChunkData(data=b"data"),
    "gre": E / _ip() / GRE(proto=0x88B5) / DATA,
    "ip-protocol": E / _ip(proto=EXPERIMENT) / DATA,
    "ip-options": E / _ip(options=[IPOption_RR(length=7, routers=["10.9.9.9"]), b"\x01"]) / _udp(),
    "ip-options-full": E / _ip(options=[b"\x01" * 40]) / _tcp(),
    "ip-first-fragment": E / _ip(flags="MF") / _udp(len=2000),
    "ip-first-fragment-tcp": E / _ip(flags="MF") / _tcp(),
    "ip-later-fragment": E / _ip(flags="MF", frag=5, proto=17) / DATA,
    "ip-last-fragment": E / _ip(frag=185, proto=6) / DATA,
    "udp6": E / _ip6() / _udp(),
    "tcp6": E / _ip6() / _tcp("SA", options=OPTIONS),
    "icmp6": E / _ip6() / ICMPv6EchoRequest(data=b"ping"),
    "icmp6-neighbour": E / _ip6() / ICMPv6ND_NS(tgt="2001:db8::7"),
    "sctp6": E / _ip6() / SCTP(sport=61009, dport=62010) / SCTPChunkData(data=b"data"),
    "gre6": E / _ip6() / GRE(proto=0x88B5) / DATA,
    "ip6-hop-by-hop": E / _ip6() / HOPOPTS / _udp(),
    "ip6-routing": E / _ip6() / ROUTING / _tcp(),
    "ip6-destination": E / _ip6() / DSTOPTS / _udp(),
    "ip6-auth": E / _ip6() / _auth(17) / _udp(),
    "ip6-extensions": E / _ip6() / HOPOPTS / DSTOPTS / ROUTING / _auth(60) / DSTOPTS / _tcp(),
    "ip6-eight-extensions": E / _ip6() / _stack(*[DSTOPTS] * 8) / _udp(),
    "ip6-first-fragment": E / _ip6() / IPv6ExtHdrFragment(m=1) / _udp(len=2000),
    "ip6-first-fragment-of-extensions": E / _ip6() / HOPOPTS / IPv6ExtHdrFragment(m=1) / DSTOPTS / _tcp(),
    "ip6-later-fragment": E / _ip6() / IPv6ExtHdrFragment(m=1, offset=9, nh=17) / DATA,
    "ip6-only-fragment": E / _ip6() / IPv6ExtHdrFragment() / _udp(),
    "ip6-no-next-header": E / _ip6(nh=59),
    "ip6-protocol": E / _ip6(nh=EXPERIMENT) / DATA,
    "vxlan-4-in-4": E / _ip() / _vxlan(E, IN4, _tcp()),
    "vxlan-6-in-4": E / _ip() / _vxlan(E, IN6, _udp()),
    "vxlan-4-in-6": E / _ip6() / _vxlan(E, IN4, _udp()),
    "vxlan-6-in-6": E / _ip6() / _vxlan(E, IN6, _tcp("S", options=OPTIONS)),
    "vxlan-vlan": E / Q / _ip() / _vxlan(E, Dot1Q(vlan=7), IN4, _udp()),
    "vxlan-vlan-stacked": E
    / Dot1AD(vlan=9)
    / Q
    / _ip6()
    / _vxlan(E, Dot1AD(vlan=8), Dot1Q(vlan=7), IN6, _tcp()),
    "vxlan-arp": E / _ip() / _vxlan(E, ARP(psrc="10.0.0.1", pdst="10.0.0.2")),
    "vxlan-icmp": E / _ip() / _vxlan(E, IN4, ICMP(type=8), DATA),
    "vxlan-icmp6": E / _ip6() / _vxlan(E, IN6, HOPOPTS, ICMPv6EchoRequest(data=b"ping")),
    "vxlan-sctp": E / _ip() / _vxlan(E, IN4, SCTP(sport=61009, dport=62010), SCTPChunkData(data=b"data")),
    "vxlan-gre": E / _ip() / _vxlan(E, IN4, GRE(proto=0x88B5), DATA),
    "vxlan-options": E
    / _ip(options=[b"\x01" * 8])
    / _vxlan(E, IP(src="10.0.0.1", dst="10.0.0.2", options=[b"\x01" * 4]), _tcp()),
    "vxlan-extensions": E / _ip6() / DSTOPTS / _vxlan(E, IN6, DSTOPTS, ROUTING, _udp()),
    "vxlan-group-policy": E / _ip() / _vxlan(E, IN4, _tcp(), flags=0x88),
    "vxlan-reserved-bits": E / _ip6() / _vxlan(E, IN6, _udp(), flags=0x48, reserved2=0xFF, vni=0xFFFFFF),
    "vxlan-first-fragment": E
    / _ip(flags="MF")
    / _vxlan(E, IP(src="10.0.0.1", dst="10.0.0.2", len=1400), _tcp()),
    "vxlan-6-first-fragment": E
    / _ip6()
    / IPv6ExtHdrFragment(m=1)
    / _vxlan(E, IPv6(src="fd00::1", dst="fd00::2", plen=1400), _udp(len=1400)),
    "vxlan-later-fragment": E / _ip(frag=20, proto=17) / _vxlan(E, IN4, _tcp()),
    "vxlan-of-fragment": E
    / _ip()
    / _vxlan(E, IP(src="10.0.0.1", dst="10.0.0.2", flags="MF"), _udp(len=2000)),
    "vxlan-of-later-fragment": E
    / _ip()
    / _vxlan(E, IP(src="10.0.0.1", dst="10.0.0.2", frag=9, proto=6), DATA),
    "vxlan-of-vxlan": E / _ip() / _vxlan(E, IN4, _vxlan(E, _ip6(), _tcp(), vni=1)),
}

ODD: dict[str, Packet] = {
    "ip-header-length-4": E / _ip(ihl=4) / _udp(),
    "ip-header-length-0": E / _ip(ihl=0) / _tcp(),
    "ip-header-length-15": E / _ip(ihl=15, len=60) / _udp(),
    "ip-version": E / _ip(version=5) / _udp(),
    "ip-total-length-19": E / _ip(len=19) / _udp(),
    "ip-total-length-0": E / _ip(len=0) / _tcp(),
    "ip-total-length-large": E / _ip(len=1500) / _udp(),
    "ip6-version": E / _ip6(version=4) / _udp(),
    "ip6-payload-length-0": E / _ip6(plen=0) / _udp(),
    "ip6-payload-length-large": E / _ip6(plen=1500) / _udp(),
    "ip6-extension-length": E / _ip6() / IPv6ExtHdrDestOpt(len=31) / _udp(),
    "ip6-nine-extensions": E / _ip6() / _stack(*[DSTOPTS] * 9) / _udp(),
    "tcp-header-length-4": E / _ip() / _tcp(dataofs=4),
    "tcp-header-length-0": E / _ip6() / _tcp(dataofs=0),
    "tcp-header-length-15": E / _ip() / _tcp(dataofs=15),
    "udp-length-7": E / _ip() / _udp(len=7),
    "udp-length-0": E / _ip6() / _udp(len=0),
    "udp-length-large": E / _ip() / _udp(len=99),
    "vlan-three": E / Q / Q / Dot1Q(vlan=3) / _ip() / _udp(),
    "vxlan-without-vni": E / _ip() / _vxlan(E, IN4, _tcp(), flags=0),
    "vxlan-without-vni-6": E / _ip6() / _vxlan(E, IN4, _udp(), flags=0xF7),
    "vxlan-answer": E / _ip() / UDP(sport=4789, dport=60001) / VXLAN(vni=5, flags=0x08) / E / IN4 / _udp(),
    "vxlan-ip-header-length": E / _ip() / _vxlan(E, IP(src="10.0.0.1", dst="10.0.0.2", ihl=3), _udp()),
    "vxlan-ip-version": E / _ip6() / _vxlan(E, IPv6(src="fd00::1", dst="fd00::2", version=7), _udp()),
    "vxlan-tcp-header-length": E / _ip() / _vxlan(E, IN4, _tcp(dataofs=2)),
    "vxlan-longer-than-its-packet": E / _ip(len=112) / _vxlan(E, IN4, _tcp(), length=92),
}


def pcaps(changed: Callable[[Packet], Packet] = lambda packet: packet) -> dict[str, list[bytes]]:
    """What each capture file holds, by its name; the first frame is the whole one."""
    whole = {name: [bytes(changed(packet))] for name, packet in ODD.items()}
    cut = {name: list(dict.fromkeys(_cuts(changed(packet)))) for name, packet in SOUND.items()}
    return cut | whole


def _cuts(packet: Packet) -> Iterator[bytes]:
    whole = bytes(packet)
    yield whole
    yield whole + bytes(max(0, FRAME_MIN - len(whole)))
    headers = list(_headers(packet))
    for start, end, _ in headers:
        for size in ((start + end) // 2, end - 1, end):
            if size < ETHERNET_BYTES:
                continue
            yield whole[:size]
            short = _shortened(whole, size, headers)
            if short != whole[:size]:
                yield short
                yield short + b"\xa5" * (FRAME_MIN - size)


def _headers(packet: Packet) -> Iterator[tuple[int, int, type[Packet]]]:
    """Where each header starts and ends, and whose it is, as far as the parser reads."""
    start, total = 0, len(packet)
    while not isinstance(packet, (NoPayload, Raw)):
        end = total - len(packet.payload)
        yield start, end, type(packet)
        if isinstance(packet, _LAST):
            return
        start, packet = end, packet.payload


def _shortened(whole: bytes, size: int, headers: list[tuple[int, int, type[Packet]]]) -> bytes:
    """The first bytes, with lengths that say that these are all."""
    short = bytearray(whole[:size])
    for start, end, kind in headers:
        if end <= size and kind in _LENGTHS:
            place, less = _LENGTHS[kind]
            short[start + place : start + place + 2] = (size - start - less).to_bytes(2)
    return bytes(short)


_LENGTHS = {IP: (2, 0), IPv6: (4, 40), UDP: (4, 0)}
"""Where a header has the length of what it leads, and how many of its own bytes that leaves out."""
