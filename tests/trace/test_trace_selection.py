"""What a policy records of what passes: filters, sampling, and a ledger that balances."""

from __future__ import annotations

import os
import struct
from collections import Counter
from typing import Any

import pytest
import trace_frames as f
from trace_box import Box, Collected, tracer

from smartxd.capture.maps import PolicyMaps
from smartxd.planes.trace.filter import Filter
from smartxd.planes.trace.state import Sampling
from smartxd.spec.pcap import compiled

pytestmark = pytest.mark.kernel
PACKET_VNET_HDR, SOL_PACKET = 15, 263


def filter_of(text: str) -> Filter:
    return Filter(text, tuple((i.code, i.jt, i.jf, i.k) for i in compiled(text)))


def frame(number: int, *tags: tuple[int, int], port: int = 53) -> bytes:
    """A frame of a flow of its own."""
    source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return f.ethernet(0x0800, f.ip4(17, f.udp(1000, port, bytes(20)), src=source), *tags)


def drained(box: Box) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows, and what the ledger says of all interfaces."""
    store = Collected()
    box.drain(store)
    maps = PolicyMaps(box.policy().pin_dir)
    totals = maps.totals().values["sum"]
    maps.close()
    return store.flows, {name: int(totals[name].sum()) for name in totals.dtype.names}


@pytest.fixture
def one_cpu() -> Any:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_seen_is_filtered_and_sampled_out_and_recorded_and_lost(box: Box, one_cpu: None) -> None:
    asked = {"filter": filter_of("port 53"), "sampling": Sampling("count", 4), "flows_max": 16}
    assert box.converge(tracer("wan", **asked)) == []
    box.send(*(frame(n, port=53 if n % 3 else 80) for n in range(300)))
    rows, ledger = drained(box)
    for what in ("packets", "skbs", "bytes"):
        parts = ("filtered", "sampled_out", "overflow")
        rest = sum(ledger[f"{part}_{what}"] for part in parts)
        assert ledger[f"seen_{what}"] == rest + sum(row[what] for row in rows)
    assert (ledger["seen_packets"], ledger["filtered_packets"]) == (300, 100)
    assert ledger["sampled_out_packets"] == 150
    assert (len(rows), ledger["overflow_packets"]) == (32, 50 - 32)
    assert {(row["dst_port"], row["sampled_one_in"]) for row in rows} == {(53, 4)}
    assert ledger["seen_bytes"] == box.counter("wan", "rx_bytes")


def test_a_tag_matches_in_the_packet_and_beside_it(box: Box) -> None:
    """What leaves `peer` has its tags; on arrival at `wan` the kernel holds the outermost beside it."""
    box.converge(
        tracer("wan", "peer", directions=("ingress", "egress"), filter=filter_of("vlan 100 and port 53"))
    )
    box.send(
        frame(1, (0x8100, 100)),
        *(frame(2, (0x8100, 101)), frame(3), frame(4, (0x8100, 100), port=80)),
        frame(5, (0x88A8, 100), (0x8100, 7)),  # libpcap: port 53 is behind one tag
    )
    rows, ledger = drained(box)
    assert Counter((r["interface"], r["direction"], r["src_ip"]) for r in rows) == {
        ("peer", "egress", "10.0.0.1"): 1,
        ("wan", "ingress", "10.0.0.1"): 1,
    }
    assert ledger["filtered_packets"] == 8


def test_an_inner_filter_sees_the_frame_inside_and_nothing_else_matches(box: Box) -> None:
    inner, other = frame(1), frame(2, port=80)
    tunnelled = f.vxlan(5, inner)
    box.converge(tracer("wan", inner_filter=filter_of("udp port 53")))
    udp = f.udp(1, 4789, tunnelled)
    matching = (
        f.ethernet(0x0800, f.ip4(17, udp, src="10.1.0.1", options=b"\1" * 8), (0x8100, 4)),
        f.ethernet(0x86DD, f.ip6(0, f.ip6_extension(17) + udp)),
        f.ethernet(0x86DD, f.ip6(44, f.ip6_fragment(17, 0, more=True) + udp)),
    )
    others = (
        inner,
        f.ethernet(0x0800, f.ip4(17, f.udp(1, 4789, f.vxlan(5, other)))),
        f.ethernet(0x0800, f.ip4(17, f.udp(1, 4790, tunnelled))),
        f.ethernet(0x0800, f.ip4(17, f.udp(1, 4789, f.vxlan(5, inner, flags=0)))),
        f.ethernet(0x0800, f.ip4(17, udp, fragment=3)),
        f.ethernet(0x0800, f.ip4(17, udp)[:48]),
        f.ethernet(0x86DD, f.ip6(44, f.ip6_fragment(17, 5, more=True) + udp)),
    )
    box.send(*matching, *others)
    rows, ledger = drained(box)
    assert sum(row["packets"] for row in rows) == len(matching)
    assert {row["inner_src_ip"] for row in rows} == {"10.0.0.1"}
    assert ledger["filtered_packets"] == len(others)


def test_what_is_not_linear_is_read_too(box: Box) -> None:
    """Frames of which the kernel holds all but the Ethernet header in pages."""
    for name in ("wan", "peer"):
        box.run(f"ip link set {name} mtu 9000")
    box.converge(tracer("wan", filter=filter_of("udp dst port 53 and ether[5000:2] = 0x0708")))
    with box.packet_socket("peer") as sending:
        sending.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        header = struct.pack("=BBHHHH", 0, 0, 14, 0, 0, 0)
        for number, mark in ((1, b"\7\x08"), (2, b"\7\x09")):
            whole = frame(number).ljust(5000, b"\0") + mark
            sending.send(header + whole + bytes(500))
            sending.send(header + whole[:5001])
    rows, ledger = drained(box)
    assert [(row["src_ip"], row["packets"]) for row in rows] == [("10.0.0.1", 1)]
    assert ledger["filtered_packets"] == 3


def test_chance_chooses_about_one_in_so_many(box: Box) -> None:
    box.converge(tracer("wan", sampling=Sampling("random", 10)))
    box.send(*(frame(n) for n in range(4000)))
    rows, ledger = drained(box)
    assert 250 < len(rows) < 550
    assert ledger["sampled_out_packets"] == 4000 - len(rows)


def test_a_hash_chooses_evenly_and_by_its_seed(box: Box) -> None:
    count, chosen = 20_000, []
    for seed in (0, 1):
        box.converge(tracer("wan", sampling=Sampling("hash", 8, seed)))
        box.send(*(frame(n) for n in range(count)))
        rows, _ = drained(box)
        chosen.append({row["src_ip"] for row in rows})
    for some in chosen:
        # The fourth part of the numbers, and the last octet's parity: five standard deviations.
        assert abs(len(some) - count / 8) < 5 * (count * 7 / 64) ** 0.5
        odd = sum(int(ip.rpartition(".")[2]) % 2 for ip in some)
        assert abs(odd - len(some) / 2) < 5 * (len(some) / 4) ** 0.5
    both = len(chosen[0] & chosen[1])
    assert abs(both - count / 64) < 5 * (count / 64) ** 0.5


def test_a_hash_chooses_the_same_packets_inside_and_outside_of_a_tunnel(box: Box) -> None:
    box.run("ip addr add 192.0.2.1/24 dev wan")
    box.run("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:22 dev wan")
    box.run("ip link add vx5 type vxlan id 5 local 192.0.2.1 remote 192.0.2.2 dstport 4789 dev wan")
    box.run("ip link set vx5 up")
    places = {"directions": ("ingress", "egress"), "sampling": Sampling("hash", 5, 7)}
    box.converge(tracer("vx5", "wan", "peer", **places))
    frames = [frame(n, *((0x8100, 9),) * (n % 2)) for n in range(600)]
    frames += [
        f.ethernet(0x86DD, f.ip6(6, f.tcp(n, 80, 0x10, payload=bytes(n % 30)), src=f"2001:db8::{n + 1:x}"))
        for n in range(600)
    ]
    box.send(*frames, out="vx5")
    rows, ledger = drained(box)
    inside = {row["src_ip"] for row in rows if row["interface"] == "vx5"}
    assert 150 < len(inside) < 350
    assert {row["inner_src_ip"] for row in rows if row["interface"] == "wan"} == inside
    assert {row["inner_src_ip"] for row in rows if row["interface"] == "peer"} == inside
    assert ledger["sampled_out_packets"] + sum(row["packets"] for row in rows) == 3 * len(frames)


def test_a_filter_that_changes_is_built_anew_and_its_neighbour_runs_on(box: Box) -> None:
    other = tracer("wan", name="other")
    box.converge(tracer("wan", filter=filter_of("port 53")), other)
    before, untouched = box.policy(), box.policy("other")
    box.converge(tracer("wan", filter=filter_of("port 80")), other)
    assert box.policy().pin_dir != before.pin_dir
    assert box.policy("other").pin_dir == untouched.pin_dir
    box.send(frame(1), frame(2, port=80))
    rows, _ = drained(box)
    assert [row["dst_port"] for row in rows] == [80]


def test_interfaces_of_a_pattern_are_followed_as_they_come_and_go(box: Box) -> None:
    follower = tracer("wan", patterns=("tap*",))
    assert box.converge(follower) == []
    box.add_veth("tap1", "vm1")
    (action,) = box.plan(follower).actions
    assert action.follows
    assert box.converge(follower) == []
    box.send(frame(1), out="vm1")
    rows, _ = drained(box)
    assert [row["interface"] for row in rows] == ["tap1"]
    box.run("ip link del tap1")
    assert box.converge(follower) == []
    assert not box.plan(follower).actions


def test_a_program_that_is_too_large_says_so_and_the_others_run(box: Box) -> None:
    words = ((0x20, 0, 0, k) for k in range(2047))
    code = [insn for word in words for insn in (word, (0x15, 0, 1, 0xDEAD), (0x06, 0, 0, 1))][:4095]
    huge = Filter("many words", (*code, (0x06, 0, 0, 0)))
    problems = box.converge(tracer("wan", name="huge", filter=huge), tracer("wan"))
    for problem in problems:
        assert (problem.reason, problem.permanent) == ("ProgramRefused", True)
    assert len(problems) <= 1
    box.send(frame(1))
    rows, _ = drained(box)
    assert len(rows) == 1
