"""A TCP transfer in GSO skbs: wire packets and wire bytes, not skbs."""

from __future__ import annotations

import os
import socket
import struct
import threading

import pytest
from trace_box import Box, Collected, tracer

pytestmark = pytest.mark.kernel
PORT = 5001
CHUNK = bytes(1_000_000)
SIZE = len(CHUNK) * int(os.environ.get("SMARTXD_GSO_MB", "20"))
TCPI_SEGS_OUT_OFFSET = 136
TCPI_BYTES_SENT_OFFSET = 200
HEADERS = 14 + 20 + 32  # Ethernet, IPv4, TCP with timestamps
SYN_EXTRA = 8  # a SYN's TCP header is 40 bytes long


@pytest.fixture
def connected(box: Box) -> Box:
    """A second namespace on the other end, so that the transfer crosses the veth."""
    box.run("ip addr add 192.0.2.1/24 dev wan")
    return box


def test_a_gso_transfer_is_counted_in_wire_packets_and_wire_bytes(connected: Box, tmp_path) -> None:
    box, far = connected, Box(tmp_path / "far")
    try:
        box.run(f"ip link set peer netns {far.name} name over")
        far.run("ip link set over up")
        far.run("ip addr add 192.0.2.2/24 dev over")
        box.converge(tracer("wan", directions=("ingress", "egress")))
        with far.inside():
            listening = socket.create_server(("192.0.2.2", PORT))
        segments, payload = _transfer(box, listening)
        store = Collected()
        box.drain(store)
    finally:
        far.delete()
    (sent,) = [r for r in store.flows if r["dst_port"] == PORT and r["direction"] == "egress"]
    assert sent["packets"] == segments
    assert payload >= SIZE
    assert sent["bytes"] == payload + HEADERS * segments + SYN_EXTRA
    assert sent["skbs"] * 5 < sent["packets"]
    assert sent["tcp_flags"] & 0x13 == 0x13  # SYN, FIN and ACK were all seen


def _transfer(box: Box, listening: socket.socket) -> tuple[int, int]:
    """Send SIZE bytes; the segments and payload bytes that TCP sent, those sent again included."""

    def receive() -> None:
        accepted, _ = listening.accept()
        while accepted.recv(1 << 20):
            pass
        accepted.close()
        listening.close()

    receiver = threading.Thread(target=receive)
    receiver.start()
    with box.inside():
        sending = socket.create_connection(("192.0.2.2", PORT), timeout=60)
    for _ in range(SIZE // len(CHUNK)):
        sending.sendall(CHUNK)
    sending.shutdown(socket.SHUT_WR)
    assert sending.recv(1) == b""  # the other end has read all, and closed
    receiver.join(timeout=60)
    info = sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    sending.close()
    (segments,) = struct.unpack_from("=I", info, TCPI_SEGS_OUT_OFFSET)
    (payload,) = struct.unpack_from("=Q", info, TCPI_BYTES_SENT_OFFSET)
    return segments, payload
