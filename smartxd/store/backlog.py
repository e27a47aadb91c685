"""What the centre has not acknowledged yet, as the sender sees it: read in order, settled one by one."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.store.connection import Damaged
from smartxd.store.index import Index
from smartxd.store.segments import SegmentReader, StoredBatch
from smartxd.store.view import Part, Segment

CHUNK = 64
"""Batches that are listed at once."""


class Backlog:
    """The pending batches of a store, for one thread; the store need not be open in this process."""

    def __init__(self, directory: Path) -> None:
        """Open the store's index; StoreError where no store was made."""
        self._directory = directory
        self._index = Index(directory)
        self._reader: SegmentReader | None = None
        self._segment_id = 0

    @property
    def epoch(self) -> str:
        """Names the store."""
        return self._index.epoch

    def close(self) -> None:
        """Close all files."""
        self._leave_segment()
        self._index.close()

    def __enter__(self) -> Backlog:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def pending(self, stream: str) -> list[StoredBatch]:
        """The next batches of a stream, at most CHUNK, of one segment; empty when all is settled.

        A closed file that is gone is counted as tombstoned, a damaged one as quarantined, and the next is
        read; Damaged when it is the one that is written.
        """
        while True:
            with self._index.transaction(write=False):
                view = self._index.view(stream)
            part = view.unsettled
            if part is None:
                return []
            try:
                return self._read(part, stream, view.ledger.settled_seq)
            except StoreError as err:
                if part.span is None:
                    raise
                if not (self._directory / part.segment.name).exists():
                    # Retention was faster, or someone deleted it.
                    self._index.retire(part.segment, "file missing")
                elif isinstance(err, Damaged):
                    self._index.quarantine(part.span, err.message)
                else:
                    raise

    def _read(self, part: Part, stream: str, after: int) -> list[StoredBatch]:
        found = self._enter_segment(part.segment).batches(stream, after, CHUNK)
        first = found[0].seq if found else None
        if first != after + 1 and (found or part.span):
            raise Damaged(self._directory / part.segment.name, f"batch {stream}/{after + 1} is missing")
        return found

    def rows(self, batch: StoredBatch) -> pa.Table:
        """The rows of a batch that ``pending`` gave last, none of one whose rows its policy keeps no longer.

        Damaged when they are not what was captured.
        """
        assert self._reader is not None
        return self._reader.rows(batch)

    def received(self, batch: StoredBatch) -> None:
        """The centre has it."""
        self._index.settle(batch, "received")

    def quarantine(self, batch: StoredBatch, message: str) -> None:
        """It cannot be sent: it is counted, and stays in its file."""
        self._index.settle(batch, "quarantined", message)

    def tombstone(self, batch: StoredBatch) -> None:
        """Its rows are gone, and nobody has them: its policy kept them no longer."""
        self._index.settle(batch, "tombstoned", f"retention of TracePolicy {batch.policy}")

    def note_contact(self, at: str | None, error: str = "") -> None:
        """Note for status that the centre answered at ``at``, or what stands in the way."""
        self._index.set_contact(at, error)

    def _enter_segment(self, segment: Segment) -> SegmentReader:
        if self._reader is None or self._segment_id != segment.id:
            self._leave_segment()
            self._reader = SegmentReader(self._directory / segment.name)
            self._segment_id = segment.id
        return self._reader

    def _leave_segment(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader = None
