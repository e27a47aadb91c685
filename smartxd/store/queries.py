"""Rows out of the segments of a store, from any process: by SQL in each file, merged by SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.records import FLOW, STREAMS
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.index import Index, is_store
from smartxd.store.segments import SegmentMerge, SegmentReader, StoredBatch
from smartxd.store.view import Segment

MEASURES = ("packets", "skbs", "bytes", "tcp_flags", "first_ns", "last_ns")
ADDED_UP = ("flows", "drops")
"""The streams whose rows can be added up."""
KEYS = {
    stream: tuple(
        name
        for name in STREAMS[stream].names
        if name not in {*MEASURES, "policy", "commit_id", "sampled_one_in"}
    )
    for stream in ADDED_UP
}
"""What tells one flow from another on a box, and one drop."""

TIMES = {"minute": "%Y-%m-%dT%H:%M:00Z", "hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d"}
"""Times (UTC) by which rows can be added up."""

ORDERS = ("bytes", "packets", "skbs", "last_ns")
"""What can come first."""

_SUMS = {
    **{name: f"sum({name})" for name in ("packets", "skbs", "bytes")},
    "first_ns": "min(first_ns)",
    "last_ns": "max(last_ns)",
}
_NS = 1_000_000_000


def _group(schema: pa.Schema, name: str) -> tuple[str, pa.Field]:
    """What a column to add up by is in SQL, and in the result."""
    if form := TIMES.get(name):
        return f"strftime('{form}', last_ns / {_NS}, 'unixepoch')", pa.field(name, pa.string())
    if name == "port":
        return "min(src_port, dst_port)", pa.field(name, FLOW.field("src_port").type)
    return f'"{name}"', schema.field(name)


def _groups(schema: pa.Schema) -> dict[str, tuple[str, pa.Field]]:
    keys = (name for name in schema.names if name not in MEASURES)
    return {name: _group(schema, name) for name in (*keys, "port", *TIMES)}


GROUPS = {stream: _groups(STREAMS[stream]) for stream in ADDED_UP}
"""Columns by which the rows of a stream can be added up; ``port`` is the lower one, mostly the service's."""

Warn = Callable[[StoreError], None]
"""Told of each file that cannot be read: the rest is given without it."""


def newest(directory: Path, wanted: FlowFilter, limit: int, warn: Warn, *, stream: str = "flows") -> pa.Table:
    """The newest rows of flows or drops as they were captured."""
    schema, names, order = STREAMS[stream], _names(stream), "ORDER BY last_ns DESC LIMIT ?"
    with SegmentMerge(schema.names) as merge:
        for path in segments(directory, wanted):
            with left_out(path, warn), merge.attached(path):
                where, args = wanted.where(stream, merge.find, merge.SCHEMA)
                rows = merge.source(stream, merge.SCHEMA)
                merge.add(f"SELECT {names} FROM {rows} WHERE {where} {order}", [*args, limit])
        return merge.table(f"SELECT {names} FROM merged {order}", [limit], schema, limit)


def _names(stream: str) -> str:
    return ", ".join(f'"{name}"' for name in STREAMS[stream].names)


def top(
    directory: Path,
    wanted: FlowFilter,
    by: Sequence[str],
    limit: int,
    warn: Warn,
    *,
    order: str = "bytes",
    stream: str = "flows",
) -> pa.Table:
    """Rows added up by some of the stream's ``GROUPS``, each named once, the most of ``order`` first.

    Columns: those of ``by``, packets, skbs, bytes, first_ns, last_ns. A time among ``by`` orders those rows.
    """
    columns = GROUPS[stream]
    schema = pa.schema([*(columns[name][1] for name in by), *(FLOW.field(name) for name in _SUMS)])
    names = ", ".join(f'"{name}"' for name in by)
    groups = ", ".join(f'{columns[name][0]} AS "{name}"' for name in by)
    numbers = ", ".join(str(n + 1) for n in range(len(by)))
    sums = ", ".join(f"{sql} AS {name}" for name, sql in _SUMS.items())
    times = "".join(f'"{name}", ' for name in by if name in TIMES)
    with SegmentMerge(schema.names) as merge:
        for path in segments(directory, wanted):
            with left_out(path, warn), merge.attached(path):
                where, args = wanted.where(stream, merge.find, merge.SCHEMA)
                # No limit within a segment: what is small in each can be large in all.
                grouped = f"FROM {merge.source(stream, merge.SCHEMA)} WHERE {where} GROUP BY {numbers}"
                merge.add(f"SELECT {groups}, {sums} {grouped}", args)
        largest = (
            f"SELECT {names}, {sums} FROM merged GROUP BY {numbers} "
            f"ORDER BY {order} DESC, last_ns DESC LIMIT ?"
        )
        sql = f"SELECT * FROM ({largest}) ORDER BY {times}{order} DESC, last_ns DESC"
        return merge.table(sql, [limit], schema, limit)


