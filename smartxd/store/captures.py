"""The capture store of a box: what the capture process writes, and what becomes of old files.

A directory of segments (``flows-<number>-<UTC start>.sqlite``) and an index. Rows, their batches and the
generation of the kernel maps that they came from are one transaction in one segment, so a crash leaves all of
a drain or none of it. What bounds all captures takes whole files: on a full disk a DELETE would fail too.
Rows go where a trace policy keeps its own for a shorter time (sweep.py).
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType

import pyarrow as pa

from smartxd.config import CaptureConfig
from smartxd.errors import StoreError
from smartxd.records import STREAMS
from smartxd.report import CaptureReport, TracingReport
from smartxd.store.batch import split
from smartxd.store.connection import Damaged, files, size
from smartxd.store.index import PATTERN, Index
from smartxd.store.ledger import read_report
from smartxd.store.openflows import TimeOuts
from smartxd.store.room import Room
from smartxd.store.schema import make_segment
from smartxd.store.segments import SegmentReader
from smartxd.store.sweep import Sweeper
from smartxd.store.view import Counts, Segment, Span
from smartxd.store.writer import SegmentWriter, carry
from smartxd.terms import Retention

__all__ = ["CaptureStore", "read_report"]

SEGMENTS_PER_BOUND = 8
"""A segment also ends at this fraction of ``disk_max_bytes``, so that the bound costs a part, not all."""

RESERVE_BYTES = 64 << 20
"""The oldest files also go when less of the file system is free: a full disk would refuse even to count."""

SWEEP_INTERVAL_S = 60

NOTHING: Mapping[str, pa.Table] = MappingProxyType({})
SET_ASIDE = ".damaged"
_NS = 1_000_000_000


class StoreLost(StoreError):
    """The file that is written is gone: the store must be opened anew."""


class CaptureStore:
    """The one writer of a directory of captures."""

    def __init__(
        self,
        directory: Path,
        config: CaptureConfig,
        *,
        clock: Callable[[], float] = time.time,
        warn: Callable[[str], None] = lambda _: None,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Open or make the store; StoreError when another process writes it or a newer release made it.

        ``warn`` is told when rows that were stored are lost.
        """
        self.directory = directory
        self._config = config
        self._clock = clock
        self._warn = warn
        self._swept_s = -math.inf
        """When, by the clock, all was swept; before all time while more is left."""
        self._lock = _lock(directory)
        try:
            self._index = Index(directory, create=True)
            self._room = Room(directory, config, self._index, reserve_bytes)
            try:
                with self._named_errors():
                    self._open()
                self._left = frozenset(self._open_incarnations)
                self._sweeper = Sweeper(directory, self._index, warn)
            except BaseException:
                self._index.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def epoch(self) -> str:
        """Names the store, until its current file is lost: no number is given twice within it."""
        return self._index.epoch

    def _open(self) -> None:
        """Undo what a crash left half done, and go on with the segment that was written last."""
        listed = self._index.segments()
        kept = {file.name for segment in listed for file in files(self.directory / segment.name)}
        for file in self.directory.glob(f"{PATTERN}*"):
            if file.name not in kept and file.suffix != SET_ASIDE:
                file.unlink(missing_ok=True)
        for segment in listed:
            if segment.closed_s is not None and not (self.directory / segment.name).exists():
                self._index.retire(segment, "file missing")
        if not listed:
            self._begin()
        try:
            self._open_current()
        except Damaged as err:
            self._set_aside(err)
            self._open_current()

    def _open_current(self) -> None:
        self._current: Segment = self._index.segments()[-1]
        path = self.directory / self._current.name
        if not path.exists():
            raise Damaged(path, "the file is gone")
        with SegmentReader(path) as reader:
            self._generations: dict[str, int] = self._index.generations() | reader.generations()
            self._seq: dict[str, int] = {}
            for stream in STREAMS:
                batches = reader.batches(stream, 0)
                self._seq[stream] = batches[-1].seq if batches else self._index.ledger(stream).closed_seq
        self._writer = SegmentWriter(path)
        self._open_incarnations = self._writer.open_incarnations()
        self._carried_bytes = 0
        self._suspicion: Damaged | None = None

    def _set_aside(self, err: Damaged) -> None:
        """Go on without the current segment, in a new epoch; the newest damaged file is kept for a person."""
        for old in self.directory.glob(f"*{SET_ASIDE}"):
            old.unlink()
        for file in files(self.directory / self._current.name):
            with suppress(FileNotFoundError):
                file.rename(file.with_name(file.name + SET_ASIDE))
        self._begin(lambda: self._index.renew(self._current, err.message))
        self._warn(f"{err.message}; its rows are lost, and batches go on in the new epoch {self.epoch}")

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
        """The highest generation of maps, or position of a ring, whose rows are stored; None before any."""
        return self._generations.get(incarnation)

    def append(
        self,
        incarnation: str,
        generation: int,
        flows: pa.Table,
        losses: pa.Table,
        told: Mapping[str, pa.Table] = NOTHING,
        *,
        keys: pa.Array | None = None,
        time_outs: TimeOuts | None = None,
    ) -> None:
        """Store one drain of the maps, all of it or nothing; no-op for a generation that is stored.

        With ``keys``, one for each of the flows, they go on: rows of one key add up until the flow has ended,
        of which ``time_outs`` say what has. Keys mean nothing to another process: what goes on when the store
        is opened ends with what is written first. Without keys the flows are stored as they are.
        """
        if generation <= self._generations.get(incarnation, -1):
            return
        with self._writing() as add:
            for stream, table in {"losses": losses, **told}.items():
                add(stream, table)
            if keys is None:
                add("flows", flows)
            else:
                self._writer.grow(incarnation, generation, flows, keys)
            if time_outs is not None:
                self._end(add, incarnation, time_outs)
            self._writer.set_generation(incarnation, generation)
        self._generations[incarnation] = generation
        if keys:
            self._open_incarnations.add(incarnation)

    def append_packets(self, ring: str, position: int, packets: pa.Table) -> None:
        """Store what a ring held up to a position, as ``append`` does a generation."""
        if position <= self._generations.get(ring, -1):
            return
        with self._writing() as add:
            add("packets", packets)
            self._writer.set_generation(ring, position)
        self._generations[ring] = position

    def end_flows(self, incarnation: str, time_outs: TimeOuts | None = None) -> None:
        """Store the flows of an incarnation that have ended; without time-outs all that go on."""
        if incarnation not in self._open_incarnations:
            return
        with self._writing() as add:
            self._end(add, incarnation, time_outs)
        if time_outs is None:
            self._open_incarnations.discard(incarnation)

    def _end(
        self, add: Callable[[str, pa.Table], None], incarnation: str, time_outs: TimeOuts | None
    ) -> None:
        for flows in self._writer.ended(incarnation, time_outs, int(self._clock() * _NS)):
            add("flows", flows)

    def end_flows_except(self, incarnations: Collection[str]) -> None:
        """Store all flows that go on of other incarnations."""
        for other in self._open_incarnations - set(incarnations):
            self.end_flows(other)

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str, pa.Table], None]]:
        """A transaction on the segment that is written; gives what adds the rows of a stream to it."""
        try:
            with self._named_errors():
                self._make_room()
                seq = dict(self._seq)

                def add(stream: str, table: pa.Table) -> None:
                    if not table.schema.equals(STREAMS[stream]):
                        raise StoreError(
                            f"{self.directory}: rows for {stream} have another schema than records.py",
                            "is smartxd installed whole, from one release?",
                        )
                    for part in split(table):
                        seq[stream] += 1
                        self._writer.add(stream, seq[stream], part)

                with self._writer.transaction():
                    for left in self._left:
                        self._end(add, left, None)
                    yield add
        except Damaged as err:
            self._writer.close()
            self._set_aside(err)
            self._open_current()
            raise StoreError(err.message, "it is set aside; the next try writes to a new file") from err
        self._seq = seq
        self._left = frozenset()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Every error of the file system is a StoreError: callers tell it from those of the kernel's maps."""
        try:
            yield
        except OSError as err:
            raise StoreError(
                f"{err.filename or self.directory}: {err.strerror}", "is the disk full, or the store moved?"
            ) from err

    def sweep(self, asked: Mapping[str, Retention | None]) -> None:
        """Let go of rows that their policies keep no longer; no-op within a minute of the last time.

        ``asked`` says what policies ask for now; what others asked for last holds on. StoreError when a file
        cannot be written: the next time goes on from there.
        """
        with self._named_errors():
            new, now_s = self._sweeper.ask(asked), self._clock()
            if not new and 0 <= now_s - self._swept_s < SWEEP_INTERVAL_S:
                return
            self._swept_s, now_ns = now_s, int(now_s * 1e9)
            if self._sweeper.is_outdated(self._current, now_ns):
                self._roll_if_there_is_room(int(now_s))  # its last rows can only go when no more come behind
            if self._sweeper.sweep(now_ns, self._writer):
                self._swept_s = -math.inf

    def _roll_if_there_is_room(self, now_s: int) -> None:
        try:
            self._roll(now_s)
        except (StoreLost, Damaged):
            raise
        except StoreError as err:
            self._warn(err.line)

    def suspect(self, err: Damaged) -> None:
        """What a reader, in any thread, has found: if that file is still written, no more rows go there."""
        self._suspicion = err

    def record_tracers(self, at: datetime, found: TracingReport) -> None:
        """Keep what the tracers have counted up to ``at``, for status."""
        self._index.set_tracers(at.isoformat(), found.model_dump_json())

    def report(self) -> CaptureReport:
        """What status says of captures and sync."""
        report = read_report(self.directory)
        assert report is not None  # the store is open
        return report

    # Segments

    def _make_room(self) -> None:
        """Unlink what is old, or too much; end the segment when its time or size is up."""
        path = self.directory / self._current.name
        if not path.exists():
            # Rows written to a file without a name would be gone with this process.
            raise StoreLost(f"{path}: removed while it was written", "smartxd capture starts a new one")
        if self._suspicion and self._suspicion.path == path:
            raise self._suspicion
        now_s = int(self._clock())
        # What was carried to it fills no file, or each would be full as soon as it is there.
        most = max(self._config.disk_max_bytes // SEGMENTS_PER_BOUND, 4 * self._carried_bytes)
        ends = self._start_s(now_s) != self._current.start_s or size(*files(path)) >= most
        self._room.make(now_s, self._writer.carry_bytes() if ends else 0)
        if ends:
            self._roll(now_s)

    def _start_s(self, now_s: int) -> int:
        return now_s - now_s % self._config.segment_s

    def _roll(self, now_s: int) -> None:
        with SegmentReader(self.directory / self._current.name) as reader:
            found = [_span(self._current.id, stream, reader) for stream in STREAMS]
            generations = reader.generations()
        spans = [span for span in found if span]
        if not generations and not spans:
            return  # nothing was written to it: it serves on
        path = self.directory / self._current.name
        self._begin(lambda: self._index.end(self._current, spans, generations, now_s), before=path)
        with suppress(StoreError):
            self._writer.finish()  # else SQLite does so when the next reader leaves
        self._writer.close()
        try:
            self._open_current()
        except StoreError as err:
            raise StoreLost(err.message, "smartxd capture tries again when it starts again") from err
        if self._open_incarnations:
            self._carried_bytes = size(*files(self.directory / self._current.name))

    def _begin(self, ending: Callable[[], None] = lambda: None, before: Path | None = None) -> None:
        """Make the next segment, and list it in one transaction with what becomes of the one before.

        The flows that go on in ``before`` go on in the next one.
        """
        id_, start_s = self._index.next_id(), self._start_s(int(self._clock()))
        name = f"flows-{id_:06d}-{datetime.fromtimestamp(start_s, UTC):%Y%m%dT%H%M%SZ}.sqlite"
        segment = Segment(id_, name, start_s, None)
        try:
            make_segment(self.directory / name)
            if before is not None and self._open_incarnations:
                carry(before, self.directory / name)
            with self._index.transaction(durable=True):
                ending()
                self._index.begin(segment)
        except BaseException:
            for file in files(self.directory / name):
                file.unlink(missing_ok=True)
            raise


def _span(segment: int, stream: str, reader: SegmentReader) -> Span | None:
    batches = reader.batches(stream, 0)
    if not batches:
        return None
    counts = sum((b.counts for b in batches), Counts())
    gone = sum((b.counts for b in batches if b.gone), Counts())
    return Span(segment, stream, batches[0].seq, batches[-1].seq, counts, gone)


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
