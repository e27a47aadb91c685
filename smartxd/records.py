"""The Arrow schemas of what is captured: the only definition, for capture, store, sync and centre.

Times are nanoseconds since the Unix epoch. ``packets`` counts wire packets (GSO segments), ``skbs`` what the
kernel handled; ``bytes`` counts wire bytes from the Ethernet header on. Addresses are text, as
``inet_ntop`` writes them, so that ``sqlite3`` shows rows that a person can read.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

FLOW = pa.schema(
    [
        pa.field("policy", pa.string(), nullable=False),
        pa.field("commit_id", pa.string(), nullable=False),
        pa.field("interface", pa.string(), nullable=False),
        pa.field("direction", pa.string(), nullable=False),  # "ingress" or "egress"
        pa.field("ethertype", pa.uint16(), nullable=False),
        pa.field("vlan", pa.uint16()),
        pa.field("src_ip", pa.string()),
        pa.field("dst_ip", pa.string()),
        pa.field("protocol", pa.uint8()),
        pa.field("src_port", pa.uint16()),
        pa.field("dst_port", pa.uint16()),
        pa.field("vni", pa.uint32()),
        pa.field("inner_src_ip", pa.string()),
        pa.field("inner_dst_ip", pa.string()),
        pa.field("inner_protocol", pa.uint8()),
        pa.field("inner_src_port", pa.uint16()),
        pa.field("inner_dst_port", pa.uint16()),
        pa.field("packets", pa.uint64(), nullable=False),
        pa.field("skbs", pa.uint64(), nullable=False),
        pa.field("bytes", pa.uint64(), nullable=False),
        pa.field("tcp_flags", pa.uint8(), nullable=False),
        pa.field("sampled_one_in", pa.uint32(), nullable=False),  # 1: every packet was to be recorded
        pa.field("first_ns", pa.int64(), nullable=False),
        pa.field("last_ns", pa.int64(), nullable=False),
    ]
)
"""One flow of one drain interval; null where the packet has no such field."""

LOSS = pa.schema(
    [
        pa.field("policy", pa.string(), nullable=False),
        pa.field("commit_id", pa.string(), nullable=False),
        pa.field("interface", pa.string(), nullable=False),
        pa.field("direction", pa.string(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),  # "overflow": the flow map was full
        pa.field("packets", pa.uint64(), nullable=False),
        pa.field("skbs", pa.uint64(), nullable=False),
        pa.field("bytes", pa.uint64(), nullable=False),
        pa.field("at_ns", pa.int64(), nullable=False),
    ]
)
"""What was to be recorded and was not, with the cause: seen = filtered + sampled out + recorded + lost, per
policy and interface."""

STREAMS: dict[str, pa.Schema] = {"flows": FLOW, "losses": LOSS}
"""The streams of a box, in the order in which a batch number of a drain carries them."""

ADDED = {"sampled_one_in": 1}
"""Columns that older releases do not write, and what holds for their rows."""


def without(schema: pa.Schema, names: Iterable[str]) -> dict[str, int]:
    """The columns of ``schema`` that a release older than it has left out of ``names``, with their values."""
    found = set(names)
    return {name: value for name, value in ADDED.items() if name in schema.names and name not in found}
