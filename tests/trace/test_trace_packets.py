"""Packets one by one: what of each is kept, where it was, and that none is lost unsaid or stored twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
import trace_frames as f
from trace_box import Box, Collected, stored_flows, tracer

from smartxd import bpfsys
from smartxd.capture.maps import PolicyMaps
from smartxd.capture.tracing import Tracing
from smartxd.planes.trace import selection
from smartxd.planes.trace.state import Sampling
from smartxd.store import packets
from smartxd.store.flowfilter import FlowFilter

pytestmark = pytest.mark.kernel

INNER = f.ethernet(0x86DD, f.ip6(58, f.icmp(128, 0, bytes(40))))
FRAMES = {
    "arp": (f.ethernet(0x0806, bytes(28)), 14 + 8),
    "udp": (f.ethernet(0x0800, f.ip4(17, f.udp(1, 53, bytes(500)))), 42),
    "tagged udp": (f.ethernet(0x0800, f.ip4(17, f.udp(2, 53, b"abc")), (0x8100, 100)), 46),
    "two tags": (f.ethernet(0x0800, f.ip4(17, f.udp(3, 53, b"abc")), (0x88A8, 7), (0x8100, 8)), 50),
    "tcp with options": (
        f.ethernet(0x0800, f.ip4(6, f.tcp(4, 80, 2, bytes(12), b"x"), options=bytes(8))),
        74,
    ),
    "ipv6 with an extension": (f.ethernet(0x86DD, f.ip6(0, f.ip6_extension(17) + f.udp(5, 53, b"y"))), 70),
    "vxlan": (f.ethernet(0x0800, f.ip4(17, f.udp(6, 4789, f.vxlan(77, INNER)))), 42 + 8 + 14 + 40 + 4),
    "many extensions": (
        f.ethernet(0x86DD, f.ip6(60, f.ip6_extension(60, 30) + f.ip6_extension(17, 10) + f.udp(7, 53))),
        256,
    ),
}
"""Frames, and how many bytes of each are headers."""


def udp(number: int, size: int = 0) -> bytes:
    return f.ethernet(0x0800, f.ip4(17, f.udp(1 + number % 60000, 1 + number // 60000, bytes(size))))


def ledger(box: Box) -> dict[str, int]:
    """All that the policy has counted, drained or not."""
    maps = PolicyMaps(box.policy().pin_dir)
    sums = [maps.totals().values["sum"], *(maps.ledger(bit).values for bit in (0, 1))]
    maps.close()
    return {name: sum(int(part[name].sum()) for part in sums) for name in sums[0].dtype.names or ()}


@pytest.fixture
def small_ring(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(selection, "RING_BYTES", 1 << 16)
    return 1 << 16


@pytest.mark.parametrize("snap", [0, 15, 256, "headers"])
def test_as_many_bytes_as_were_asked_for_are_kept_of_the_frame_as_it_was_sent(
    box: Box, snap: int | str
) -> None:
    box.converge(tracer("wan", snap_length=snap, flows_max=None))
    box.send(*(frame for frame, _ in FRAMES.values()))
    store = Collected()
    box.drain(store)
    assert store.flows == []
    assert len(store.packets) == len(FRAMES)
    for row, (what, (frame, headers)) in zip(store.packets, FRAMES.items(), strict=True):
        assert row["data"] == frame[: headers if snap == "headers" else snap], what
        assert (row["length"], row["bytes"], row["packets"], row["gso_size"]) == (
            len(frame),
            len(frame),
            1,
            None,
        )
    tagged, vxlan = store.packets[2], store.packets[6]
    assert (tagged["vlan"], tagged["src_port"], tagged["dst_ip"]) == (100, 2, "198.51.100.2")
    assert (vxlan["vni"], vxlan["inner_protocol"], vxlan["inner_src_port"]) == (77, 58, 128)
    times = [row["time_ns"] for row in store.packets]
    assert times == sorted(times)
    assert abs(times[0] - box.manifest_path.stat().st_mtime_ns) < 60 * 10**9


def test_what_a_full_ring_refuses_is_a_loss_and_both_modes_balance(box: Box, small_ring: int) -> None:
    box.converge(tracer("wan", snap_length=64, flows_max=64))
    frames = [udp(n, n % 200) for n in range(1000)]
    box.send(*frames)
    store = Collected()
    box.drain(store)
    lost = {row["cause"]: row for row in store.losses}
    assert 0 < len(store.packets) <= small_ring / (8 + 136)
    assert [row["data"] for row in store.packets] == [frame[:64] for frame in frames[: len(store.packets)]]
    for what in ("packets", "bytes"):
        seen = ledger(box)[f"seen_{what}"]
        assert seen == sum(row[what] for row in store.packets) + lost["ring-full"][what]
        assert seen == sum(row[what] for row in store.flows) + lost["overflow"][what]
    box.send(*frames[:100])
    again = Collected()
    box.drain(again)
    assert len(again.packets) == 100
    assert "ring-full" not in {row["cause"] for row in again.losses}


@pytest.mark.parametrize("point", ["packets read", "packets committed"])
def test_a_kill_in_the_middle_of_the_drain_neither_loses_nor_doubles_a_packet(
    box: Box, tmp_path: Path, point: str
) -> None:
    box.converge(tracer("wan", snap_length="headers"))
    script = Path(__file__).with_name("crash_drain.py")

    def drain(where: str) -> int:
        argv = [sys.executable, str(script), str(box.manifest_path), str(tmp_path / "captures"), where, "1"]
        return subprocess.run(argv, timeout=60, check=False).returncode

    for first in (0, 3000, 6000):
        box.send(*(udp(n) for n in range(first, first + 3000)))
        assert drain(point) == 9
    assert drain("") == 0
    tables = packets.scan(tmp_path / "captures", FlowFilter(), pytest.fail)
    assert pa.concat_tables(tables)["src_port"].to_pylist() == list(range(1, 9001))
    assert stored_flows(tmp_path / "captures", "select sum(packets) from flows") == [(9000,)]
    assert ledger(box)["ring_full_packets"] == 0


def test_the_reader_is_woken_before_its_ring_is_full(box: Box, small_ring: int) -> None:
    box.converge(tracer("wan", snap_length=0))

    class Ending(Collected):
        """A store that ends the attendance when packets come."""

        def append_packets(self, *args: object) -> None:
            super().append_packets(*args)  # type: ignore[arg-type]
            os.eventfd_write(stop, 1)

    stop, store = os.eventfd(0), Ending()
    tracing = Tracing(store, pytest.fail, box.secrets_dir)
    tracing.drain(box.manifest)
    sender = threading.Timer(0.1, box.send, [udp(n) for n in range(small_ring // 144 // 2)])
    sender.start()
    try:
        tracing.attend(30, stop)
        woken = len(store.packets)
        sender.join()
        tracing.drain(box.manifest)
    finally:
        tracing.close()
        os.close(stop)
    assert woken >= small_ring / 4 / bpfsys.possible_cpus() // 144
    assert [row["src_port"] for row in store.packets] == list(range(1, small_ring // 144 // 2 + 1))


def test_a_packet_has_one_digest_inside_and_outside_of_its_tunnel(box: Box) -> None:
    box.run("ip addr add 192.0.2.1/24 dev wan")
    box.run("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:22 dev wan")
    box.run("ip link add vx5 type vxlan id 5 local 192.0.2.1 remote 192.0.2.2 dstport 4789 dev wan")
    box.run("ip link set vx5 up")
    box.converge(tracer("vx5", "wan", "peer", directions=("ingress", "egress"), snap_length="headers"))
    box.send(*(udp(n) for n in range(500)), out="vx5")
    store = Collected()
    box.drain(store)
    seen = {name: [r for r in store.packets if r["interface"] == name] for name in ("vx5", "wan", "peer")}
    digests = {name: [row["digest"] for row in rows] for name, rows in seen.items()}
    assert len(set(digests["vx5"])) == 500
    assert digests["vx5"] == digests["wan"] == digests["peer"]
    assert {name: {row["vni"] for row in rows} for name, rows in seen.items()} == {
        **{"vx5": {None}, "wan": {5}, "peer": {5}}
    }
    assert [row["inner_src_port"] for row in seen["peer"]] == [row["src_port"] for row in seen["vx5"]]


@pytest.mark.parametrize("mode", ["count", "random", "hash"])
def test_sampling_chooses_the_same_packets_in_both_modes(
    box: Box, mode: Literal["count", "random", "hash"]
) -> None:
    assert box.converge(tracer("wan", snap_length="headers", sampling=Sampling(mode, 5, 7))) == []
    box.send(*(udp(n) for n in range(1000)))
    store = Collected()
    box.drain(store)
    assert {row["sampled_one_in"] for row in store.packets} == {5}
    assert {row["src_port"] for row in store.packets} == {row["src_port"] for row in store.flows}
    assert len(store.packets) + ledger(box)["sampled_out_packets"] == 1000


def test_a_policy_that_goes_is_drained_of_its_last_packets(box: Box) -> None:
    box.converge(tracer("wan", snap_length=0))
    pin_dir = box.policy().pin_dir
    box.send(*(udp(n) for n in range(50)))
    box.converge()
    store = Collected()
    tracing = Tracing(store, pytest.fail, box.secrets_dir)
    tracing.drain(box.manifest)
    tracing.close()
    assert len(store.packets) == 50
    assert not pin_dir.exists()
