"""What the centre has not acknowledged yet, as the sender sees it: read in order, settled one by one."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.store.index import Index, Segment
from smartxd.store.segments import SegmentReader, StoredBatch

CHUNK = 64
"""Batches that are listed at once."""


class Backlog:
    """The pending batches of a store, for one thread; the store need not be open in this process."""

    def __init__(self, directory: Path) -> None:
        """Open the store's index; StoreError where no store was made."""
        self._directory = directory
        self._index = Index(directory)
        self._reader: SegmentReader | None = None

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
        """The next batches of a stream, at most CHUNK, of one segment; empty when all is settled."""
        after = self._index.ledger(stream).settled_seq
        last = {span.segment: span.last_seq for span in self._index.spans(stream)}
        for segment in self._index.segments():
            if segment.closed_s is None or last.get(segment.id, 0) > after:
                reader = self._enter_segment(segment)
                if reader and (found := reader.batches(stream, after, CHUNK)):
                    return found
        return []

    def rows(self, batch: StoredBatch) -> pa.Table:
        """The rows of a batch that ``pending`` gave last; StoreError when they are damaged."""
        assert self._reader is not None
        return self._reader.rows(batch)

    def received(self, batch: StoredBatch) -> None:
        """The centre has it."""
        self._index.settle(batch, received=True)

    def quarantine(self, batch: StoredBatch, message: str) -> None:
        """It cannot be sent: it is counted, and stays in its file."""
        self._index.settle(batch, received=False, message=message)

    def note_contact(self, at: str | None, error: str = "") -> None:
        """Note for status that the centre answered at ``at``, or what stands in the way."""
        self._index.set_contact(at, error)

    def _enter_segment(self, segment: Segment) -> SegmentReader | None:
        path = self._directory / segment.name
        if self._reader and self._reader.path == path:
            return self._reader
        self._leave_segment()
        try:
            self._reader = SegmentReader(path)
        except StoreError:
            if path.exists() or segment.closed_s is None:
                raise
            # Retention was faster, or someone deleted it: then its rows are gone, and counted.
            self._index.retire(segment, "file missing")
        return self._reader

    def _leave_segment(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader = None
