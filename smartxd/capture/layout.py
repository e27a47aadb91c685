"""The records of bpf/records.h as numpy reads them: the same fields at the same places, checked by a test."""

from __future__ import annotations

import numpy as np

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

FLOW_VALUE = np.dtype(
    [
        ("packets", "u8"),
        ("skbs", "u8"),
        ("bytes", "u8"),
        ("tcp_flags", "u8"),
        ("first_ns", "u8"),
        ("last_ns", "u8"),
    ]
)

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
    ]
)

TOTAL_VALUE = np.dtype([("generation", "u8"), ("sum", LEDGER_VALUE)])

DIRECTIONS = ("ingress", "egress")
"""By number, as in ``enum direction``."""

HAS_IP4, HAS_IP6, HAS_PORTS = 1, 2, 4
"""Bits of ``tuple.has``."""

HAS_VLAN, HAS_VNI = 1, 2
"""Bits of ``flow_key.has``."""
