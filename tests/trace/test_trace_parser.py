"""Every frame through the real program; each field and count against what was put in."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trace_frames as f
from trace_box import Box, Collected, tracer

pytestmark = pytest.mark.kernel

NULLS = dict.fromkeys(
    (
        *("vlan", "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "vni"),
        *("inner_src_ip", "inner_dst_ip", "inner_protocol", "inner_src_port", "inner_dst_port"),
    )
)
V4 = {"ethertype": 0x0800, "src_ip": "192.0.2.1", "dst_ip": "198.51.100.2"}
V6 = {"ethertype": 0x86DD, "src_ip": "2001:db8::1", "dst_ip": "2001:db8:1::2"}
UDP = {"protocol": 17, "src_port": 1111, "dst_port": 2222}
INNER4 = {"inner_src_ip": "10.0.0.1", "inner_dst_ip": "10.0.0.2"}
TUNNEL = {**V4, "protocol": 17, "src_port": 5555, "dst_port": 4789}
PLAIN_UDP = f.udp(1111, 2222, b"x" * 9)
INNER_TCP = f.ip4(6, f.tcp(33, 80, 0x18, payload=b"hello"), "10.0.0.1", "10.0.0.2")
VNI = 0x123456  # three different bytes


def tunnel(frame: bytes, **more: int) -> bytes:
    return f.ethernet(0x0800, f.ip4(17, f.udp(5555, 4789, f.vxlan(VNI, frame, **more))))


CASES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "udp": (f.ethernet(0x0800, f.ip4(17, PLAIN_UDP)), {**V4, **UDP}),
    "one-vlan": (f.ethernet(0x0800, f.ip4(17, PLAIN_UDP), (0x8100, 0x123)), {**V4, **UDP, "vlan": 0x123}),
    "two-vlans": (
        f.ethernet(0x0800, f.ip4(17, PLAIN_UDP), (0x88A8, 100), (0x8100, 200)),
        {**V4, **UDP, "vlan": 100},
    ),
    "priority-tag": (f.ethernet(0x0800, f.ip4(17, PLAIN_UDP), (0x8100, 0)), {**V4, **UDP, "vlan": 0}),
    "ip4-options": (f.ethernet(0x0800, f.ip4(17, PLAIN_UDP, options=b"\x01" * 8)), {**V4, **UDP}),
    "ip4-options-full": (f.ethernet(0x0800, f.ip4(17, PLAIN_UDP, options=b"\x01" * 40)), {**V4, **UDP}),
    "ip4-first-fragment": (f.ethernet(0x0800, f.ip4(17, PLAIN_UDP, fragment=0x2000)), {**V4, **UDP}),
    "ip4-later-fragment": (
        f.ethernet(0x0800, f.ip4(17, b"\x00\x01\x00\x02" * 4, fragment=0x2005)),
        {**V4, "protocol": 17},
    ),
    "ip4-too-short": (f.ethernet(0x0800, f.ip4(17, b"")[:19]), {"ethertype": 0x0800}),
    "ip4-bad-length-field": (f.ethernet(0x0800, b"\x44" + f.ip4(17, PLAIN_UDP)[1:]), {"ethertype": 0x0800}),
    "ip4-wrong-version": (f.ethernet(0x0800, b"\x65" + f.ip4(17, PLAIN_UDP)[1:]), {"ethertype": 0x0800}),
    "tcp": (
        f.ethernet(0x0800, f.ip4(6, f.tcp(1024, 443, 0x12, options=b"\x01" * 12))),
        {**V4, "protocol": 6, "src_port": 1024, "dst_port": 443, "tcp_flags": 0x12},
    ),
    "tcp-ports-only": (
        f.ethernet(0x0800, f.ip4(6, f.tcp(1024, 443, 0x12)[:8], fragment=0x2000)),
        {**V4, "protocol": 6, "src_port": 1024, "dst_port": 443},
    ),
    "tcp-truncated": (f.ethernet(0x0800, f.ip4(6, b"\x01\x02\x03")), {**V4, "protocol": 6}),
    "sctp": (
        f.ethernet(0x0800, f.ip4(132, f.sctp(9, 10))),
        {**V4, "protocol": 132, "src_port": 9, "dst_port": 10},
    ),
    "icmp": (
        f.ethernet(0x0800, f.ip4(1, f.icmp(3, 4))),
        {**V4, "protocol": 1, "src_port": 3, "dst_port": 4},
    ),
    "gre": (f.ethernet(0x0800, f.ip4(47, bytes(8))), {**V4, "protocol": 47}),
    "ip6": (f.ethernet(0x86DD, f.ip6(17, PLAIN_UDP)), {**V6, **UDP}),
    "ip6-icmp": (
        f.ethernet(0x86DD, f.ip6(58, f.icmp(128, 0))),
        {**V6, "protocol": 58, "src_port": 128, "dst_port": 0},
    ),
    "ip6-extensions": (
        f.ethernet(
            0x86DD,
            f.ip6(0, f.ip6_extension(43) + f.ip6_extension(60, 2) + f.ip6_extension(17, 1) + PLAIN_UDP),
        ),
        {**V6, **UDP},
    ),
    "ip6-auth-header": (
        f.ethernet(0x86DD, f.ip6(51, b"\x11\x04" + bytes(22) + PLAIN_UDP)),
        {**V6, **UDP},
    ),
    "ip6-first-fragment": (
        f.ethernet(0x86DD, f.ip6(44, f.ip6_fragment(17, 0, True) + PLAIN_UDP)),
        {**V6, **UDP},
    ),
    "ip6-later-fragment": (
        f.ethernet(0x86DD, f.ip6(44, f.ip6_fragment(17, 5, False) + b"\x00\x01\x00\x02" * 4)),
        {**V6, "protocol": 17},
    ),
    "ip6-extension-cut-off": (f.ethernet(0x86DD, f.ip6(60, b"\x11")), {**V6, "protocol": 60}),
    "ip6-truncated": (f.ethernet(0x86DD, f.ip6(17, b"")[:39]), {"ethertype": 0x86DD}),
    "arp": (f.ethernet(0x0806, bytes(28)), {"ethertype": 0x0806}),
    "802.3": (f.ethernet(38, bytes(38)), {"ethertype": 4}),
    "vxlan-ip4": (
        tunnel(f.ethernet(0x0800, INNER_TCP)),
        {
            **TUNNEL,
            **INNER4,
            **{"vni": VNI, "inner_protocol": 6, "inner_src_port": 33, "inner_dst_port": 80},
            "tcp_flags": 0x18,
        },
    ),
    "vxlan-inner-vlan": (
        tunnel(f.ethernet(0x0800, INNER_TCP, (0x8100, 7))),
        {
            **TUNNEL,
            **INNER4,
            **{"vni": VNI, "inner_protocol": 6, "inner_src_port": 33, "inner_dst_port": 80},
            "tcp_flags": 0x18,
        },
    ),
    "vxlan-ip6": (
        tunnel(f.ethernet(0x86DD, f.ip6(17, PLAIN_UDP))),
        {
            **TUNNEL,
            **{"vni": VNI, "inner_src_ip": "2001:db8::1", "inner_dst_ip": "2001:db8:1::2"},
            **{"inner_protocol": 17, "inner_src_port": 1111, "inner_dst_port": 2222},
        },
    ),
    "vxlan-over-ip6": (
        f.ethernet(0x86DD, f.ip6(17, f.udp(5555, 4789, f.vxlan(VNI, f.ethernet(0x0800, INNER_TCP))))),
        {
            **V6,
            **INNER4,
            **{"protocol": 17, "src_port": 5555, "dst_port": 4789, "vni": VNI, "tcp_flags": 0x18},
            **{"inner_protocol": 6, "inner_src_port": 33, "inner_dst_port": 80},
        },
    ),
    "vxlan-arp": (tunnel(f.ethernet(0x0806, bytes(28))), {**TUNNEL, "vni": VNI}),
    "vxlan-cut-in-inner-ip": (tunnel(f.ethernet(0x0800, INNER_TCP)[:30]), {**TUNNEL, "vni": VNI}),
    "vxlan-cut-in-inner-ethernet": (tunnel(f.ETHERNET), {**TUNNEL, "vni": VNI}),
    "vxlan-cut-in-its-header": (
        f.ethernet(0x0800, f.ip4(17, f.udp(5555, 4789, f.vxlan(VNI, b"")[:7]))),
        TUNNEL,
    ),
    "vxlan-without-vni": (tunnel(f.ethernet(0x0800, INNER_TCP), flags=0), TUNNEL),
}


def _rows(store: Collected, interface: str, direction: str) -> list[dict[str, Any]]:
    return [r for r in store.flows if (r["interface"], r["direction"]) == (interface, direction)]


def test_each_frame_is_counted_with_exactly_the_fields_it_has(box: Box) -> None:
    """One frame at a time, on the way out (tags in the frame) and in (the first tag beside it)."""
    assert not box.converge(
        tracer("wan"), tracer("peer", name="out", directions=("egress",)), commit="0123abc"
    )
    wrong: dict[str, Any] = {}
    for name, (frame, fields) in CASES.items():
        repeats = 3
        box.send(*[frame] * repeats)
        for policy, interface, direction in (("wan", "wan", "ingress"), ("out", "peer", "egress")):
            store = Collected()
            box.drain(store, policy)
            (row,) = _rows(store, interface, direction)
            assert row.pop("first_ns") <= row.pop("last_ns")
            expected = {
                **NULLS,
                **{"policy": policy, "commit_id": "0123abc", "interface": interface},
                **{"direction": direction, "tcp_flags": 0, "sampled_one_in": 1},
                **{"packets": repeats, "skbs": repeats},
                "bytes": repeats * len(frame),
                **fields,
            }
            if row != expected:
                both = row.keys() | expected.keys()
                wrong[f"{name} {direction}"] = {
                    k: (row.get(k), expected.get(k)) for k in both if row.get(k) != expected.get(k)
                }
    assert wrong == {}


def test_flags_of_a_connection_are_gathered_and_its_times_are_unix_times(box: Box) -> None:
    box.converge(tracer("wan"))
    before_ns = time.time_ns()
    for flags in (0x02, 0x10, 0x18, 0x11):
        box.send(f.ethernet(0x0800, f.ip4(6, f.tcp(1024, 443, flags))))
    store = Collected()
    box.drain(store)
    (row,) = store.flows
    assert (row["packets"], row["tcp_flags"]) == (4, 0x1B)
    coarse_clock_ns = 20_000_000
    assert before_ns - coarse_clock_ns <= row["first_ns"] <= row["last_ns"] <= time.time_ns()


def test_counts_equal_those_of_the_interface(box: Box) -> None:
    box.converge(tracer("wan", directions=("ingress", "egress")))
    sizes = [60 + (i * 37) % 1400 for i in range(997)]
    counts = f.ethernet(0x0800, f.ip4(17, f.udp(1, 2)))
    before = {n: box.counter("wan", n) for n in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")}
    box.send(*(counts + bytes(s - len(counts)) for s in sizes))
    box.send(*(counts + bytes(s) for s in range(101)), out="wan")
    store = Collected()
    box.drain(store)
    after = {n: box.counter("wan", n) for n in before}
    for direction, prefix in (("ingress", "rx"), ("egress", "tx")):
        rows = _rows(store, "wan", direction)
        for what in ("packets", "bytes"):
            delta = after[f"{prefix}_{what}"] - before[f"{prefix}_{what}"]
            assert sum(r[what] for r in rows) == delta > 0
