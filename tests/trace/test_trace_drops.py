"""What the kernel drops, of which it says why and where: each packet once, under its flow and interface."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trace_frames as f
from trace_box import TC_ACT_SHOT, Box, Collected, load_foreign_program, stored_flows, tracer

from smartxd import bpfsys
from smartxd.capture.maps import PolicyMaps
from smartxd.desired.trace import _filter as filter_of
from smartxd.planes.trace.state import Tracer

pytestmark = pytest.mark.kernel
FAR, NEAR = "198.51.100.1", "192.0.2.1"
UDP_SEGMENT = 103
IP_UDP = 14 + 20 + 8


def watching(*interfaces: str, **more: Any) -> Tracer:
    return tracer(*interfaces, **{"flows_max": None, "drops_max": 1024, **more})


@pytest.fixture
def routing(box: Box) -> Box:
    """A box that forwards, has the address NEAR on `wan`, and a route back to FAR."""
    box.run(f"ip addr add {NEAR}/24 dev wan")
    box.run("ip route add 198.51.100.0/24 via 192.0.2.2")
    with box.inside():
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/proc/sys/net/ipv4/conf/wan/rp_filter").write_text("1")
    return box


@pytest.fixture
def shot(box: Box) -> Iterator[None]:
    """All that comes in on `wan` is dropped by a program of somebody else's."""
    program = load_foreign_program(TC_ACT_SHOT)
    with box.inside():
        link = bpfsys.link_tcx(program, socket.if_nametoindex("wan"), "ingress")
    yield
    os.close(link)
    os.close(program)


def drained(box: Box) -> list[dict[str, Any]]:
    store = Collected()
    box.drain(store)
    return store.drops


def datagram(box: Box, port: int, size: int = 100, **ip: Any) -> bytes:
    packet = f.ip4(17, f.udp(1000, port, bytes(size)), **{"src": FAR, "dst": NEAR, **ip})
    return box.frame("wan", 0x0800, packet)


def test_each_packet_is_told_with_reason_place_and_flow(routing: Box) -> None:
    box = routing
    box.converge(watching("wan"))
    extended = f.ip6(0, f.ip6_extension(17) + f.udp(5, 53, b"y"))
    inner = f.ethernet(0x0800, f.ip4(6, f.tcp(7, 80, 2)))
    sent = {
        ("NO_SOCKET", "__udp4_lib_rcv"): (3, datagram(box, 2000)),
        ("IP_RPFILTER", "ip_rcv_finish_core"): (5, datagram(box, 2001, src="10.9.9.9")),
        ("IP_INHDR", "ip_forward"): (7, datagram(box, 2002, dst="198.51.100.9", ttl=1)),
        ("IPV6DISABLED", "ip6_rcv_core"): (11, box.frame("wan", 0x86DD, extended)),
        ("IP_CSUM", "ip_rcv_core"): (13, datagram(box, 2003).replace(b"\x40\x11", b"\x3f\x11", 1)),
        ("UNHANDLED_PROTO", "__netif_receive_skb_core"): (17, box.frame("wan", 0x9999, bytes(50))),
        ("IP_NOPROTO", "ip_local_deliver_finish"): (
            19,
            box.frame("wan", 0x0800, f.ip4(99, bytes(60), src=FAR, dst=NEAR)),
        ),
    }
    for count, frame in sent.values():
        box.send(*[frame] * count)
    vxlan = f.ip4(17, f.udp(6, 4789, f.vxlan(77, inner)), src=FAR, dst=NEAR)
    box.send(box.frame("wan", 0x0800, vxlan))
    rows = {(r["reason"], r["location"].partition("+")[0].partition(".")[0]): r for r in drained(box)}
    (tunnelled,) = [r for r in rows.values() if r["vni"] == 77] or [None]
    assert tunnelled is None or tunnelled["inner_protocol"] == 6
    for place, (count, frame) in sent.items():
        row = rows.pop(place)
        assert (row["interface"], row["packets"], row["skbs"]) == ("wan", count, count), place
        assert row["bytes"] == count * len(frame), place
    assert not rows


def test_a_reader_that_is_too_slow_loses_what_it_was_sent_and_did_not_get(routing: Box) -> None:
    box = routing
    box.converge(watching("wan"))
    with box.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.bind((NEAR, 2001))
        box.send(*[datagram(box, 2001, 600)] * 100)
        slow.setblocking(False)
        got = 0
        try:
            while slow.recv(1 << 16):
                got += 1
        except BlockingIOError:
            pass
    (row,) = drained(box)
    assert (row["reason"], row["packets"]) == ("SOCKET_RCVBUFF", 100 - got)
    assert (row["src_ip"], row["dst_ip"], row["dst_port"]) == (FAR, NEAR, 2001)
    assert 0 < got < 100
    assert row["bytes"] == (100 - got) * (IP_UDP + 600)


