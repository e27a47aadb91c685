"""Rows out of the segments of a store, from any process: by SQL in each file, merged by SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.records import FLOW, STREAMS
from smartxd.store import openflows
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.index import Index, is_store
from smartxd.store.merge import SegmentMerge
from smartxd.store.segments import SegmentReader, StoredBatch
from smartxd.store.view import Segment


def _latest(name: str) -> str:
    """The value that is not null of the last row; text in SQL, as times of 20 digits sort."""
    return f"substr(max(printf('%020d', last_ns) || {name}), 21)"


def _sums(*names: str) -> dict[str, str]:
    return {name: f"sum({name})" for name in names}


_SPAN = {"first_ns": "min(first_ns)", "last_ns": "max(last_ns)"}
_AMOUNTS = {**_sums("packets", "skbs", "bytes"), **_SPAN}
SUMS: Mapping[str, Mapping[str, str]] = {
    "flows": _AMOUNTS,
    "drops": _AMOUNTS,
    "tcp": {
        "state": _latest("state"),
        **_sums("state_changes", "retransmits", "resets_sent", "resets_received"),
        "srtt_last_us": f"CAST({_latest('srtt_last_us')} AS INTEGER)",
        "srtt_min_us": "min(srtt_min_us)",
        "srtt_max_us": "max(srtt_max_us)",
        **_sums("events"),
        **_SPAN,
    },
}
"""Of each stream whose rows can be added up, the columns that are, in SQL: of rows, and of such sums."""

MEASURES = {
    stream: frozenset({*sums, "states" if stream == "tcp" else "tcp_flags"}) for stream, sums in SUMS.items()
}
"""Columns that say how much or what there was, not of what; the sums, and what has none."""


def _columns(stream: str) -> tuple[str, ...]:
    return tuple(name for name in STREAMS[stream].names if name not in MEASURES[stream])


_NOT_KEYS = {"policy", "commit_id", "sampled_one_in", "end_reason"}
KEYS = {stream: tuple(name for name in _columns(stream) if name not in _NOT_KEYS) for stream in SUMS}
"""What tells one flow from another on a box, one drop, one connection."""

TIMES = {"minute": "%Y-%m-%dT%H:%M:00Z", "hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d"}
"""Times (UTC) by which rows can be added up."""

ORDERS = {
    **dict.fromkeys(("flows", "drops"), ("bytes", "packets", "skbs", "last_ns")),
    "tcp": (
        *("retransmits", "resets_sent", "resets_received", "state_changes"),
        *("srtt_last_us", "srtt_max_us", "events", "last_ns"),
    ),
}
"""What can come first."""

_PORTS = {**dict.fromkeys(("flows", "drops"), ("src_port", "dst_port")), "tcp": ("local_port", "remote_port")}
_NS = 1_000_000_000


def _group(stream: str, name: str) -> tuple[str, pa.Field]:
    """What a column to add up by is in SQL, and in the result."""
    if form := TIMES.get(name):
        return f"strftime('{form}', last_ns / {_NS}, 'unixepoch')", pa.field(name, pa.string())
    if name == "port":
        return f"min({', '.join(_PORTS[stream])})", pa.field(name, FLOW.field("src_port").type)
    return f'"{name}"', STREAMS[stream].field(name)


GROUPS = {
    stream: {name: _group(stream, name) for name in (*_columns(stream), "port", *TIMES)} for stream in SUMS
}
"""Columns by which the rows of a stream can be added up; ``port`` is the lower one, mostly the service's."""

Warn = Callable[[StoreError], None]
"""Told of each file that cannot be read: the rest is given without it."""


def newest(directory: Path, wanted: FlowFilter, limit: int, warn: Warn, *, stream: str = "flows") -> pa.Table:
    """The newest rows of a stream that has ``SUMS``, as captured; flows that go on are among them."""
    schema, names, order = STREAMS[stream], _names(stream), "ORDER BY last_ns DESC LIMIT ?"
    with SegmentMerge(schema.names) as merge:
        for segment in _of_the_time(directory, wanted):
            path = directory / segment.name
            with left_out(path, warn), merge.attached(path):
                for rows, args in _sources(merge, segment, wanted, stream):
                    merge.add(f"SELECT {names} FROM {rows} {order}", [*args, limit])
        return merge.table(f"SELECT {names} FROM merged {order}", [limit], schema, limit)


