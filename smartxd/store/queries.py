"""Flows out of the segments of a store, from any process: by SQL in each file, merged in Arrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from smartxd.errors import StoreError
from smartxd.records import FLOW
from smartxd.store.index import Index, is_store
from smartxd.store.segments import SegmentReader

MEASURES = ("packets", "skbs", "bytes", "tcp_flags", "first_ns", "last_ns")
KEYS = tuple(name for name in FLOW.names if name not in MEASURES)
FLOW_KEY = tuple(name for name in KEYS if name not in {"policy", "commit_id", "sampled_one_in"})
"""What tells one flow from another on a box."""

GROUPS_MAX = 1 << 20
"""Groups of one segment whose types the driver looks at."""

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LocalFilter:
    """Which flows; None is any. ``since_ns`` is compared with the last packet of a row."""

    since_ns: int
    interface: str | None = None
    policy: str | None = None

    @property
    def where(self) -> tuple[str, list[object]]:
        """The SQL condition, which first skips the batches that are too old, and its arguments."""
        # Rows are in the order of time, but for a clock that jumps: last_ns decides.
        sql = (
            "rowid >= coalesce((SELECT min(first_row) FROM batches WHERE stream = 'flows' AND t_max_ns >= ?),"
            " 1 << 62) AND last_ns >= ?"
        )
        args: list[object] = [self.since_ns, self.since_ns]
        for column, value in (("interface", self.interface), ("policy", self.policy)):
            if value is not None:
                sql += f" AND {column} = ?"
                args.append(value)
        return sql, args


Warn = Callable[[StoreError], None]
"""Told of each file that cannot be read: the rest is given without it."""


def newest(directory: Path, wanted: LocalFilter, limit: int, warn: Warn) -> pa.Table:
    """The newest flow rows as they were captured."""
    where, args = wanted.where
    names = ", ".join(f'"{name}"' for name in FLOW.names)
    sql = f"SELECT {names} FROM flows WHERE {where} ORDER BY last_ns DESC LIMIT ?"
    table = pa.concat_tables(
        [_empty(FLOW), *_each(directory, wanted.since_ns, (sql, [*args, limit], FLOW, limit), warn)]
    )
    return table.sort_by([("last_ns", "descending")]).slice(0, limit)


def top(directory: Path, wanted: LocalFilter, by: Sequence[str], limit: int, warn: Warn) -> pa.Table:
    """Flows added up by some of ``KEYS``, each named once, the most bytes first.

    Columns: those of ``by``, packets, skbs, bytes, first_ns, last_ns.
    """
    where, args = wanted.where
    names = ", ".join(f'"{name}"' for name in by)
    sums = "sum(packets) AS packets, sum(skbs) AS skbs, sum(bytes) AS bytes"
    times = "min(first_ns) AS first_ns, max(last_ns) AS last_ns"
    sql = f"SELECT {names}, {sums}, {times} FROM flows WHERE {where} GROUP BY {names}"
    measures = [FLOW.field(n) for n in ("packets", "skbs", "bytes", "first_ns", "last_ns")]
    schema = pa.schema([*(FLOW.field(name) for name in by), *measures])
    # No limit within a segment: what is small in each can be large in all.
    table = pa.concat_tables(
        [_empty(schema), *_each(directory, wanted.since_ns, (sql, args, schema, GROUPS_MAX), warn)]
    )
    merged = table.group_by(list(by)).aggregate(
        [("packets", "sum"), ("skbs", "sum"), ("bytes", "sum"), ("first_ns", "min"), ("last_ns", "max")]
    )
    merged = merged.rename_columns([*by, "packets", "skbs", "bytes", "first_ns", "last_ns"])
    order = pc.sort_indices(merged, [("bytes", "descending"), ("last_ns", "descending")])
    return merged.take(order.slice(0, limit))


def _each(
    directory: Path, since_ns: int, query: tuple[str, Sequence[object], pa.Schema, int], warn: Warn
) -> list[pa.Table]:
    """What a query gives in each segment that may hold rows of the time."""
    if not is_store(directory):
        raise StoreError(
            f"{directory}: no captures here", "has smartxd capture run on this box? smartxctl status says"
        )
    with Index(directory, readonly=True) as index:
        segments = index.segments()
    tables = []
    for segment in segments:
        if segment.closed_s is not None and segment.closed_s * _NS < since_ns:
            continue
        path = directory / segment.name
        try:
            with SegmentReader(path) as reader:
                tables.append(reader.table(*query))
        except StoreError as err:
            if path.exists():  # else retention unlinked it since the index was read
                warn(err)
    return tables


def _empty(schema: pa.Schema) -> pa.Table:
    return schema.empty_table()