def test_a_packet_without_an_ethernet_header_yet_has_its_flow_and_the_bytes_it_would_have_had(
    routing: Box,
) -> None:
    box = routing
    box.converge(watching("wan", filter=filter_of("ip and udp dst port 7779")))
    with box.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        Path("/proc/sys/net/ipv4/neigh/wan/unres_qlen").write_text("3")
        for _ in range(20):
            sending.sendto(bytes(100), ("192.0.2.78", 7779))
        port = sending.getsockname()[1]
    (row,) = drained(box)
    assert (row["interface"], row["reason"], row["packets"]) == ("wan", "NEIGH_QUEUEFULL", 20 - 7)
    assert (row["src_ip"], row["src_port"], row["dst_ip"]) == (NEAR, port, "192.0.2.78")
    assert row["bytes"] == 13 * (IP_UDP + 100)


def test_segments_of_an_aggregate_are_counted_as_packets_on_the_wire(routing: Box) -> None:
    box = routing
    box.converge(watching("peer"))
    box.run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:22 dev wan")
    with box.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        sending.sendto(bytes(950), ("192.0.2.2", 7777))
    (row,) = drained(box)
    assert (row["reason"], row["skbs"], row["packets"]) == ("OTHERHOST", 1, 10)
    assert row["bytes"] == 950 + 10 * IP_UDP


def test_filters_see_a_dropped_packet_as_it_was_on_the_wire(box: Box, shot: None) -> None:
    inner = f.ethernet(0x0800, f.ip4(6, f.tcp(7, 80, 2)))
    tagged = f.ethernet(0x0800, f.ip4(17, f.udp(1, 53, bytes(20))), (0x8100, 100))
    other = f.ethernet(0x0800, f.ip4(17, f.udp(1, 53, bytes(20))), (0x8100, 101))
    tunnel = f.ethernet(0x0800, f.ip4(17, f.udp(9, 4789, f.vxlan(5, inner))))
    box.converge(
        watching("wan", name="tag", filter=filter_of("vlan 100 and udp dst port 53")),
        watching("wan", name="inner", inner_filter=filter_of("tcp dst port 80")),
    )
    box.send(*[tagged] * 2, *[other] * 3, *[tunnel] * 4)
    stores = {name: Collected() for name in ("tag", "inner")}
    for name, store in stores.items():
        box.drain(store, name)
    (tag,), (within,) = stores["tag"].drops, stores["inner"].drops
    assert {tag["reason"], within["reason"]} == {"TC_INGRESS"}
    assert (tag["vlan"], tag["packets"], tag["bytes"]) == (100, 2, 2 * len(tagged))
    assert (within["vni"], within["inner_dst_port"], within["packets"]) == (5, 80, 4)
    assert within["tcp_flags"] == 2
    maps = PolicyMaps(box.policy("tag").pin_dir)
    (total,) = maps.totals().values["sum"]
    maps.close()
    assert (total["seen_packets"], total["filtered_packets"]) == (9, 7)


def test_nothing_is_told_of_the_same_number_in_another_namespace(box: Box, tmp_path: Path) -> None:
    other = Box(tmp_path / "other")
    try:
        box.converge(watching("wan"))
        with box.inside(), other.inside():
            pass
        other.send(*[f.ethernet(0x9999, bytes(50))] * 5)
        box.send(f.ethernet(0x9998, bytes(50)))
        assert [(r["ethertype"], r["packets"]) for r in drained(box)] == [(0x9998, 1)]
    finally:
        other.delete()


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
    assert [(r["interface"], r["ethertype"]) for r in drained(box)] == [("late", 0x9001)]
    assert not box.plan(watching("wan", "late", drops_max=16)).actions


@pytest.mark.parametrize("point", ["flipped", "read", "committed", "flows emptied"])
def test_a_kill_in_the_drain_neither_loses_nor_doubles_a_drop(box: Box, tmp_path: Path, point: str) -> None:
    box.converge(watching("wan"))
    script = Path(__file__).with_name("crash_drain.py")

    def drain(where: str) -> int:
        argv = [sys.executable, str(script), str(box.manifest_path), str(tmp_path / "captures"), where, "1"]
        return subprocess.run(argv, timeout=60, check=False).returncode

    for _ in range(2):
        box.send(*(f.ethernet(0x9000 + n, bytes(50)) for n in range(50)))
        assert drain(point) == 9
    assert drain("") == 0
    assert stored_flows(tmp_path / "captures", "select sum(packets), sum(bytes) from drops") == [
        (100, 100 * 64)
    ]
    assert stored_flows(tmp_path / "captures", "select distinct reason from drops") == [("UNHANDLED_PROTO",)]


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
    assert not bpfsys.is_loaded(program)


def test_a_kernel_that_cannot_tell_drops_is_a_condition_and_flows_go_on(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smartxd.planes.trace.fields.refusal", lambda: "no BTF here")
    both = tracer("wan", drops_max=64)
    (problem,) = box.converge(both)
    assert (problem.reason, problem.message) == ("DropsUnavailable", "drops are not recorded: no BTF here")
    assert not box.plan(both).actions
    box.send(f.ethernet(0x9000, bytes(50)))
    store = Collected()
    box.drain(store)
    assert (len(store.flows), store.drops) == (1, [])
