"""One time-bounded SQLite file of rows, as it is read: batches, what is kept of policies, rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.records import STREAMS
from smartxd.store import openflows
from smartxd.store.batch import Sums, checksum
from smartxd.store.connection import Connection, Damaged
from smartxd.store.packed import TABLES, unpacked
from smartxd.store.view import Counts

_FIELDS = (
    "stream, seq, first_row, last_row, rows, packets, bytes, t_min_ns, t_max_ns, checksum, policy,"
    " stored_bytes, gone"
)
_OLDER = "(SELECT *, '' AS policy, 0 AS stored_bytes, 0 AS gone FROM batches)"
"""Of a release that knew no retention: nothing has left its files, nor is it said whose its batches are."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch of a segment; its rows are ``first_row`` to ``last_row``."""

    stream: str
    seq: int
    first_row: int
    last_row: int
    sums: Sums
    checksum: str
    policy: str
    """The trace policy that it is of; empty where an older release has written it."""
    stored_bytes: int
    """By how many bytes it made the file longer: whole pages, so that a small batch may seem to take none."""
    gone: bool
    """Its rows have left the file: its policy keeps them no longer."""

    @property
    def counts(self) -> Counts:
        """What it adds to those of its stream."""
        return Counts(1, self.sums.rows, self.sums.packets, self.sums.bytes)


class Kept(NamedTuple):
    """What a segment keeps of a policy."""

    stored_bytes: int
    oldest_ns: int
    """When the newest row of the oldest batch was seen."""


class SegmentReader(Connection):
    """Reads a segment, also while it is written and from another process."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "ro")

    def batches(self, stream: str, after_seq: int, limit: int = -1) -> list[StoredBatch]:
        """The batches whose number is above ``after_seq``, in order."""
        return self._found("stream = ? AND seq > ? ORDER BY seq LIMIT ?", (stream, after_seq, limit))

    def kept(self) -> dict[str, Kept]:
        """What is kept of each policy."""
        sums = "sum(stored_bytes), min(t_max_ns)"
        rows = self.run(f"SELECT policy, {sums} FROM {self._batches} WHERE NOT gone GROUP BY policy")
        return {policy: Kept(*found) for policy, *found in rows}

    def has_open_flows(self) -> bool:
        """Whether flows go on in it; or went on when it was closed, and go on in the next one."""
        return bool(self.run(f"SELECT EXISTS (SELECT 1 FROM {self.source(openflows.TABLE)})")[0][0])

    def gone(self) -> dict[str, Counts]:
        """What has left, by stream."""
        sums = "count(*), sum(rows), sum(packets), sum(bytes)"
        rows = self.run(f"SELECT stream, {sums} FROM {self._batches} WHERE gone GROUP BY stream")
        return {stream: Counts(*counts) for stream, *counts in rows}

    def kept_of(self, policy: str, limit: int, *, but_newest: bool) -> list[StoredBatch]:
        """The oldest batches kept of a policy; with ``but_newest`` without the last one of each stream."""
        newer = f"(SELECT max(seq) FROM {self._batches} AS newer WHERE newer.stream = batch.stream)"
        where = "policy = ? AND NOT gone" + (f" AND seq < {newer}" if but_newest else "")
        return self._found(f"{where} ORDER BY t_max_ns, stream, seq LIMIT ?", (policy, limit))

    def _found(self, where: str, args: Sequence[object]) -> list[StoredBatch]:
        rows = self.run(f"SELECT {_FIELDS} FROM {self._batches} AS batch WHERE {where}", args)
        return [
            StoredBatch(r[0], r[1], r[2], r[3], Sums(*r[4:9]), r[9], r[10], r[11], bool(r[12])) for r in rows
        ]

    @property
    def _batches(self) -> str:
        return "batches" if "gone" in (found := self.columns("batches")) or not found else _OLDER

    def generations(self) -> dict[str, int]:
        """The highest generation of each incarnation that this segment has committed."""
        return {str(i): int(g) for i, g in self.run("SELECT incarnation, generation FROM generations")}

    def rows(self, batch: StoredBatch) -> pa.Table:
        """The rows of a batch, none of one that is gone; Damaged when they are not what was captured."""
        try:
            return self._captured(batch)
        except StoreError:
            # It may have left since it was listed.
            if any(b.gone for b in self.batches(batch.stream, batch.seq - 1, 1)):
                return STREAMS[batch.stream].empty_table()
            raise

    def _captured(self, batch: StoredBatch) -> pa.Table:
        schema, count = TABLES[batch.stream], batch.last_row - batch.first_row + 1
        names = ", ".join(f'"{name}"' for name in schema.names)
        table = self.table(
            f"SELECT {names} FROM {self.source(batch.stream)} WHERE rowid BETWEEN ? AND ?",
            (batch.first_row, batch.last_row),
            schema,
            count,
        )
        if table.num_rows != count or checksum(table) != batch.checksum:
            raise Damaged(self.path, f"batch {batch.stream}/{batch.seq} fails its checksum")
        return unpacked(batch.stream, table)
