"""Writes a segment: batches, generations, and the flows that go on.

``synchronous=FULL``, on purpose. A batch that the centre may have seen must survive a power loss: were it
lost here, its number would be given to other rows, and the centre would have to refuse those. One sync for
each drain of the maps costs nothing that is seen beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import adbc_driver_manager
import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.records import FLOW, STREAMS
from smartxd.store import openflows
from smartxd.store.batch import Sums, checksum
from smartxd.store.connection import ERRORS, Connection, Damaged, error
from smartxd.store.openflows import TimeOuts
from smartxd.store.packed import TABLES, packed
from smartxd.store.schema import VERSION, additions, batch_additions
from smartxd.store.segments import StoredBatch

_TAKEN = (
    "SELECT (page_count - freelist_count) * page_size"
    " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
"""How much of a file is in use."""
_CARRIED_ROW_BYTES = 1024
"""Of plain IPv4 174 in the file and as many in its log were measured; flows in tunnels take more."""


def _taken(cursor: Any) -> int:
    cursor.execute(_TAKEN)
    return int(cursor.fetchone()[0])


class SegmentWriter(Connection):
    """The only writer of the current segment."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rw")
        try:
            self.run("PRAGMA synchronous=FULL")
            self.run("PRAGMA secure_delete=FAST")  # what is left of a page shows nothing of what was there
            for stream in TABLES:
                for statement in additions(stream, self.columns(stream)):
                    self.run(statement)
            for statement in batch_additions(self.columns("batches")):
                self.run(statement)
            if self.version < VERSION:
                self.run(f"PRAGMA user_version={VERSION}")
            found = self.run("SELECT stream, max(last_row) FROM batches GROUP BY stream")
            self._last_row = dict.fromkeys(STREAMS, 0) | {stream: int(row) for stream, row in found}
            # From here on a statement belongs to a transaction, which commit() or rollback() ends.
            self.conn.adbc_connection.set_autocommit(False)
        except BaseException:
            self.conn.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written meanwhile is written whole, or nothing of it."""
        last_row = dict(self._last_row)
        try:
            yield
            self.conn.adbc_connection.commit()
        except BaseException as err:
            self._last_row = last_row
            self._roll_back()
            if isinstance(err, ERRORS):
                raise error(self.path, err) from err
            raise

    def add(self, stream: str, seq: int, table: pa.Table) -> None:
        """Write a batch; within a transaction."""
        rows = packed(stream, table)
        first, last = self._last_row[stream] + 1, self._last_row[stream] + rows.num_rows
        with self.conn.cursor() as cursor:
            before = _taken(cursor)
            cursor.adbc_ingest(stream, rows, mode="append")
            cursor.execute(f"SELECT max(rowid) FROM {stream}")
            if cursor.fetchone() != (last,):
                raise Damaged(self.path, f"table {stream} has rows of no batch")
            kept = (table["policy"][0].as_py(), _taken(cursor) - before, 0)  # a batch is of one policy
            row = (stream, seq, first, last, *astuple(Sums.of(stream, table)), checksum(rows), *kept)
            cursor.execute(f"INSERT INTO batches VALUES ({', '.join('?' * len(row))})", row)
        self._last_row[stream] = last

    def set_generation(self, incarnation: str, generation: int) -> None:
        """Write that a generation is stored; within a transaction."""
        self.run("INSERT OR REPLACE INTO generations VALUES (?, ?)", (incarnation, generation))

    def open_incarnations(self) -> set[str]:
        """Those of which flows go on."""
        return {str(i) for (i,) in self.run(f"SELECT DISTINCT incarnation FROM {openflows.TABLE}")}

    def carry_bytes(self) -> int:
        """About how much room ``carry`` takes, in the next file and in the log before it."""
        return _CARRIED_ROW_BYTES * int(self.run(f"SELECT count(*) FROM {openflows.TABLE}")[0][0])

    def grow(self, incarnation: str, generation: int, flows: pa.Table, keys: pa.Array) -> None:
        """Add flows to those that go on; within a transaction."""
        with self.conn.cursor() as cursor:
            for rows in openflows.rows(incarnation, generation, flows, keys):
                cursor.executemany(openflows.GROW, rows)

    def ended(self, incarnation: str, time_outs: TimeOuts | None, now_ns: int) -> Iterator[pa.Table]:
        """Take what has ended from the flows that go on, a part at a time; within a transaction.

        Without time-outs that is all of them.
        """
        table, where = openflows.TABLE, "incarnation = ?"
        count = int(self.run(f"SELECT count(*) FROM {table} WHERE {where}", (incarnation,))[0][0])
        reason, args = openflows.ALL
        if time_outs is not None:
            newest = f"SELECT last_ns FROM {table} WHERE {where} ORDER BY last_ns DESC LIMIT 1 OFFSET ?"
            full = count > time_outs.flows_max
            quiet_since_ns = self.run(newest, (incarnation, time_outs.flows_max - 1))[0][0] if full else 0
            reason, args = time_outs.reason(now_ns, quiet_since_ns)
        names = ", ".join(FLOW.names[:-1])
        part = f"FROM {table} WHERE {where} AND key >= ? AND key < ?"
        take = f"DELETE {part} AND {reason} IS NOT NULL RETURNING {names}, {reason} AS end_reason"
        for keys in openflows.parts(count):
            bounds = [incarnation, *keys]
            most = int(self.run(f"SELECT count(*) {part}", bounds)[0][0])
            yield self.table(take, [*bounds, *args, *args], FLOW, most).sort_by("last_ns")

    def remove(self, batches: Sequence[StoredBatch]) -> None:
        """Take the rows of batches out of the file, all or nothing, which makes it smaller.

        Their numbers and sums stay. Of a segment that is still written the newest batch of a stream must not
        be among them: the next row would be given the number of a row that was.
        """
        with self._shrinking() as cursor:
            for batch in batches:
                rows = (batch.first_row, batch.last_row)
                cursor.execute(f"DELETE FROM {batch.stream} WHERE rowid BETWEEN ? AND ?", rows)
                names = (batch.stream, batch.seq)
                cursor.execute("UPDATE batches SET gone = 1 WHERE stream = ? AND seq = ?", names)

    def remove_open_flows(self) -> None:
        """Take the flows that go on in the next segment out of this one."""
        with self._shrinking() as cursor:
            cursor.execute(f"DELETE FROM {openflows.TABLE}")

    @contextmanager
    def _shrinking(self) -> Iterator[Any]:
        with self.transaction(), self.conn.cursor() as cursor:
            yield cursor
            # It gives an empty row for each page: execute() would leave off after the first of them.
            cursor.executemany("PRAGMA incremental_vacuum", None)
        # Until then the rows are in the file, if not of the database. Nobody who reads it is waited for.
        self.run("PRAGMA wal_checkpoint(PASSIVE)")

    def _roll_back(self) -> None:
        """What went wrong before is what is said, whatever goes wrong here."""
        try:
            self.conn.adbc_connection.rollback()
        except adbc_driver_manager.Error:
            # A full disk makes SQLite roll back by itself, and then the driver begins no further transaction.
            with suppress(StoreError):
                self.run("BEGIN")

    def finish(self) -> None:
        """Fold the write-ahead log into the file; nothing is written to it after this."""
        self.conn.adbc_connection.set_autocommit(True)
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")


def carry(before: Path, path: Path) -> None:
    """Copy the flows that go on to a segment that was just made."""
    with Connection(path, "rw") as conn:
        conn.run("PRAGMA secure_delete=FAST")
        conn.path = before  # what is wrong is wrong there: this one is new
        conn.run("ATTACH ? AS before", (f"{before.absolute().as_uri()}?mode=ro",))
        conn.run(openflows.CARRY)
        conn.run("DETACH before")