def scan(directory: Path, wanted: FlowFilter, warn: Warn, *, stream: str = "flows") -> Iterator[pa.Table]:
    """The rows of a stream of flows or losses as they were captured, in order, at most a batch at a time."""
    for path in segments(directory, wanted):
        with left_out(path, warn), SegmentReader(path) as reader:
            for batch in reader.batches(stream, 0):
                if wanted.since_ns <= batch.sums.t_max_ns and batch.sums.t_min_ns < wanted.until_ns:
                    yield from _rows(reader, wanted, batch)


def _rows(reader: SegmentReader, wanted: FlowFilter, batch: StoredBatch) -> Iterator[pa.Table]:
    stream, first, last = batch.stream, batch.first_row, batch.last_row
    where, args = wanted.where(stream, reader.find)
    rows = reader.source(stream)
    sql = f"SELECT {_names(stream)} FROM {rows} WHERE rowid BETWEEN ? AND ? AND {where} ORDER BY rowid"
    table = reader.table(sql, [first, last, *args], STREAMS[stream], last - first + 1)
    if table.num_rows:
        yield table


@dataclass(slots=True)
class Tail:
    """What is stored from now on."""

    directory: Path
    wanted: FlowFilter
    warn: Warn
    _segment: int = 0
    _row: int = 0
    _damaged: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Go to the end of what is there; StoreError where there is no store."""
        for segment in _listed(self.directory)[-1:]:
            self._segment = segment.id
            with SegmentReader(self.directory / segment.name) as reader:
                self._row = max((b.last_row for b in reader.batches("flows", 0)), default=0)

    def new(self) -> Iterator[pa.Table]:
        """The rows that were stored since the last call, at most a batch at a time."""
        for segment in _listed(self.directory):
            if segment.id < self._segment or segment.name in self._damaged:
                continue
            if segment.id > self._segment:
                self._segment, self._row = segment.id, 0
            self._damaged.add(segment.name)
            path = self.directory / segment.name
            with left_out(path, self.warn), SegmentReader(path) as reader:
                for batch in reader.batches("flows", 0):
                    if batch.last_row > self._row:
                        self._row = batch.last_row
                        yield from _rows(reader, self.wanted, batch)
                self._damaged.remove(segment.name)


def span_ns(directory: Path, *, stream: str = "flows") -> tuple[int, int] | None:
    """The times of the first and the last packet of all rows that are there; None without any."""
    spans: list[tuple[int, int]] = []
    for path in segments(directory, FlowFilter()):
        with suppress(StoreError), SegmentReader(path) as reader:
            spans += [(b.sums.t_min_ns, b.sums.t_max_ns) for b in reader.batches(stream, 0)]
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None


def _listed(directory: Path) -> list[Segment]:
    if not is_store(directory):
        raise StoreError(
            f"{directory}: no captures here", "has smartxd capture run on this box? smartxctl status says"
        )
    with Index(directory, readonly=True) as index:
        return index.segments()


def segments(directory: Path, wanted: FlowFilter) -> Iterator[Path]:
    """Each segment that may hold rows of the time."""
    for segment in _listed(directory):
        if segment.closed_s is None or segment.closed_s * _NS >= wanted.since_ns:
            yield directory / segment.name


@contextmanager
def left_out(path: Path, warn: Warn) -> Iterator[None]:
    """Goes on without a segment that cannot be read, and says so unless it was unlinked meanwhile."""
    try:
        yield
    except StoreError as err:
        if path.exists():
            warn(err)
