"""What the kernel tells of the TCP connections of a box, compared with what sockets and counters say."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from trace_box import TC_ACT_SHOT, Box, Collected, load_foreign_program, stored_flows, tracer, unloaded

from smartxd import bpfsys
from smartxd.capture.maps import CONNECTIONS, PolicyMaps
from smartxd.planes.trace.state import Tracer

pytestmark = pytest.mark.kernel
NEAR = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
FAR = {socket.AF_INET: "192.0.2.2", socket.AF_INET6: "2001:db8::2"}
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ip4", "ip6"])
CLOSED_PORT = 9
TCPI_RTT, TCPI_TOTAL_RETRANS = 68, 100
"""Where ``struct tcp_info`` has them."""
RESET = struct.pack("=ii", 1, 0)
"""SO_LINGER: close at once, by a reset."""


def watching(*interfaces: str, **more: Any) -> Tracer:
    return tracer(*interfaces, **{"flows_max": None, "tcp_max": 1024, **more})


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box whose `wan` leads to the namespace of ``far``, and whose connections over it are traced."""
    box = Box(tmp_path_factory.mktemp("near"))
    try:
        box.run("ip link set lo up")
        assert box.converge(watching("wan")) == []
        yield box
    finally:
        box.delete()


@pytest.fixture(scope="module")
def far(near: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    other = Box(tmp_path_factory.mktemp("far"))
    try:
        other.run("ip link del wan")
        other.run("ip link set lo up")
        near.run(f"ip link set peer netns {other.name}")
        for box, link, own in ((near, "wan", NEAR), (other, "peer", FAR)):
            with box.inside():
                for name in ("lo", link):
                    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("0")
            box.run(f"ip link set {link} up")
            box.run(f"ip addr add {own[socket.AF_INET]}/24 dev {link}")
            box.run(f"ip addr add {own[socket.AF_INET6]}/64 dev {link} nodad")
        yield other
    finally:
        other.delete()


@pytest.fixture
def ends(near: Box, far: Box) -> tuple[Box, Box]:
    """Both, with nothing told yet."""
    assert near.converge(watching("wan")) == []
    drained(near)
    return near, far


def drained(box: Box) -> list[dict[str, Any]]:
    store = Collected()
    box.drain(store)
    assert store.losses == []
    return store.connections


def connected(near: Box, far: Box, family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """The box's end of a connection that the other one has made, and that other end."""
    with near.inside(), socket.create_server((NEAR[family], 0), family=family) as listening:
        with far.inside():
            theirs = socket.create_connection(listening.getsockname()[:2])
        return listening.accept()[0], theirs


def told_of(rows: list[dict[str, Any]], ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> dict[str, Any]:
    """The one row of a connection, by the addresses of its ends."""
    (row,) = [
        r
        for r in rows
        if (r["local_ip"], r["local_port"], r["remote_ip"], r["remote_port"]) == (*ours[:2], *theirs[:2])
    ]
    assert (row["policy"], row["commit_id"]) == ("wan", "c1")
    assert row["first_ns"] <= row["last_ns"]
    return row


def info(sock: socket.socket, at: int) -> int:
    """A number of ``struct tcp_info``."""
    return int(struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), at)[0])


def counted(box: Box, name: str) -> int:
    """What the namespace's TCP has counted by itself."""
    names, values = (x.split() for x in box.run("cat /proc/net/snmp").splitlines() if x.startswith("Tcp:"))
    return int(values[names.index(name)])


@contextmanager
def deaf(box: Box) -> Iterator[None]:
    """All that comes to the box is dropped by a program of somebody else's."""
    program = load_foreign_program(TC_ACT_SHOT)
    with box.inside():
        link = bpfsys.link_tcx(program, socket.if_nametoindex("peer"), "ingress")
    try:
        yield
    finally:
        os.close(link)
        os.close(program)


@FAMILIES
def test_states_are_told_in_their_order_and_the_round_trip_time_is_that_of_the_socket(
    ends: tuple[Box, Box], family: socket.AddressFamily
) -> None:
    near, far = ends
    sent_again = counted(near, "RetransSegs")
    ours, theirs = connected(near, far, family)
    names = ours.getsockname(), ours.getpeername()
    (first,) = drained(near)
    assert first == told_of([first], *names)
    assert (first["interface"], first["state"], first["state_changes"]) == ("wan", "ESTABLISHED", 1)
    assert first["states"] == "SYN_RECV,ESTABLISHED"
    # An acknowledgement that is put off makes a round trip of 40 ms, far above what else takes its time here.
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    for _ in range(6):
        ours.send(b"x")
        theirs.recv(1)
        unacknowledged = struct.Struct("=I")
        while unacknowledged.unpack_from(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 24)[0]:
            select.select([], [], [], 0.005)
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    srtt_us = info(ours, TCPI_RTT)
    ours.close()
    assert theirs.recv(1) == b""
    theirs.close()
    row = told_of(drained(near), *names)
    assert row["states"] == "ESTABLISHED,FIN_WAIT1,FIN_WAIT2,CLOSE"
    assert (row["state"], row["state_changes"]) == ("CLOSE", 3)
    assert row["srtt_min_us"] <= srtt_us <= row["srtt_max_us"]
    assert row["srtt_min_us"] <= row["srtt_last_us"] <= row["srtt_max_us"]
    assert srtt_us / 2 < row["srtt_last_us"] < srtt_us * 2
    # On a machine that stands still for a while there are some.
    assert first["retransmits"] + row["retransmits"] == counted(near, "RetransSegs") - sent_again
    assert (row["resets_sent"], row["resets_received"]) == (0, 0)


@FAMILIES
def test_a_connection_that_the_box_makes_is_told_and_others_are_not(
    ends: tuple[Box, Box], family: socket.AddressFamily
) -> None:
    near, far = ends
    with far.inside(), socket.create_server((FAR[family], 0), family=family) as listening:
        with near.inside():
            ours = socket.create_connection(listening.getsockname()[:2], source_address=(NEAR[family], 0))
        theirs = listening.accept()[0]
        with socket.create_connection(listening.getsockname()[:2]):  # within the other namespace
            listening.accept()[0].close()
    with near.inside(), socket.create_server(("127.0.0.1", 0)) as inside:
        socket.create_connection(inside.getsockname()).close()  # by `lo`, which is not watched
    names = ours.getsockname(), ours.getpeername()
    theirs.close()
    assert ours.recv(1) == b""
    ours.close()
    (row,) = drained(near)
    assert row == told_of([row], *names)
    assert row["states"] == "SYN_SENT,ESTABLISHED,CLOSE_WAIT,LAST_ACK,CLOSE"
    assert (row["interface"], row["srtt_last_us"] > 0) == ("wan", True)


def test_ipv4_through_a_socket_of_ipv6_is_told_as_ipv4(ends: tuple[Box, Box]) -> None:
    near, far = ends
    with (
        near.inside(),
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening,
    ):
        with far.inside():
            theirs = socket.create_connection((NEAR[socket.AF_INET], listening.getsockname()[1]))
        ours = listening.accept()[0]
    names = theirs.getpeername(), theirs.getsockname()
    assert ours.getpeername()[0] == f"::ffff:{names[1][0]}"
    row = told_of(drained(near), *names)
    assert (row["interface"], row["state"]) == ("wan", "ESTABLISHED")
    theirs.close()
    ours.close()


@FAMILIES
def test_resets_are_told_each_way_also_where_nobody_listens(
    ends: tuple[Box, Box], family: socket.AddressFamily
) -> None:
    near, far = ends
    sent = counted(near, "OutRsts")
    first, second = connected(near, far, family), connected(near, far, family)
    names = [(ours.getsockname(), ours.getpeername()) for ours, _ in (first, second)]
    for resetting in (first[0], second[1]):
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        resetting.close()
    for waiting in (first[1], second[0]):
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
        waiting.close()
    with far.inside(), socket.socket(family) as refused:
        refused.bind((FAR[family], 0))
        asking = refused.getsockname()
        assert refused.connect_ex((NEAR[family], CLOSED_PORT)) != 0
    rows = drained(near)
    assert [row["interface"] for row in rows] == ["wan"] * 3
    resets = [("resets_sent", "resets_received"), ("resets_received", "resets_sent")]
    for ends_, (some, none) in zip(names, resets, strict=True):
        row = told_of(rows, *ends_)
        assert (row[some], row[none], row["state"]) == (1, 0, "CLOSE")
    row = told_of(rows, (NEAR[family], CLOSED_PORT), asking)
    assert (row["resets_sent"], row["events"], row["state"], row["srtt_last_us"]) == (1, 1, None, None)
    assert sum(row["resets_sent"] for row in rows) == counted(near, "OutRsts") - sent == 2


def test_segments_sent_again_are_those_that_the_socket_and_the_kernel_count(ends: tuple[Box, Box]) -> None:
    near, far = ends
    before = counted(near, "RetransSegs")
    with ExitStack() as open_:
        pairs = [open_.enter_context(ours) for family in NEAR for ours in _held(open_, near, far, family)]
        names = [(ours.getsockname(), ours.getpeername()) for ours in pairs]
        with near.inside():
            listening = open_.enter_context(socket.create_server((NEAR[socket.AF_INET], 0)))
        asking = open_.enter_context(_socket(far, socket.AF_INET))
        asked = listening.getsockname(), asking.getsockname()
        giving_up = select.poll()
        with deaf(far):
            asking.setblocking(False)
            asking.connect_ex(listening.getsockname())
            for ours in pairs:
                ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500)
                ours.send(bytes(5000))
                giving_up.register(ours, 0)
            gone: set[int] = set()
            while len(gone) < len(pairs):
                for fd, _ in giving_up.poll():
                    gone.add(fd)
                    giving_up.unregister(fd)
            totals = [info(ours, TCPI_TOTAL_RETRANS) for ours in pairs]
            # What nobody wants any more is not answered again between the drain and the counter.
            asking.close()
            listening.close()
        rows = drained(near)
        for ends_, total in zip(names, totals, strict=True):
            row = told_of(rows, *ends_)
            assert row["retransmits"] == total > 0
            assert row["states"] == "ESTABLISHED,CLOSE"
        answer = told_of(rows, *asked)
        assert answer["retransmits"] >= 1  # of its SYN-ACK
        assert {row["interface"] for row in rows if row != answer} == {"wan"}
        assert sum(row["retransmits"] for row in rows) == counted(near, "RetransSegs") - before


