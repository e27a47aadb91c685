"""The capture store of a box: what the capture process writes, and what becomes of old files.

A directory of segments (``flows-<UTC start>.sqlite``) and an index. Rows, their batches and the generation of
the kernel maps that they came from are one transaction in one segment, so a crash leaves all of a drain or
none of it. Whole files go, never rows: on a full disk a DELETE would fail too.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import pyarrow as pa
from pydantic import TypeAdapter

from smartxd.config import CaptureConfig
from smartxd.errors import StoreError
from smartxd.records import STREAMS
from smartxd.report import CaptureReport, TracerReport
from smartxd.store.batch import split
from smartxd.store.index import Counts, Index, Segment, Span
from smartxd.store.ledger import read_report
from smartxd.store.schema import make_segment
from smartxd.store.segments import SegmentReader, SegmentWriter, size

__all__ = ["CaptureStore", "read_report"]

SEGMENTS_PER_BOUND = 8
"""A segment also ends at this fraction of ``disk_max_bytes``, so that the bound costs a part, not all."""

_TRACERS = TypeAdapter(tuple[TracerReport, ...])


class CaptureStore:
    """The one writer of a directory of captures."""

    def __init__(
        self, directory: Path, config: CaptureConfig, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Open or make the store; StoreError when another process writes it or a newer release made it."""
        self.directory = directory
        self._config = config
        self._clock = clock
        self._lock = _lock(directory)
        try:
            self._index = Index(directory, create=True)
            try:
                self._index.unlink_doomed()
                self._open_current()
            except BaseException:
                self._index.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def epoch(self) -> str:
        """Names the store: batch numbers count from 1 within it."""
        return self._index.epoch

    def _open_current(self) -> None:
        listed = self._index.segments()
        if not listed or listed[-1].closed_s is not None:
            self._begin(None)
            listed = self._index.segments()
        self._current: Segment = listed[-1]
        path = self.directory / self._current.name
        if not path.exists():
            raise StoreError(
                f"{path}: missing, and with it the numbers that its batches had",
                f"move {self.directory} aside to start a new store",
            )
        with SegmentReader(path) as reader:
            self._generations: dict[str, int] = self._index.generations() | reader.generations()
            self._seq: dict[str, int] = {}
            for stream in STREAMS:
                batches = reader.batches(stream, 0)
                self._seq[stream] = batches[-1].seq if batches else self._index.ledger(stream).closed_seq
        self._writer = SegmentWriter(path)

    def close(self) -> None:
        """Close all files; the store can be opened again where it was left."""
        self._writer.close()
        self._index.close()
        os.close(self._lock)

    def __enter__(self) -> CaptureStore:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def committed(self, incarnation: str) -> int | None:
        """The highest generation of these maps whose rows are stored; None before the first."""
        return self._generations.get(incarnation)

    def append(self, incarnation: str, generation: int, flows: pa.Table, losses: pa.Table) -> None:
        """Store one drain of the maps, all of it or nothing; no-op for a generation that is stored."""
        if generation <= self._generations.get(incarnation, -1):
            return
        seq = dict(self._seq)
        batches: list[tuple[str, int, pa.Table]] = []
        for stream, table in {"flows": flows, "losses": losses}.items():
            if not table.schema.equals(STREAMS[stream]):
                raise StoreError(f"{self.directory}: rows for {stream} have another schema than records.py")
            for part in split(table):
                seq[stream] += 1
                batches.append((stream, seq[stream], part))
        self._make_room()
        self._writer.append(incarnation, generation, batches)
        self._seq = seq
        self._generations[incarnation] = generation

    def record_tracers(self, at: datetime, tracers: Sequence[TracerReport]) -> None:
        """Keep what the tracers have counted up to ``at``, for status."""
        self._index.set_tracers(at.isoformat(), _TRACERS.dump_json(tuple(tracers)).decode())

    def report(self) -> CaptureReport:
        """What status says of captures and sync."""
        report = read_report(self.directory)
        assert report is not None  # the store is open
        return report

    # Segments

    def _make_room(self) -> None:
        """End the segment when its time or size is up; unlink what is old, or too much."""
        now_s = int(self._clock())
        full = size(self.directory / self._current.name) * SEGMENTS_PER_BOUND >= self._config.disk_max_bytes
        if self._start_s(now_s) != self._current.start_s or full:
            self._roll()
        closed = [s for s in self._index.segments() if s.closed_s is not None]
        excess = sum(f.stat().st_size for f in self.directory.iterdir()) - self._config.disk_max_bytes
        for segment in closed:
            if excess > 0:
                excess -= size(self.directory / segment.name)
                self._index.retire(segment, "disk_max_bytes reached")
            elif self._aged(segment, now_s) and self._all_settled(segment):
                self._index.retire(segment, "retention_s reached")

    def _start_s(self, now_s: int) -> int:
        return now_s - now_s % self._config.segment_s

    def _aged(self, segment: Segment, now_s: int) -> bool:
        return segment.closed_s is not None and now_s - segment.closed_s > self._config.retention_s

    def _all_settled(self, segment: Segment) -> bool:
        spans = [s for stream in STREAMS for s in self._index.spans(stream) if s.segment == segment.id]
        return all(s.last_seq <= self._index.ledger(s.stream).settled_seq for s in spans)

    def _roll(self) -> None:
        with SegmentReader(self.directory / self._current.name) as reader:
            spans = [span for stream in STREAMS if (span := _span(self._current.id, stream, reader))]
            generations = reader.generations()
        if not generations:
            return  # nothing was written to it: it serves on
        self._begin((spans, generations))
        self._writer.finish()
        self._writer.close()
        self._open_current()

    def _begin(self, ending: tuple[list[Span], dict[str, int]] | None) -> None:
        """Make the next segment, then list it and end the one before in one transaction."""
        now_s = int(self._clock())
        start_s = self._start_s(now_s)
        stem = f"flows-{datetime.fromtimestamp(start_s, UTC):%Y%m%dT%H%M%SZ}"
        name, n = f"{stem}.sqlite", 1
        while (self.directory / name).exists():
            n += 1
            name = f"{stem}-{n}.sqlite"
        make_segment(self.directory / name)
        with self._index.transaction(durable=True):
            if ending:
                self._index.end(self._current, *ending, now_s)
            self._index.begin(name, start_s)


def _span(segment: int, stream: str, reader: SegmentReader) -> Span | None:
    batches = reader.batches(stream, 0)
    if not batches:
        return None
    counts = sum((Counts(1, b.sums.rows, b.sums.packets, b.sums.bytes) for b in batches), Counts())
    return Span(segment, stream, batches[0].seq, batches[-1].seq, counts)


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as err:
        raise StoreError(
            f"{directory}: {err.strerror}", "state_dir in smartxd.toml must be writable"
        ) from err
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(fd)
        raise StoreError(f"{directory}: another capture process writes here", "stop that one first") from err
    return fd
