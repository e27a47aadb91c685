"""What the kernel drops, of which it says why and where: each packet once, under its flow and interface."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trace_frames as f
from oracle_frames import pcaps
from trace_box import TC_ACT_SHOT, Box, Collected, load_foreign_program, stored_flows, tracer, unloaded

from smartxd import bpfsys
from smartxd.capture.maps import PolicyMaps
from smartxd.desired.trace import _filter as filter_of
from smartxd.planes.trace.state import Tracer
from smartxd.records import DROP, FLOW

pytestmark = pytest.mark.kernel
FAR, NEAR = "198.51.100.1", "192.0.2.1"
UDP_SEGMENT = 103
IP_UDP = 14 + 20 + 8


def watching(*interfaces: str, **more: Any) -> Tracer:
    return tracer(*interfaces, **{"flows_max": None, "drops_max": 1024, **more})


@pytest.fixture(scope="module")
def routing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box that forwards, has the address NEAR on `wan`, and a route back to FAR; nothing is sent before."""
    box = Box(tmp_path_factory.mktemp("routing"))
    try:
        box.run(f"ip addr add {NEAR}/24 dev wan")
        box.run("ip route add 198.51.100.0/24 via 192.0.2.2")
        box.run("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:22 dev wan")
        with box.inside():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            Path("/proc/sys/net/ipv4/conf/wan/rp_filter").write_text("1")
            Path("/proc/sys/net/ipv4/neigh/wan/unres_qlen").write_text("3")
        box.converge(watching("wan", "peer"), watching("wan", name="only", filter=filter_of("udp port 7779")))
        yield box
    finally:
        box.delete()


def drained(box: Box, name: str = "wan", interface: str = "wan") -> list[dict[str, Any]]:
    store = Collected()
    box.drain(store, name)
    return [row for row in store.drops if row["interface"] == interface]


@contextmanager
def shooting(box: Box) -> Iterator[None]:
    """A program of somebody else's drops all that comes in on `wan`."""
    program = load_foreign_program(TC_ACT_SHOT)
    with box.inside():
        link = bpfsys.link_tcx(program, socket.if_nametoindex("wan"), "ingress")
    try:
        yield
    finally:
        os.close(link)
        os.close(program)


def datagram(box: Box, port: int, size: int = 100, **ip: Any) -> bytes:
    packet = f.ip4(17, f.udp(1000, port, bytes(size)), **{"src": FAR, "dst": NEAR, **ip})
    return box.frame("wan", 0x0800, packet)


def test_each_packet_is_told_with_reason_place_and_flow(routing: Box) -> None:
    box = routing
    extended = f.ip6(0, f.ip6_extension(17) + f.udp(5, 53, b"y"))
    tunnelled = f.udp(6, 4789, f.vxlan(77, f.ethernet(0x0800, f.ip4(6, f.tcp(7, 80, 2)))))
    sent = {
        ("NO_SOCKET", "__udp4_lib_rcv", 2000, None): datagram(box, 2000),
        ("NO_SOCKET", "__udp4_lib_rcv", 4789, 80): box.frame(
            "wan", 0x0800, f.ip4(17, tunnelled, src=FAR, dst=NEAR)
        ),
        ("IP_RPFILTER", "ip_rcv_finish_core", 2001, None): datagram(box, 2001, src="10.9.9.9"),
        ("IP_INHDR", "ip_forward", 2002, None): datagram(box, 2002, dst="198.51.100.9", ttl=1),
        ("IPV6DISABLED", "ip6_rcv_core", 53, None): box.frame("wan", 0x86DD, extended),
        ("IP_CSUM", "ip_rcv_core", 2003, None): datagram(box, 2003).replace(b"\x40\x11", b"\x3f\x11", 1),
        ("UNHANDLED_PROTO", "__netif_receive_skb_core", None, None): box.frame("wan", 0x9999, bytes(50)),
        ("IP_NOPROTO", "ip_local_deliver_finish", None, None): box.frame(
            "wan", 0x0800, f.ip4(99, bytes(60), src=FAR, dst=NEAR)
        ),
    }
    for count, frame in enumerate(sent.values(), 3):
        box.send(*[frame] * count)
    told = {
        (
            *(row["reason"], re.split(r"[.+]", row["location"])[0]),
            *(row["dst_port"], row["inner_dst_port"]),
        ): (row["packets"], row["skbs"], row["bytes"])
        for row in drained(box)
    }
    assert told == {
        place: (count, count, count * len(frame)) for count, (place, frame) in enumerate(sent.items(), 3)
    }


