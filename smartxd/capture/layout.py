"""The records of bpf/records.h as numpy reads them: the same fields at the same places, checked by a test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TUPLE = np.dtype(
    [
        ("src_ip", "u1", 16),
        ("dst_ip", "u1", 16),
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("ethertype", "u2"),
        ("protocol", "u1"),
        ("has", "u1"),
    ]
)

FLOW_KEY = np.dtype(
    [
        ("outer", TUPLE),
        ("inner", TUPLE),
        ("ifindex", "u4"),
        ("vni", "u4"),
        ("vlan", "u2"),
        ("direction", "u1"),
        ("has", "u1"),
    ]
)

PLAIN_KEY = np.dtype(
    [
        ("src_ip", "u1", 4),
        ("dst_ip", "u1", 4),
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("place", "u4"),
    ]
)
"""What most flows have of a FLOW_KEY; ``place`` is ifindex, direction and protocol: 23, 1 and 8 bits."""

FLOW_VALUE = np.dtype(
    [
        ("skbs", "u8"),
        ("bytes", "u8"),
        ("last_ns", "u8"),
        ("tcp_flags", "u8"),
        ("more_packets", "u8"),
        ("first_ns", "u8"),
    ]
)

PLAIN_FLOW = np.dtype([("key", PLAIN_KEY), ("value", FLOW_VALUE)])
"""An entry of the array of plain flows; one with ``place`` 0 is nobody's."""

LEDGER_KEY = np.dtype([("ifindex", "u4"), ("direction", "u4")])

LEDGER_VALUE = np.dtype(
    [
        ("seen_packets", "u8"),
        ("seen_skbs", "u8"),
        ("seen_bytes", "u8"),
        ("filtered_packets", "u8"),
        ("filtered_skbs", "u8"),
        ("filtered_bytes", "u8"),
        ("sampled_out_packets", "u8"),
        ("sampled_out_skbs", "u8"),
        ("sampled_out_bytes", "u8"),
        ("overflow_packets", "u8"),
        ("overflow_skbs", "u8"),
        ("overflow_bytes", "u8"),
        ("ring_full_packets", "u8"),
        ("ring_full_skbs", "u8"),
        ("ring_full_bytes", "u8"),
        ("truncated_skbs", "u8"),
        ("malformed_skbs", "u8"),
    ]
)

CLOCK = np.dtype([("tick", "u8"), ("now_ns", "u8")])

LEDGER_ENTRY = np.dtype([("key", LEDGER_KEY), ("clock", CLOCK), ("value", LEDGER_VALUE)])
"""Of one CPU."""

TOTAL_VALUE = np.dtype([("generation", "u8"), ("sum", LEDGER_VALUE)])

COST = np.dtype([("runs", "u8"), ("begun_ns", "u8"), ("measured_ns", "u8")])
"""Of one CPU."""

COST_ONE_IN = 256
"""As in bpf/flows.c: the runs of which one is measured."""

PACKET = np.dtype(
    [
        ("time_ns", "u8"),
        ("digest", "u8"),
        ("bytes", "u8"),
        ("key", FLOW_KEY),
        ("length", "u4"),
        ("packets", "u4"),
        ("sampled_one_in", "u4"),
        ("gso_size", "u2"),
        ("captured", "u2"),
        ("tcp_flags", "u1"),
        ("clock", "u1"),
        ("unused", "u2"),
    ]
)
"""Of a packet in the ring; as many bytes of it as were ``captured`` follow."""

CLOCK_IS_TAI = 1
"""``packet_record.clock``; the other one is CLOCK_MONOTONIC."""

DROP_KEY = np.dtype([("location", "u8"), ("flow", FLOW_KEY), ("reason", "u4")])
"""The value is a FLOW_VALUE."""

CONNECTION_KEY = np.dtype(
    [
        ("local_ip", "u1", 16),
        ("remote_ip", "u1", 16),
        ("local_port", "u2"),
        ("remote_port", "u2"),
        ("has", "u4"),
        ("ifindex", "u4"),
    ]
)

CONNECTION_VALUE = np.dtype(
    [
        ("events", "u8"),
        ("retransmits", "u8"),
        ("resets_sent", "u8"),
        ("resets_received", "u8"),
        ("state_changes", "u8"),
        ("states", "u8"),
        ("state", "u8"),
        ("srtt_last_us", "u8"),
        ("srtt_min_us", "u8"),
        ("srtt_max_us", "u8"),
        ("first_ns", "u8"),
        ("last_ns", "u8"),
    ]
)

TCP_STATES = (
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"),
    *("CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
)
"""By number, as Linux has them; there is no 0."""

TCP_LIFE = (2, 12, 3, 1, 4, 5, 11, 8, 9, 6, 7)
"""States in the order in which a connection can be in them."""

DROPPED, TCP = "dropped", "tcp"
DIRECTIONS = ("ingress", "egress", DROPPED, TCP)
"""By number, as in ``enum direction``."""

HAS_IP4, HAS_IP6, HAS_PORTS = 1, 2, 4
"""Bits of ``tuple.has``."""

HAS_VLAN, HAS_VNI = 1, 2
"""Bits of ``flow_key.has``."""

ETHERTYPE_IP4 = 0x0800


def widen(plain: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The same keys as FLOW_KEY."""
    keys = np.zeros(len(plain), FLOW_KEY)
    outer, place = keys["outer"], plain["place"]
    for name in ("src_ip", "dst_ip"):
        outer[name][:, :4] = plain[name]
    for name in ("src_port", "dst_port"):
        outer[name] = plain[name]
    outer["ethertype"] = ETHERTYPE_IP4
    outer["protocol"] = place & 0xFF
    outer["has"] = HAS_IP4 | HAS_PORTS
    keys["direction"] = place >> 8 & 1
    keys["ifindex"] = place >> 9
    return keys
