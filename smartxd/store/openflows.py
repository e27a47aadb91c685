"""Flows that go on: rows that grow in the segment that is written, until they end and are stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from smartxd.records import FLOW

TABLE = "open_flows"
PRIMARY_KEY = ("incarnation", "key")

SCHEMA = pa.schema(
    [
        pa.field("incarnation", pa.string(), nullable=False),
        pa.field("key", pa.binary(), nullable=False),  # of whoever appends: rows of one key are one flow
        pa.field("generation", pa.int64(), nullable=False),  # of the maps in which it was last seen
        *FLOW,
    ]
)

NAMES = ", ".join(FLOW.names)
_ALL = ", ".join(SCHEMA.names)
_GROWN = {
    **{name: f"{name} + excluded.{name}" for name in ("packets", "skbs", "bytes")},
    "tcp_flags": "tcp_flags | excluded.tcp_flags",
    "first_ns": "min(first_ns, excluded.first_ns)",
    "last_ns": "max(last_ns, excluded.last_ns)",
    "generation": "excluded.generation",
}

GROW = (
    f"INSERT INTO {TABLE} ({_ALL}) VALUES ({', '.join('?' * len(SCHEMA))})"
    f" ON CONFLICT ({', '.join(PRIMARY_KEY)})"
    f" DO UPDATE SET {', '.join(f'{name} = {value}' for name, value in _GROWN.items())}"
)
"""Adds a row of ``SCHEMA`` to the flow of its key."""

CARRY = f"INSERT INTO {TABLE} ({_ALL}) SELECT {_ALL} FROM before.{TABLE}"

_NS = 1_000_000_000
_PART_ROWS = 65_536
_BEHIND_ALL = b"\xff" * 32
_FIN_OR_RST = 0x05
_QUIET_NS = _NS
"""TCP has ended when nothing came for so long behind a FIN or RST: the last acknowledgement belongs to it."""
_AHEAD_NS = _NS
"""So much later than now no packet has come: the clock was set back."""


@dataclass(frozen=True, slots=True)
class TimeOuts:
    """When flows of a policy end; a flow of another commit or sampling interval has."""

    idle_s: int
    active_s: int
    flows_max: int
    """More are not kept: those that were quiet for longest end."""
    commit_id: str
    sampled_one_in: int

    def reason(self, now_ns: int, quiet_since_ns: int) -> tuple[str, list[object]]:
        """In SQL, why a row has ended, null while it goes on; and its arguments.

        ``quiet_since_ns``: what is older goes for want of room.
        """
        sql = (
            "CASE WHEN commit_id <> ? OR sampled_one_in <> ? OR last_ns > ? THEN 'stopped'"
            f" WHEN tcp_flags & {_FIN_OR_RST} AND last_ns <= ? THEN 'end'"
            " WHEN last_ns <= ? THEN 'idle' WHEN first_ns <= ? THEN 'active'"
            " WHEN last_ns < ? THEN 'resources' END"
        )
        idle_ns, active_ns = now_ns - self.idle_s * _NS, now_ns - self.active_s * _NS
        times = (now_ns + _AHEAD_NS, now_ns - _QUIET_NS, idle_ns, active_ns, quiet_since_ns)
        return sql, [self.commit_id, self.sampled_one_in, *times]


ALL: tuple[str, list[object]] = ("'stopped'", [])
"""The reason where all flows end."""


def rows(incarnation: str, generation: int, flows: pa.Table, keys: pa.Array) -> Iterator[pa.Table]:
    """Rows of ``SCHEMA``, in the order of their keys, which is the table's: half as long for SQLite."""
    order = pc.sort_indices(keys)
    for start in range(0, len(keys), _PART_ROWS):
        part = order.slice(start, _PART_ROWS)
        columns = [
            pa.repeat(incarnation, len(part)),
            keys.take(part).cast(pa.binary()),
            pa.repeat(pa.scalar(generation, pa.int64()), len(part)),
            *flows.take(part).columns,
        ]
        yield pa.table(columns, schema=SCHEMA)


def parts(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Bounds of keys (from, up to) for ``count`` rows, about ``_PART_ROWS`` of them each: keys are even."""
    number = min(-(-count // _PART_ROWS), 1 << 16)
    bounds = [(i * (1 << 16) // number).to_bytes(2, "big") for i in range(number)]
    yield from zip((b"", *bounds[1:]), (*bounds[1:], _BEHIND_ALL), strict=True) if number else ()