def test_a_reader_that_is_too_slow_loses_what_it_was_sent_and_did_not_get(routing: Box) -> None:
    box = routing
    with box.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.bind((NEAR, 2001))
        box.send(*[datagram(box, 2001, 600)] * 100)
        slow.setblocking(False)
        got = 0
        with suppress(BlockingIOError):
            while slow.recv(1 << 16):
                got += 1
    (row,) = drained(box)
    assert 0 < got < 100
    assert (row["reason"], row["packets"]) == ("SOCKET_RCVBUFF", 100 - got)
    assert (row["src_ip"], row["dst_ip"], row["dst_port"]) == (FAR, NEAR, 2001)
    assert row["bytes"] == (100 - got) * (IP_UDP + 600)


def test_a_packet_without_an_ethernet_header_yet_has_its_flow_and_the_bytes_it_would_have_had(
    routing: Box,
) -> None:
    box = routing
    with box.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        for _ in range(20):
            sending.sendto(bytes(100), ("192.0.2.78", 7779))
        port = sending.getsockname()[1]
    # Those that still wait go now, and not in the midst of whatever comes next.
    box.run("ip neigh del 192.0.2.78 dev wan")
    rows = [{row["reason"]: row for row in drained(box, policy)} for policy in ("wan", "only")]
    told, filtered = (found["NEIGH_QUEUEFULL"] for found in rows)
    assert (told["src_ip"], told["src_port"]) == (NEAR, port)
    assert (told["dst_ip"], told["ethertype"]) == ("192.0.2.78", 0x0800)
    assert 10 < told["packets"] < 20
    assert told["bytes"] == told["packets"] * (IP_UDP + 100)
    assert filtered["packets"] == told["packets"]


def test_segments_of_an_aggregate_are_counted_as_packets_on_the_wire(routing: Box) -> None:
    box = routing
    drained(box)
    with box.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        sending.sendto(bytes(950), ("192.0.2.2", 7777))
    (row,) = drained(box, interface="peer")
    assert (row["reason"], row["skbs"], row["packets"]) == ("OTHERHOST", 1, 10)
    assert row["bytes"] == 950 + 10 * IP_UDP


def test_nothing_is_told_of_the_same_number_in_another_namespace(routing: Box, tmp_path: Path) -> None:
    box, other = routing, Box(tmp_path / "other")
    try:
        with box.inside():
            number = socket.if_nametoindex("wan")
        with other.inside():
            assert socket.if_nametoindex("wan") == number
        other.send(*[f.ethernet(0x9999, bytes(50))] * 5)
        box.send(f.ethernet(0x9998, bytes(50)))
        assert [(r["ethertype"], r["packets"]) for r in drained(box)] == [(0x9998, 1)]
    finally:
        other.delete()


def test_a_dropped_packet_has_the_flow_that_it_had_when_it_passed(box: Box) -> None:
    """All frames of the oracle, by which the flow program is judged: that sees them just before."""
    frames = [frame for capture in pcaps().values() for frame in capture]
    with shooting(box):
        box.converge(tracer("wan", drops_max=4096))
        box.send(*frames)
    store = Collected()
    box.drain(store)
    columns = set(FLOW.names) & set(DROP.names) - {"first_ns", "last_ns"}

    def rows(found: list[dict[str, Any]]) -> list[tuple[tuple[str, str], ...]]:
        return sorted(tuple(sorted((c, str(row[c])) for c in columns)) for row in found)

    # The kernel itself drops a frame that ends within its VLAN tag, before anybody sees it.
    shot = [row for row in store.drops if not row["location"].startswith("skb_vlan_untag")]
    assert {row["reason"] for row in shot} == {"TC_INGRESS"}
    assert rows(shot) == rows(store.flows)
    assert sum(row["packets"] for row in store.drops) == len(frames)