def _sources(
    merge: SegmentMerge, segment: Segment, wanted: FlowFilter, stream: str
) -> Iterator[tuple[str, list[object]]]:
    """In SQL, what to select from of a segment that is attached, with its condition; and the arguments.

    Flows that go on are in the segment that is written, and nowhere else.
    """
    going_on = stream == "flows" and segment.closed_s is None
    for table in (stream, openflows.TABLE) if going_on else (stream,):
        source = merge.source(table, merge.SCHEMA)
        where, args = wanted.where(table, source, merge.run, merge.SCHEMA)
        yield f"{source} WHERE {where}", args


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

    Columns: those of ``by``, and the ``SUMS`` of the stream. A time among ``by`` orders those rows.
    """
    columns, added = GROUPS[stream], SUMS[stream]
    schema = pa.schema([*(columns[name][1] for name in by), *(STREAMS[stream].field(name) for name in added)])
    names = ", ".join(f'"{name}"' for name in by)
    groups = ", ".join(f'{columns[name][0]} AS "{name}"' for name in by)
    numbers = ", ".join(str(n + 1) for n in range(len(by)))
    sums = ", ".join(f"{sql} AS {name}" for name, sql in added.items())
    times = "".join(f'"{name}", ' for name in by if name in TIMES)
    with SegmentMerge(schema.names) as merge:
        for segment in _of_the_time(directory, wanted):
            path = directory / segment.name
            with left_out(path, warn), merge.attached(path):
                for rows, args in _sources(merge, segment, wanted, stream):
                    # No limit within a segment: what is small in each can be large in all.
                    merge.add(f"SELECT {groups}, {sums} FROM {rows} GROUP BY {numbers}", args)
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
    rows = reader.source(stream)
    where, args = wanted.where(stream, rows, reader.run)
    sql = f"SELECT {_names(stream)} FROM {rows} WHERE rowid BETWEEN ? AND ? AND {where} ORDER BY rowid"
    table = reader.table(sql, [first, last, *args], STREAMS[stream], last - first + 1)
    if table.num_rows:
        yield table


@dataclass(slots=True)
class Tail:
    """What is stored from now on: flows that end, and those that go on each time that they have grown."""

    directory: Path
    wanted: FlowFilter
    warn: Warn
    _segment: int = 0
    _row: int = 0
    _generations: dict[str, int] = field(default_factory=dict)
    """Of each incarnation, up to which flows that go on were seen."""
    _damaged: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Go to the end of what is there; StoreError where there is no store."""
        for segment in _listed(self.directory)[-1:]:
            self._segment = segment.id
            with SegmentReader(self.directory / segment.name) as reader:
                self._row = max((b.last_row for b in reader.batches("flows", 0)), default=0)
                self._generations = _generations(reader)

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
                with reader.view():  # and no longer: a view that is held makes the file grow
                    batches = [b for b in reader.batches("flows", 0) if b.last_row > self._row]
                    grown = list(self._grown(reader)) if segment.closed_s is None else []
                for batch in batches:
                    self._row = batch.last_row
                    yield from _rows(reader, self.wanted, batch)
                yield from grown
                self._damaged.remove(segment.name)

    def _grown(self, reader: SegmentReader) -> Iterator[pa.Table]:
        """The flows that go on and were seen in a generation since the last call, with their sums so far."""
        before, self._generations = self._generations, _generations(reader)
        rows = reader.source(openflows.TABLE)
        where, args = self.wanted.where(openflows.TABLE, rows, reader.run)
        source = f"FROM {rows} WHERE incarnation = ? AND generation > ? AND {where}"
        for incarnation, generation in self._generations.items():
            seen = before.get(incarnation, -1)
            if generation > seen:
                grown = [incarnation, seen, *args]
                count = int(reader.run(f"SELECT count(*) {source}", grown)[0][0])
                table = reader.table(
                    f"SELECT {openflows.NAMES} {source} ORDER BY last_ns", grown, FLOW, count
                )
                if count:
                    yield table


def _generations(reader: SegmentReader) -> dict[str, int]:
    """The highest of each incarnation of which flows go on."""
    source = reader.source(openflows.TABLE)
    found = reader.run(f"SELECT incarnation, max(generation) FROM {source} GROUP BY incarnation", ())
    return {str(incarnation): int(generation) for incarnation, generation in found}


def span_ns(directory: Path, *, stream: str = "flows") -> tuple[int, int] | None:
    """The times of the first and the last packet of all rows that are there; None without any."""
    spans: list[tuple[int, int]] = []
    for path in segments(directory, FlowFilter()):
        with suppress(StoreError), SegmentReader(path) as reader:
            kept = [b.sums for b in reader.batches(stream, 0) if not b.gone]
            spans += [(sums.t_min_ns, sums.t_max_ns) for sums in kept]
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
    for segment in _of_the_time(directory, wanted):
        yield directory / segment.name


def _of_the_time(directory: Path, wanted: FlowFilter) -> Iterator[Segment]:
    for segment in _listed(directory):
        if segment.closed_s is None or segment.closed_s * _NS >= wanted.since_ns:
            yield segment


@contextmanager
def left_out(path: Path, warn: Warn) -> Iterator[None]:
    """Goes on without a segment that cannot be read, and says so unless it was unlinked meanwhile."""
    try:
        yield
    except StoreError as err:
        if path.exists():
            warn(err)
