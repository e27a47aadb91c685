"""What a trace policy says of how long its rows are kept: which batches go before their file does. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from smartxd.store.segments import Kept, StoredBatch
from smartxd.terms import Retention

_MEGABYTE = 1_000_000
_HOUR_NS = 3600 * 10**9
_BATCH_BYTES = 64 << 10
"""What a small batch counts for in an effort: it takes its time too."""


def effort_bytes(batches: Iterable[StoredBatch]) -> int:
    """What it takes to empty these."""
    return sum(max(batch.stored_bytes, _BATCH_BYTES) for batch in batches)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What of a policy is to go: what was last seen before a time, and the oldest while too much is kept."""

    before_ns: int
    excess_bytes: int

    @classmethod
    def of(cls, retention: Retention, now_ns: int, kept_bytes: int = 0) -> Bounds:
        """What goes now, of so much that is kept."""
        hours, most = retention.hours, retention.megabytes
        before_ns = now_ns - hours * _HOUR_NS if hours is not None else 0
        return cls(before_ns, kept_bytes - most * _MEGABYTE if most is not None else 0)

    def concern(self, kept: Kept) -> bool:
        """Whether any of what a segment keeps is to go, if it has the oldest that is kept."""
        return kept.oldest_ns < self.before_ns or self.excess_bytes > 0

    def due(self, batches: Iterable[StoredBatch], most_bytes: int) -> list[StoredBatch]:
        """Which batches go, the oldest first, until it is an effort of ``most_bytes``."""
        going: list[StoredBatch] = []
        freed = effort = 0
        for batch in sorted(batches, key=lambda b: (b.sums.t_max_ns, b.stream, b.seq)):
            wanted = batch.sums.t_max_ns < self.before_ns or freed < self.excess_bytes
            if not wanted or effort >= most_bytes:
                break
            going.append(batch)
            freed += batch.stored_bytes
            effort += effort_bytes((batch,))
        return going

    def without(self, gone: Iterable[StoredBatch]) -> Bounds:
        """What is still to go after these; what was too old counts against the excess too."""
        return Bounds(self.before_ns, self.excess_bytes - sum(batch.stored_bytes for batch in gone))
