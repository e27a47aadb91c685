"""What the index says, as data: segments, the spans of batches in them, and where the rows went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of rows; ``closed_s`` is None for the one that is written."""

    id: int
    name: str
    start_s: int
    closed_s: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What some batches add up to."""

    batches: int = 0
    rows: int = 0
    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self.values, other.values, strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(a - b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def values(self) -> tuple[int, int, int, int]:
        """In the order of the columns."""
        return self.batches, self.rows, self.packets, self.bytes


@dataclass(frozen=True, slots=True)
class Span:
    """What a closed segment holds of a stream."""

    segment: int
    stream: str
    first_seq: int
    last_seq: int
    counts: Counts
    gone: Counts = Counts()
    """Of these, what its policy keeps no longer: rows that have left the file."""


class Part(NamedTuple):
    """A segment that holds rows of a stream, or may yet: there is no span of the one that is written."""

    segment: Segment
    span: Span | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where a stream's rows went; up to ``settled_seq`` received, quarantined or tombstoned."""

    settled_seq: int
    acked_seq: int
    """The highest number that the centre has acknowledged."""
    closed_seq: int
    """The highest number in a segment that is no longer written."""
    received: Counts
    quarantined: Counts
    tombstoned: Counts
    retired: Counts
    """Of files that are unlinked; part of what was captured."""

    @property
    def settled(self) -> Counts:
        """All batches up to ``settled_seq``."""
        return self.received + self.quarantined + self.tombstoned


NOTHING = Ledger(0, 0, 0, Counts(), Counts(), Counts(), Counts())


@dataclass(frozen=True, slots=True)
class View:
    """A stream in one look at the index: its ledger, and its segments in order."""

    ledger: Ledger
    parts: tuple[Part, ...]

    @property
    def unsettled(self) -> Part | None:
        """Where the batch behind the last settled one is, or will be."""
        after = self.ledger.settled_seq
        return next((p for p in self.parts if p.span is None or p.span.last_seq > after), None)
