"""Keep no longer what a trace policy keeps no longer, in files that policies share.

Whole files go by what ``smartxd.toml`` says of all (captures.py); what a policy asks for holds within that. A
batch that goes is emptied where it is. It stays in the table of batches, so that its number and its sums are
known: the ledger counts it as tombstoned if nobody has settled it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from smartxd.errors import StoreError
from smartxd.store.connection import Damaged
from smartxd.store.index import Index
from smartxd.store.retention import Bounds, effort_bytes
from smartxd.store.segments import Kept, SegmentReader, StoredBatch
from smartxd.store.view import Segment
from smartxd.store.writer import SegmentWriter
from smartxd.terms import Retention

SWEEP_BYTES = 64 << 20
"""Of one sweep: some tenths of a second, in which nothing is drained."""
SWEEP_BATCHES = 1024
"""Of one policy in one file."""
SWEEP_FILES = 100
"""Closed files that a sweep looks into for the first time."""

Parts = list[tuple[Segment, Kept]]
"""What segments keep of a policy, the oldest first."""


class Sweeper:
    """Empties batches in the segments of a store; for the one process that writes them."""

    def __init__(self, directory: Path, index: Index, warn: Callable[[str], None]) -> None:
        """``warn`` is told of a damaged file, from which nothing can be taken."""
        self._directory = directory
        self._index = index
        self._warn = warn
        self._asked = index.retentions()
        self._present: frozenset[str] = frozenset()
        self._kept: dict[int, dict[str, Kept]] = {}
        """By policy, of each closed segment that was looked into and can be read."""
        self._lost: set[int] = set()
        """Closed segments of which nothing can be said: damaged, or somebody has taken the file."""

    def ask(self, asked: Mapping[str, Retention | None]) -> bool:
        """Note what policies ask for; whether any of it is new.

        What a policy asked for that is not among them holds on: its rows go as was promised when they came.
        """
        self._present = frozenset(asked)
        new = {p: retention for p, retention in asked.items() if self._asked.get(p) != retention}
        for policy, retention in new.items():
            self._note(policy, retention)
        return bool(new)

    def _note(self, policy: str, retention: Retention | None) -> None:
        self._index.set_retention(policy, retention)
        self._asked.pop(policy, None)
        if retention is not None:
            self._asked[policy] = retention

    def is_outdated(self, segment: Segment, now_ns: int) -> bool:
        """Whether a segment holds rows that are too old for their policy."""
        kept = self._read(segment) if self._asked else {}
        return any(
            policy in kept and Bounds.of(retention, now_ns).concern(kept[policy])
            for policy, retention in self._asked.items()
        )

    def sweep(self, now_ns: int, writer: SegmentWriter) -> bool:
        """Empty what policies keep no longer; whether there was more than is done at once.

        ``writer`` is that of the current segment, where the newest batch of each stream stays.
        """
        if not self._asked:
            return False
        *closed, current = self._index.segments()
        unseen = self._look_into(closed)
        held = [(segment, self._kept[segment.id]) for segment in closed if segment.id in self._kept]
        held.append((current, self._read(current)))
        left = SWEEP_BYTES
        for policy, retention in self._asked.items():
            mine = [(segment, kept[policy]) for segment, kept in held if policy in kept]
            bounds = Bounds.of(retention, now_ns, sum(kept.stored_bytes for _, kept in mine))
            left -= self._sweep(policy, bounds, mine, left, writer)
            if left <= 0:
                self._asked[policy] = self._asked.pop(policy)  # the next time the others come first
                return True
        self._retire_empty(closed)
        if not unseen:
            self._forget({policy for _, kept in held for policy in kept})
        return unseen

    def _sweep(self, policy: str, bounds: Bounds, mine: Parts, most_bytes: int, writer: SegmentWriter) -> int:
        """Empty what one policy keeps no longer; the effort in bytes."""
        effort = 0
        for segment, kept in mine:
            if effort < most_bytes and bounds.concern(kept):
                with self._unless_lost(segment):
                    going = bounds.due(self._batches(segment, policy), most_bytes - effort)
                    self._remove(segment, going, writer)
                    bounds = bounds.without(going)
                    effort += effort_bytes(going)
        return effort

    def _batches(self, segment: Segment, policy: str) -> list[StoredBatch]:
        with SegmentReader(self._directory / segment.name) as reader:
            return reader.kept_of(policy, SWEEP_BATCHES, but_newest=segment.closed_s is None)

    def _remove(self, segment: Segment, batches: list[StoredBatch], writer: SegmentWriter) -> None:
        if batches and segment.closed_s is None:
            writer.remove(batches)
        elif batches:
            with SegmentWriter(self._directory / segment.name) as closed:
                closed.remove(batches)
            self._look(segment)

    def _retire_empty(self, closed: list[Segment]) -> None:
        """Unlink the oldest files when nothing is left in them; the next wait, as batches settle in order."""
        for segment in closed:
            if self._kept.get(segment.id) != {}:
                break
            self._index.retire(segment, "retention of its trace policies")
            del self._kept[segment.id]

    def _forget(self, kept: set[str]) -> None:
        """Forget what policies asked for that are not there any more, and nothing of theirs."""
        for policy in self._asked.keys() - self._present - kept:
            self._note(policy, None)

    # What is there

    def _look_into(self, closed: list[Segment]) -> bool:
        """Look into closed segments that are new; whether some are left for the next time."""
        ids = {segment.id for segment in closed}
        self._lost &= ids
        self._kept = {id: kept for id, kept in self._kept.items() if id in ids}
        unseen = [s for s in closed if s.id not in self._kept and s.id not in self._lost]
        for segment in unseen[:SWEEP_FILES]:
            with self._unless_lost(segment):
                self._look(segment)
        return len(unseen) > SWEEP_FILES

    def _look(self, closed: Segment) -> None:
        with SegmentReader(self._directory / closed.name) as reader:
            kept, gone, carried = reader.kept(), reader.gone(), reader.has_open_flows()
        if carried:
            with SegmentWriter(self._directory / closed.name) as writer:
                writer.remove_open_flows()
        if gone:  # a process before may have been killed before it said so
            self._index.note_gone(closed, gone)
        self._kept[closed.id] = kept

    def _read(self, segment: Segment) -> dict[str, Kept]:
        with SegmentReader(self._directory / segment.name) as reader:
            return reader.kept()

    @contextmanager
    def _unless_lost(self, segment: Segment) -> Iterator[None]:
        """A closed file that is damaged keeps what it has: that is said once, and the others go on."""
        try:
            yield
        except StoreError as err:
            there = (self._directory / segment.name).exists()
            if segment.closed_s is None or (there and not isinstance(err, Damaged)):
                raise
            self._lost.add(segment.id)
            self._kept.pop(segment.id, None)
            if there:
                self._warn(f"{err.message}; what its policies keep no longer stays in it")
