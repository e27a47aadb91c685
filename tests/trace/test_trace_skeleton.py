"""What is kept of frames where addresses are hidden, whatever their bytes are: pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from oracle_frames import ODD, SOUND
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrRouting
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from smartxd.capture import layout
from smartxd.capture.skeleton import skeletons

MAC = "02:42:0a:00:00:01"
TCP_SYN = f"0001 0002 {'00' * 8} 60 02 2000 0000 0000 {'00' * 4}"
FRAMES = [bytes(packet) for packet in (*SOUND.values(), *ODD.values())]
bits = st.integers(0, 7)
changes = st.lists(st.tuples(st.integers(0, 180), st.integers(0, 255)), max_size=4)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """One of the oracle's, with other bytes here and there, and cut off somewhere."""
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for at, byte in draw(changes):
        frame[at % len(frame)] = byte
    return bytes(frame[: draw(st.integers(0, 256))])


cases = st.lists(st.tuples(frames() | st.binary(), bits, bits, bits, st.booleans()), min_size=1, max_size=9)
Case = tuple[bytes, int, int, int, bool]


def kept(cases: list[Case], address: int = 0) -> list[bytes]:
    """What is kept of frames with these bits of ``has``, in which addresses are so many times the byte."""
    keys = np.zeros(len(cases), layout.FLOW_KEY)
    given_, keys["has"], keys["outer"]["has"], keys["inner"]["has"], is_gso = zip(*cases, strict=True)
    for layer in (keys["outer"], keys["inner"]):
        layer["src_ip"] = layer["dst_ip"] = address
    found: list[Any] = skeletons(pa.array(given_, pa.binary()), keys, np.array(is_gso)).to_pylist()
    return found


@given(cases)
def test_no_byte_is_longer_there_or_has_a_bit_that_it_had_not(cases: list[Case]) -> None:
    for (frame, *_), left in zip(cases, kept(cases), strict=True):
        assert len(left) <= len(frame)
        assert all(ours & ~theirs == 0 for ours, theirs in zip(left, frame, strict=False))


@given(cases)
def test_what_is_kept_is_kept_again_as_it_is(cases: list[Case]) -> None:
    once = kept(cases, 0xA5)
    again = [(left, *case[1:]) for left, case in zip(once, cases, strict=True)]
    assert kept(again, 0xA5) == once  # type: ignore[arg-type]


@given(cases)
def test_a_frame_is_no_other_among_others(cases: list[Case]) -> None:
    assert kept(cases, 7) == [left for case in cases for left in kept([case], 7)]


def test_headers_are_kept_and_what_tells_of_addresses_is_not() -> None:
    tcp = TCP(sport=1, dport=2, flags="S", options=[("MSS", 1460)])
    inner = Ether(src=MAC, dst="01:00:5e:00:00:09") / IP(src="10.0.0.1", dst="10.0.0.9", id=7) / tcp / b"data"
    packet = Ether(src=MAC, dst=MAC) / Dot1Q(vlan=5) / IPv6(tc=0x12, fl=0xABCDE, src="fd00::1", dst="fd00::2")
    packet /= (
        IPv6ExtHdrRouting(addresses=["fd00::9"]) / UDP(sport=3, dport=4789) / VXLAN(flags=8, vni=9) / inner
    )
    (left,) = kept([(bytes(packet), 3, 6, 5, False)], 0xEE)
    ethernet, vlan = f"{'00' * 12} 8100", "0005 86dd"
    ip6 = f"61200000 0066 2b 40 {'ee' * 32} 11 02 {'00' * 22}"
    udp_vxlan = "0003 12b5 004e 0000 08000000 00000900"
    inside = f"01{'00' * 11} 0800 4500 0030 0007 0000 40 06 0000 {'ee' * 8}"
    assert left == bytes.fromhex(ethernet + vlan + ip6 + udp_vxlan + inside + TCP_SYN)


def test_padding_is_no_header_but_an_aggregate_is_longer_than_it_says() -> None:
    packet = bytes(Ether(src=MAC, dst=MAC) / IP(len=24, proto=17) / b"\1\2\3\4padding")
    single, aggregate = kept([(packet, 0, 5, 0, False), (packet, 0, 5, 0, True)])
    assert (len(single), len(aggregate)) == (14 + 20, 14 + 20 + 8)


def test_no_frame_and_no_bytes_are_none() -> None:
    assert (
        skeletons(pa.array([], pa.binary()), np.zeros(0, layout.FLOW_KEY), np.zeros(0, "?")).to_pylist() == []
    )
    assert kept([(b"", 3, 7, 7, False)]) == [b""]
