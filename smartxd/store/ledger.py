"""Read a store from any thread or process: where every captured row is, and what status says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from smartxd.errors import StoreError
from smartxd.records import STREAMS, SYNCED
from smartxd.report import CaptureReport, StreamReport, TracingReport
from smartxd.store.index import Index, is_store
from smartxd.store.segments import SegmentReader
from smartxd.store.view import Counts, Ledger

_TRIES = 3
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """All batches of a stream: captured = received + pending + tombstoned + quarantined."""

    stream: str
    captured: Counts
    pending: Counts
    captured_seq: int
    ledger: Ledger
    """With what is gone, and not settled yet, among the tombstoned."""


def read_totals(directory: Path) -> tuple[str, tuple[StreamTotals, ...]] | None:
    """The store's epoch and the totals of each stream; None where no store was ever made."""
    return _consistent(directory, lambda index: (index.epoch, _totals(directory, index, STREAMS)))


def read_report(directory: Path) -> CaptureReport | None:
    """What status says of captures and sync; None where no store was ever made."""
    return _consistent(directory, lambda index: _report(directory, index))


def _consistent(directory: Path, read: Callable[[Index], _T]) -> _T | None:
    """Read within one view of the index; again when a file of that view was unlinked meanwhile."""
    for left in reversed(range(_TRIES)):
        if not is_store(directory):
            return None
        with Index(directory, readonly=True) as index:
            try:
                with index.transaction(write=False):
                    return read(index)
            except StoreError:
                if not left:
                    raise
    raise AssertionError


def _totals(directory: Path, index: Index, streams: Iterable[str]) -> tuple[StreamTotals, ...]:
    return tuple(_stream_totals(directory, index, stream) for stream in streams)


def _stream_totals(directory: Path, index: Index, stream: str) -> StreamTotals:
    """Pending is counted batch by batch, not as a difference, so that the equation can be checked."""
    view = index.view(stream)
    ledger = view.ledger
    captured, pending, gone, seq = ledger.retired, Counts(), Counts(), ledger.closed_seq
    for segment, span in view.parts:
        if span:
            captured += span.counts
            if span.last_seq <= ledger.settled_seq:
                continue
            if span.first_seq > ledger.settled_seq:
                pending, gone = pending + span.counts - span.gone, gone + span.gone
                continue
        try:
            with SegmentReader(directory / segment.name) as reader:
                batches = reader.batches(stream, 0 if span is None else ledger.settled_seq)
        except StoreError:
            if span is None:
                raise
            # Damaged, or on its way out: all of it that is not settled, which its fate will count.
            pending += captured - ledger.settled
            continue
        for batch in batches:
            seq = max(seq, batch.seq)
            if span is None:
                captured += batch.counts
            if batch.seq > ledger.settled_seq and batch.gone:
                gone += batch.counts
            elif batch.seq > ledger.settled_seq:
                pending += batch.counts
    ledger = replace(ledger, tombstoned=ledger.tombstoned + gone)
    return StreamTotals(stream, captured, pending, seq, ledger)


def _report(directory: Path, index: Index) -> CaptureReport:
    drained_at, tracers = index.tracers()
    contact_at, error = index.contact()
    streams = [
        StreamReport(
            stream=t.stream,
            captured_rows=t.captured.rows,
            received_rows=t.ledger.received.rows,
            pending_rows=t.pending.rows,
            tombstoned_rows=t.ledger.tombstoned.rows,
            quarantined_rows=t.ledger.quarantined.rows,
            captured_batches=t.captured.batches,
            pending_batches=t.pending.batches,
        )
        for t in _totals(directory, index, SYNCED)
    ]
    if tracers.startswith("["):  # of a release that told of nothing else
        tracers = f'{{"tracers": {tracers}}}'
    found = TracingReport.model_validate_json(tracers)
    return CaptureReport(
        epoch=index.epoch,
        at=_time(drained_at),
        tracers=found.tracers,
        undrained=found.undrained,
        streams=tuple(streams),
        last_contact=_time(contact_at),
        sync_error=error,
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