def test_filters_see_a_dropped_packet_as_it_was_on_the_wire(box: Box) -> None:
    def tunnel(port: int, *tags: tuple[int, int]) -> bytes:
        inner = f.ethernet(0x0800, f.ip4(6, f.tcp(7, port, 2)))
        return f.ethernet(0x0800, f.ip4(17, f.udp(9, 4789, f.vxlan(5, inner))), *tags)

    wanted = tunnel(80, (0x8100, 100))
    box.converge(
        watching("wan", filter=filter_of("vlan 100 and udp"), inner_filter=filter_of("tcp dst port 80"))
    )
    with shooting(box):
        box.send(*[wanted] * 2, *[tunnel(80, (0x8100, 101))] * 3, *[tunnel(80)] * 4)
        box.send(*[tunnel(81, (0x8100, 100))] * 5)
    (row,) = drained(box)
    assert (row["reason"], row["vlan"], row["vni"]) == ("TC_INGRESS", 100, 5)
    assert (row["inner_dst_port"], row["tcp_flags"]) == (80, 2)
    assert (row["packets"], row["bytes"]) == (2, 2 * len(wanted))
    maps = PolicyMaps(box.policy().pin_dir)
    (total,) = maps.totals().values["sum"]
    maps.close()
    assert (total["seen_packets"], total["filtered_packets"]) == (14, 12)


def test_what_did_not_fit_is_a_loss_and_interfaces_come_and_go(box: Box) -> None:
    box.converge(watching("wan", "late", drops_max=16))
    box.send(*(f.ethernet(0x9000 + n, bytes(50)) for n in range(40)))
    store = Collected()
    box.drain(store)
    (loss,) = store.losses
    assert len(store.drops) == 16
    assert (loss["interface"], loss["direction"], loss["cause"]) == ("wan", "dropped", "overflow")
    assert (loss["packets"], loss["bytes"]) == (24, 24 * 64)
    box.run("ip link del wan")
    box.add_veth("late", "far")
    box.converge(watching("wan", "late", drops_max=16))
    box.send(f.ethernet(0x9001, bytes(50)), out="far")
    assert [r["ethertype"] for r in drained(box, interface="late")] == [0x9001]
    assert not box.plan(watching("wan", "late", drops_max=16)).actions


def test_a_kill_in_the_drain_neither_loses_nor_doubles_a_drop(box: Box, tmp_path: Path) -> None:
    box.converge(watching("wan"))
    script = Path(__file__).with_name("crash_drain.py")

    def drain(where: str) -> int:
        argv = [sys.executable, str(script), str(box.manifest_path), str(tmp_path / "captures"), where, "1"]
        return subprocess.run(argv, timeout=60, check=False).returncode

    for point in ("read", "committed", "flows emptied"):
        box.send(*(f.ethernet(0x9000 + n, bytes(50)) for n in range(50)))
        assert drain(point) == 9
    assert drain("") == 0
    sums = stored_flows(
        tmp_path / "captures", "select reason, sum(packets), sum(bytes) from drops group by 1"
    )
    assert sums == [("UNHANDLED_PROTO", 150, 150 * 64)]


def test_a_program_goes_with_its_policy_and_comes_back_when_its_link_was_removed(box: Box) -> None:
    box.converge(watching("wan"))
    pin_dir = box.policy().pin_dir
    with bpfsys.opened(pin_dir / "dropped") as fd:
        program = bpfsys.program_id(fd)
    (pin_dir / "dropped-link").unlink()
    assert box.converge(watching("wan")) == []
    assert box.policy().pin_dir != pin_dir
    box.send(f.ethernet(0x9000, bytes(50)))
    assert Counter(r["reason"] for r in drained(box)) == {"UNHANDLED_PROTO": 1}
    box.converge()
    with box.inside():
        box.plane.remove_all()
    assert unloaded(program)


def test_a_kernel_that_cannot_tell_drops_is_a_condition_and_flows_go_on(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smartxd.planes.trace.fields.refusals", lambda: {"drops": "no BTF here"})
    both = tracer("wan", drops_max=64)
    (problem,) = box.converge(both)
    assert (problem.reason, problem.message) == ("DropsUnavailable", "drops are not recorded: no BTF here")
    assert not box.plan(both).actions
    box.send(f.ethernet(0x9000, bytes(50)))
    store = Collected()
    box.drain(store)
    assert (len(store.flows), store.drops) == (1, [])
