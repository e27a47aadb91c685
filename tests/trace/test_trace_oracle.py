"""The tracer reads of every frame what tshark reads of it: of each protocol, whole, cut off and malformed."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle_frames import ETHERNET_BYTES, ODD, SOUND, pcaps
from trace_box import Box, Collected, tracer
from trace_trial import Trial
from tshark_oracle import Dissected, dissect

from smartxd.capture.decode import Origin, decode_flows
from smartxd.capture.maps import PolicyMaps

pytestmark = pytest.mark.kernel

LAYER = ("src_ip", "dst_ip", "protocol", "src_port", "dst_port")
KEY = ("ethertype", "vlan", *LAYER, "vni", *(f"inner_{name}" for name in LAYER))
COLUMNS = (*KEY, "tcp_flags", "packets", "skbs", "bytes")
NO_PORTS = {"src_port": None, "dst_port": None}
NO_TUNNEL = {"vni": None, "tcp_flags": 0, **{f"inner_{name}": None for name in LAYER}}
MALFORMED = {"malformed": 1, "truncated": 0}
DAMAGE = ("truncated", "malformed")
LEDGER = {
    **{"packets": "seen_packets", "bytes": "seen_bytes"},
    **{"truncated": "truncated_skbs", "malformed": "malformed_skbs"},
}

DIFFERS: dict[str, dict[str, Any]] = {
    # tshark may find the addresses of a header that is not all there, we never do.
    "ip-header-length-15": {"src_ip": None, "dst_ip": None, "protocol": None},
    # tshark looks behind any number of them, we behind as many as RFC 8200 (4.1) has.
    "ip6-nine-extensions": {**NO_PORTS, "protocol": 60, **MALFORMED},
    # Nor do we look behind a third VLAN tag in the packet; one more may be beside it.
    "vlan-three": {**NO_PORTS, "ethertype": 0x8100, "protocol": None, "src_ip": None, "dst_ip": None},
    # tshark takes any UDP datagram of length zero over IPv6 for a jumbogram.
    "udp-length-0": MALFORMED,
    # tshark looks inside whatever the flags say; by RFC 7348 (5) it is no VXLAN packet.
    "vxlan-without-vni": {**NO_TUNNEL, **MALFORMED},
    "vxlan-without-vni-6": {**NO_TUNNEL, **MALFORMED},
    # To tshark either port may be VXLAN's; by RFC 7348 (5) it is the destination's.
    "vxlan-answer": NO_TUNNEL,
}
"""Where we say something else than tshark, by capture file, and why."""
DIFFERS_IN_PACKET_ONLY = {"vlan-three"}
IP6_BYTES = 40


@pytest.fixture(scope="module")
def frames() -> dict[str, list[bytes]]:
    return pcaps()


@pytest.fixture(scope="module")
def said(
    frames: dict[str, list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Dissected]]:
    return dissect(frames, tmp_path_factory.mktemp("pcaps"))


def _expected(name: str, dissected: Dissected, *, beside: bool = False) -> dict[str, Any]:
    """The row and the damage of one frame; ``beside``: its first VLAN tag is not in the packet."""
    row = dict.fromkeys(COLUMNS) | {"packets": 1, "skbs": 1} | dissected.fields
    row |= {what: int(getattr(dissected, what)) for what in DAMAGE}
    return row if beside and name in DIFFERS_IN_PACKET_ONLY else row | DIFFERS.get(name, {})


def test_what_is_sound_is_so_to_tshark_and_what_is_odd_is_counted_as_damaged(
    said: dict[str, list[Dissected]],
) -> None:
    assert len(said) >= 40
    damaged = {
        name for name, (whole, *_) in said.items() if any(_expected(name, whole)[what] for what in DAMAGE)
    }
    assert not damaged & set(SOUND)
    assert damaged == set(ODD) - {"vlan-three", "vxlan-answer"}


def test_each_frame_is_read_as_tshark_reads_it(
    frames: dict[str, list[bytes]], said: dict[str, list[Dissected]], trial: Callable[..., Trial]
) -> None:
    """One at a time, so that none is behind another of the same flow."""
    tried, tests = trial(), []
    for name, file in frames.items():
        for number, (frame, dissected) in enumerate(zip(file, said[name], strict=True), 1):
            if not _runs(tried, frame):
                assert len(frame) < ETHERNET_BYTES + IP6_BYTES  # without an IP header; the veth takes them
                continue
            found, ledger = tried.entries(), tried.ledger()
            damage = {what: ledger[f"{what}_skbs"] for what in DAMAGE}
            tests.append((f"{name}.pcap, frame {number}", _expected(name, dissected), found, damage))
            assert (len(found), ledger["seen_packets"], ledger["seen_bytes"]) == (1, 1, len(frame)), tests[-1]
    names, expected, entries, damages = zip(*tests, strict=True)
    keys, values = (np.concatenate([getattr(e, part) for e in entries]) for part in ("keys", "values"))
    rows = decode_flows(keys, values, Origin("p", "c", {}, 0)).select(COLUMNS).to_pylist()
    wrong = {
        name: {what: (row[what], right[what]) for what in right if row[what] != right[what]}
        for name, right, row in zip(names, expected, map(dict.__or__, rows, damages), strict=True)
        if row != right
    }
    assert wrong == {}


def _runs(tried: Trial, frame: bytes) -> bool:
    tried.forget()
    try:
        tried.run(frame)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        return False
    return True


def test_all_frames_over_a_veth_are_the_flows_that_tshark_says_and_balance(
    frames: dict[str, list[bytes]], said: dict[str, list[Dissected]], box: Box
) -> None:
    """On the way out a frame has its tags in it, on the way in the kernel holds the first beside it."""
    assert not box.converge(tracer("wan", "peer", directions=("ingress", "egress")))
    box.send(*(frame for file in frames.values() for frame in file))
    with box.inside():
        places = (
            ("wan", "ingress", socket.if_nametoindex("wan")),
            ("peer", "egress", socket.if_nametoindex("peer")),
        )
    store, maps = Collected(), PolicyMaps(box.policy().pin_dir)
    counted = maps.ledger(0)
    ledger = dict(zip(counted.keys["ifindex"].tolist(), counted.values, strict=True))
    maps.close()
    box.drain(store)
    for interface, direction, ifindex in places:
        expected = [
            _expected(name, dissected, beside=direction == "ingress")
            for name, file in frames.items()
            for frame, dissected in zip(file, said[name], strict=True)
            if direction == "egress" or _arrives(frame)
        ]
        found = [r for r in store.flows if (r["interface"], r["direction"]) == (interface, direction)]
        assert _flows(found) == _flows(expected)
        for what, counter in LEDGER.items():
            assert ledger[ifindex][counter] == sum(row[what] for row in expected)
    for what in ("packets", "bytes"):  # of the last place, which all of them pass
        assert ledger[ifindex][f"seen_{what}"] == box.counter("peer", f"tx_{what}")


def _arrives(frame: bytes) -> bool:
    """The kernel drops what begins with a tag and ends there, before it shows it to any program."""
    return len(frame) >= ETHERNET_BYTES + 4 + 2 or frame[12:14] not in (b"\x81\x00", b"\x88\xa8")


def _flows(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], list[int]]:
    """Packets, bytes and flags by key: rows may differ in the inner EtherType, which is no column."""
    flows: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        flow = flows.setdefault(tuple(row[what] for what in KEY), [0, 0, 0])
        flow[0] += row["packets"]
        flow[1] += row["bytes"]
        flow[2] |= row["tcp_flags"]
    return flows