def _held(open_: ExitStack, near: Box, far: Box, family: socket.AddressFamily) -> Iterator[socket.socket]:
    ours, theirs = connected(near, far, family)
    open_.enter_context(theirs)
    drained(near)
    yield ours


def _socket(box: Box, family: socket.AddressFamily) -> socket.socket:
    with box.inside():
        made = socket.socket(family)
        made.bind((FAR[family], 0))
        return made


def refuse(far: Box, count: int) -> None:
    """Connections that the box refuses, each from another port."""
    with far.inside(), ExitStack() as open_:
        for _ in range(count):
            asking = open_.enter_context(socket.socket())
            assert asking.connect_ex((NEAR[socket.AF_INET], CLOSED_PORT)) != 0


def test_a_kill_in_the_drain_neither_loses_nor_doubles_an_event(
    ends: tuple[Box, Box], tmp_path: Path
) -> None:
    near, far = ends
    script = Path(__file__).with_name("crash_drain.py")

    def drain(where: str) -> int:
        argv = [sys.executable, str(script), str(near.manifest_path), str(tmp_path / "captures"), where, "1"]
        return subprocess.run(argv, timeout=60, check=False).returncode

    for point in ("flipped", "read", "committed", "flows emptied"):
        refuse(far, 50)
        assert drain(point) == 9
    assert drain("") == 0
    sums = stored_flows(tmp_path / "captures", "select sum(events), sum(resets_sent) from tcp")
    assert sums == [(200, 200)]


def test_what_did_not_fit_is_a_loss_and_the_programs_go_with_the_policy(ends: tuple[Box, Box]) -> None:
    near, far = ends
    before = near.policy().pin_dir
    near.converge(watching("wan", tcp_max=16))
    assert near.policy().pin_dir != before
    refuse(far, 40)
    store = Collected()
    near.drain(store)
    (loss,) = store.losses
    assert (loss["interface"], loss["direction"], loss["cause"]) == ("wan", "tcp", "overflow")
    assert (len(store.connections), loss["packets"], loss["bytes"]) == (16, 24, 0)
    maps = PolicyMaps(near.policy().pin_dir)
    (total,) = maps.totals().values["sum"]
    assert (total["seen_packets"], total["overflow_packets"], maps.missed(CONNECTIONS)) == (40, 24, 0)
    maps.close()
    with bpfsys.opened(near.policy().pin_dir / "tcp_probe") as fd:
        program = bpfsys.program_id(fd)
    near.converge()
    with near.inside():
        near.plane.remove_all()
    assert unloaded(program)
