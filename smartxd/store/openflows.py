"""Flows that go on: rows that grow in the segment that is written, until they end and are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

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


def rows(incarnation: str, generation: int, flows: pa.Table, keys: Sequence[bytes]) -> pa.Table:
    """Rows of ``SCHEMA`` in the order of their keys, which is the table's: half as long for SQLite."""
    count = flows.num_rows
    columns = [
        pa.repeat(incarnation, count),
        pa.array(keys, pa.binary()),
        pa.repeat(pa.scalar(generation, pa.int64()), count),
        *flows.columns,
    ]
    return pa.table(columns, schema=SCHEMA).sort_by("key")
