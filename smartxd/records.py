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
        pa.field("end_reason", pa.string()),  # one of END_REASONS; null: it goes on, or was not said
    ]
)
"""One flow, or what of it came up to a time-out; null where the packet has no such field."""

END_REASONS = {"idle": 1, "active": 2, "end": 3, "stopped": 4, "resources": 5}
"""Why a flow's row ends, with the numbers of flowEndReason (136) of IPFIX: nothing came for the idle
time-out; it went on for the active one, and has a further row; TCP said so (FIN, RST); the policy, the commit
or the sampling interval changed, or the capture process ended; more flows went on than are kept."""

PACKET = pa.schema(
    [
        *(FLOW.field(name) for name in FLOW.names[: FLOW.get_field_index("packets")]),
        pa.field("packets", pa.uint64(), nullable=False),
        pa.field("bytes", pa.uint64(), nullable=False),
        pa.field(
            "length", pa.uint32(), nullable=False
        ),  # of the frame, an aggregate (GSO) as the kernel has it
        pa.field("gso_size", pa.uint16()),  # bytes of payload in each of its segments
        pa.field("tcp_flags", pa.uint8(), nullable=False),
        pa.field("sampled_one_in", pa.uint32(), nullable=False),
        pa.field(
            "digest", pa.int64(), nullable=False
        ),  # the same wherever the packet is seen, by the key of who hides addresses
        pa.field("time_ns", pa.int64(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),  # the frame's first bytes
    ]
)
"""One packet (skb) of a policy that records packets; null where the packet has no such field."""

DROP = pa.schema(
    [
        *(FLOW.field(name) for name in ("policy", "commit_id", "interface")),
        pa.field("reason", pa.string(), nullable=False),  # as the kernel names it: "NO_SOCKET"
        pa.field("location", pa.string(), nullable=False),  # the kernel's symbol and the offset in it
        *(
            FLOW.field(i)
            for i in range(FLOW.get_field_index("ethertype"), FLOW.get_field_index("sampled_one_in"))
        ),
        *(FLOW.field(name) for name in ("first_ns", "last_ns")),
    ]
)
"""One flow of packets that the kernel dropped for one reason at one place, in one drain interval."""

TCP = pa.schema(
    [
        *(FLOW.field(name) for name in ("policy", "commit_id")),
        pa.field("interface", pa.string()),  # by which the connection is routed; null: the kernel did not say
        pa.field("local_ip", pa.string(), nullable=False),
        pa.field("local_port", pa.uint16(), nullable=False),
        pa.field("remote_ip", pa.string(), nullable=False),
        pa.field("remote_port", pa.uint16(), nullable=False),
        pa.field("state", pa.string()),  # to which it last changed, as "ESTABLISHED"; null: it did not
        pa.field("states", pa.string()),  # all in which it was, in their order
        pa.field("state_changes", pa.uint64(), nullable=False),
        pa.field("retransmits", pa.uint64(), nullable=False),  # segments
        pa.field("resets_sent", pa.uint64(), nullable=False),
        pa.field("resets_received", pa.uint64(), nullable=False),
        pa.field("srtt_last_us", pa.uint32()),  # the smoothed round trip time; null: not known yet
        pa.field("srtt_min_us", pa.uint32()),
        pa.field("srtt_max_us", pa.uint32()),
        pa.field("events", pa.uint64(), nullable=False),  # of all of these, looks at the round trip time too
        *(FLOW.field(name) for name in ("first_ns", "last_ns")),
    ]
)
"""One TCP connection that ends on the box, in one drain interval in which the kernel told something of it."""

LOSS = pa.schema(
    [
        pa.field("policy", pa.string(), nullable=False),
        pa.field("commit_id", pa.string(), nullable=False),
        pa.field("interface", pa.string(), nullable=False),
        pa.field("direction", pa.string(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),  # "overflow" or "ring-full"
        pa.field("packets", pa.uint64(), nullable=False),
        pa.field("skbs", pa.uint64(), nullable=False),
        pa.field("bytes", pa.uint64(), nullable=False),
        pa.field("at_ns", pa.int64(), nullable=False),
    ]
)
"""What was to be recorded and was not, with the cause: seen = filtered + sampled out + recorded + lost, per
policy and interface. Of what is recorded as flows, or as drops (direction "dropped"),
or as connections (direction "tcp", of which events are counted as packets),
``overflow``: the map was full; of what is recorded as packets ``ring-full``: they came faster than they were
stored."""

SYNCED: dict[str, pa.Schema] = {"flows": FLOW, "losses": LOSS}
"""The streams that are sent to the centre."""

STREAMS: dict[str, pa.Schema] = {**SYNCED, "packets": PACKET, "drops": DROP, "tcp": TCP}
"""The streams of a box. Packets stay on it (docs/decisions/0013), and what was told of drops and TCP."""

SPANS = {
    **dict.fromkeys(("flows", "drops", "tcp"), ("first_ns", "last_ns")),
    "losses": ("at_ns", "at_ns"),
    "packets": ("time_ns", "time_ns"),
}
"""The columns of a stream's first and last time; a row is of its last."""

ADDED: dict[str, int | None] = {"sampled_one_in": 1, "end_reason": None}
"""Columns that older releases do not write, and what holds for their rows."""


def without(schema: pa.Schema, names: Iterable[str]) -> dict[str, int | None]:
    """The columns of ``schema`` that a release older than it has left out of ``names``, with their values."""
    found = set(names)
    return {name: value for name, value in ADDED.items() if name in schema.names and name not in found}
