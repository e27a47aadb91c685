"""One time-bounded SQLite file of rows, through ADBC: Arrow in, Arrow out.

``synchronous=FULL``, on purpose. A batch that the centre may have seen must survive a power loss: were it
lost here, its number would be given to other rows, and the centre would have to refuse those. One sync for
each drain of the maps costs nothing that is seen beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import adbc_driver_manager
import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.records import FLOW, STREAMS, without
from smartxd.store import openflows
from smartxd.store.batch import Sums, checksum
from smartxd.store.openflows import TimeOuts
from smartxd.store.packed import TABLES, packed, unpacked
from smartxd.store.schema import VERSION, additions, batch_additions, check_version
from smartxd.store.view import Counts

_ERRORS = (adbc_driver_manager.Error, OSError, pa.ArrowException)
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "mismatch")
"""What the driver's text says of a file that will never be read; it hands on no code of SQLite's."""
_BUSY_MS = 5000
_OWN = Path("temporary file of a query")
_FIELDS = (
    "stream, seq, first_row, last_row, rows, packets, bytes, t_min_ns, t_max_ns, checksum, policy,"
    " stored_bytes, gone"
)
_OLDER = "(SELECT *, '' AS policy, 0 AS stored_bytes, 0 AS gone FROM batches)"
"""Of a release that knew no retention: nothing has left its files, nor is it said whose its batches are."""
_TAKEN = (
    "SELECT (page_count - freelist_count) * page_size"
    " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
"""How much of a file is in use."""


class Damaged(StoreError):
    """A file, or a batch in it, is not what was written. Any other error may pass by itself."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: damaged: {what}", "smartxd goes on without it; look at the disk's health")
        self.path = path


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


def files(path: Path) -> tuple[Path, Path, Path]:
    """What SQLite keeps for a database in WAL mode, the database first."""
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def size(*paths: Path) -> int:
    """Bytes of all these files; one that is not there, or vanishes meanwhile, has none."""
    total = 0
    for file in paths:
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _error(path: Path, err: BaseException) -> StoreError:
    line = (str(err).splitlines() or [type(err).__name__])[0]
    if isinstance(err, pa.ArrowInvalid | pa.ArrowTypeError) or any(word in line for word in _DAMAGE):
        return Damaged(path, line)
    return StoreError(
        f"{path}: {line}", "is the disk full, or may this user not read the file? else restart smartx-capture"
    )


class _Connection:
    """An ADBC connection whose errors name the file; without one to a database of its own."""

    def __init__(self, path: Path | None, mode: str = "") -> None:
        self.path = path or _OWN
        try:
            uri = f"{path.absolute().as_uri()}?mode={mode}" if path else ""
            self._conn = adbc.connect(uri, autocommit=True)
        except _ERRORS as err:
            raise _error(self.path, err) from err
        try:
            self._run(f"PRAGMA busy_timeout={_BUSY_MS}")
            self._version = int(self._run("PRAGMA user_version")[0][0])
            check_version(self._version, self.path)
        except BaseException:
            self._conn.close()
            raise

    def _run(self, sql: str, args: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._conn.cursor() as cursor:
                cursor.execute(sql, tuple(args) or None)
                return list(cursor.fetchall()) if cursor.description else []
        except _ERRORS as err:
            raise _error(self.path, err) from err

    def find(self, sql: str, args: Sequence[object]) -> list[tuple[Any, ...]]:
        """The few rows that a query gives."""
        return self._run(sql, args)

    def table(self, sql: str, args: Sequence[object], schema: pa.Schema, max_rows: int) -> pa.Table:
        """What a query gives, as ``schema``; at most ``max_rows`` rows are expected."""
        try:
            with self._conn.cursor() as cursor:
                # The driver infers a column's type from its first batch of rows: let that be all of them.
                option = {"adbc.sqlite.query.batch_rows": str(max(max_rows, 1))}
                cursor.adbc_statement.set_options(**option)
                cursor.execute(sql, tuple(args) or None)
                table = cursor.fetch_arrow_table().cast(schema)
            table.validate(full=True)  # a flipped bit may leave text that is none
        except _ERRORS as err:
            raise _error(self.path, err) from err
        return table

    def source(self, stream: str, schema: str = "main") -> str:
        """What to select a stream's rows from: its table, with what an older release left out."""
        found, wanted = self._columns(stream, schema), TABLES[stream]
        if not found:
            return f"(SELECT NULL AS rowid{''.join(f', NULL AS {name}' for name in wanted.names)} WHERE 0)"
        added = without(wanted, found)
        values = "".join(f", {'NULL' if value is None else value} AS {name}" for name, value in added.items())
        return f"(SELECT rowid, *{values} FROM {schema}.{stream})" if values else f"{schema}.{stream}"

    def _columns(self, stream: str, schema: str = "main") -> list[str]:
        return [
            str(name) for (name,) in self._run("SELECT name FROM pragma_table_info(?, ?)", (stream, schema))
        ]

    def close(self) -> None:
        """Close the file; SQLite checkpoints when this was the last connection to it."""
        self._conn.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _taken(cursor: Any) -> int:
    cursor.execute(_TAKEN)
    return int(cursor.fetchone()[0])


class SegmentWriter(_Connection):
    """The only writer of the current segment."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rw")
        try:
            self._run("PRAGMA synchronous=FULL")
            self._run("PRAGMA secure_delete=FAST")  # what is left of a page shows nothing of what was there
            for stream in TABLES:
                for statement in additions(stream, self._columns(stream)):
                    self._run(statement)
            for statement in batch_additions(self._columns("batches")):
                self._run(statement)
            if self._version < VERSION:
                self._run(f"PRAGMA user_version={VERSION}")
            found = self._run("SELECT stream, max(last_row) FROM batches GROUP BY stream")
            self._last_row = dict.fromkeys(STREAMS, 0) | {stream: int(row) for stream, row in found}
            # From here on a statement belongs to a transaction, which commit() or rollback() ends.
            self._conn.adbc_connection.set_autocommit(False)
        except BaseException:
            self._conn.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written meanwhile is written whole, or nothing of it."""
        last_row = dict(self._last_row)
        try:
            yield
            self._conn.adbc_connection.commit()
        except BaseException as err:
            self._last_row = last_row
            self._roll_back()
            if isinstance(err, _ERRORS):
                raise _error(self.path, err) from err
            raise

    def add(self, stream: str, seq: int, table: pa.Table) -> None:
        """Write a batch; within a transaction."""
        rows = packed(stream, table)
        first, last = self._last_row[stream] + 1, self._last_row[stream] + rows.num_rows
        with self._conn.cursor() as cursor:
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
        self._run("INSERT OR REPLACE INTO generations VALUES (?, ?)", (incarnation, generation))

    def open_incarnations(self) -> set[str]:
        """Those of which flows go on."""
        return {str(i) for (i,) in self._run(f"SELECT DISTINCT incarnation FROM {openflows.TABLE}")}

    def grow(self, flows: pa.Table) -> None:
        """Add rows of ``openflows.SCHEMA`` to the flows that go on; within a transaction."""
        with self._conn.cursor() as cursor:
            cursor.executemany(openflows.GROW, flows)

    def ended(self, incarnation: str, time_outs: TimeOuts | None, now_ns: int) -> pa.Table:
        """Take what has ended from the flows that go on, in order of time; within a transaction.

        Without time-outs that is all of them.
        """
        table, where = openflows.TABLE, "incarnation = ?"
        count = int(self._run(f"SELECT count(*) FROM {table} WHERE {where}", (incarnation,))[0][0])
        reason, args = openflows.ALL
        if time_outs is not None:
            newest = f"SELECT last_ns FROM {table} WHERE {where} ORDER BY last_ns DESC LIMIT 1 OFFSET ?"
            full = count > time_outs.flows_max
            quiet_since_ns = self._run(newest, (incarnation, time_outs.flows_max - 1))[0][0] if full else 0
            reason, args = time_outs.reason(now_ns, quiet_since_ns)
        names = ", ".join(FLOW.names[:-1])
        has_ended = f"{where} AND {reason} IS NOT NULL"
        sql = f"DELETE FROM {table} WHERE {has_ended} RETURNING {names}, {reason} AS end_reason"
        taken = self.table(sql, [incarnation, *args, *args], FLOW, count)
        return taken.sort_by("last_ns")

    def remove(self, batches: Sequence[StoredBatch]) -> None:
        """Take the rows of batches out of the file, all or nothing, which makes it smaller.

        Their numbers and sums stay. Of a segment that is still written the newest batch of a stream must not
        be among them: the next row would be given the number of a row that was.
        """
        try:
            with self._conn.cursor() as cursor:
                for batch in batches:
                    rows = (batch.first_row, batch.last_row)
                    cursor.execute(f"DELETE FROM {batch.stream} WHERE rowid BETWEEN ? AND ?", rows)
                    names = (batch.stream, batch.seq)
                    cursor.execute("UPDATE batches SET gone = 1 WHERE stream = ? AND seq = ?", names)
                # It gives an empty row for each page: execute() would leave off after the first of them.
                cursor.executemany("PRAGMA incremental_vacuum", None)
            self._conn.adbc_connection.commit()
            # Until then the rows are in the file, if not of the database. Nobody who reads it is waited for.
            self._run("PRAGMA wal_checkpoint(PASSIVE)")
        except BaseException as err:
            self._roll_back()
            if isinstance(err, _ERRORS):
                raise _error(self.path, err) from err
            raise

    def _roll_back(self) -> None:
        with suppress(adbc_driver_manager.Error):  # what went wrong first is what is said
            self._conn.adbc_connection.rollback()

    def finish(self) -> None:
        """Leave no flow that goes on, and fold the write-ahead log into the file; it is complete."""
        self._conn.adbc_connection.set_autocommit(True)
        self._run(f"DELETE FROM {openflows.TABLE}")
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")


def carry(before: Path, path: Path) -> None:
    """Copy the flows that go on to a segment that was just made."""
    with _Connection(path, "rw") as conn:
        conn.find("ATTACH ? AS before", (f"{before.absolute().as_uri()}?mode=ro",))
        conn.find(openflows.CARRY, ())
        conn.find("DETACH before", ())


class SegmentReader(_Connection):
    """Reads a segment, also while it is written and from another process."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "ro")

    def batches(self, stream: str, after_seq: int, limit: int = -1) -> list[StoredBatch]:
        """The batches whose number is above ``after_seq``, in order."""
        return self._found("stream = ? AND seq > ? ORDER BY seq LIMIT ?", (stream, after_seq, limit))

    def kept(self) -> dict[str, Kept]:
        """What is kept of each policy."""
        sums = "sum(stored_bytes), min(t_max_ns)"
        rows = self._run(f"SELECT policy, {sums} FROM {self._batches} WHERE NOT gone GROUP BY policy")
        return {policy: Kept(*found) for policy, *found in rows}

    def gone(self) -> dict[str, Counts]:
        """What has left, by stream."""
        sums = "count(*), sum(rows), sum(packets), sum(bytes)"
        rows = self._run(f"SELECT stream, {sums} FROM {self._batches} WHERE gone GROUP BY stream")
        return {stream: Counts(*counts) for stream, *counts in rows}

    def kept_of(self, policy: str, limit: int, *, but_newest: bool) -> list[StoredBatch]:
        """The oldest batches kept of a policy; with ``but_newest`` without the last one of each stream."""
        newer = f"(SELECT max(seq) FROM {self._batches} AS newer WHERE newer.stream = batch.stream)"
        where = "policy = ? AND NOT gone" + (f" AND seq < {newer}" if but_newest else "")
        return self._found(f"{where} ORDER BY t_max_ns, stream, seq LIMIT ?", (policy, limit))

    def _found(self, where: str, args: Sequence[object]) -> list[StoredBatch]:
        rows = self._run(f"SELECT {_FIELDS} FROM {self._batches} AS batch WHERE {where}", args)
        return [
            StoredBatch(r[0], r[1], r[2], r[3], Sums(*r[4:9]), r[9], r[10], r[11], bool(r[12])) for r in rows
        ]

    @property
    def _batches(self) -> str:
        return "batches" if "gone" in (found := self._columns("batches")) or not found else _OLDER

    def generations(self) -> dict[str, int]:
        """The highest generation of each incarnation that this segment has committed."""
        return {str(i): int(g) for i, g in self._run("SELECT incarnation, generation FROM generations")}

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


class SegmentMerge(_Connection):
    """Gathers what queries give in one segment after the other.

    A database of nobody else's in a temporary file, which goes with the connection: SQLite keeps in memory no
    more of it than of any other.
    """

    SCHEMA = "segment"
    """By this name a query finds the tables of the segment that is attached."""

    def __init__(self, columns: Sequence[str]) -> None:
        """Make the table ``merged`` with these columns."""
        super().__init__(None)
        names = ", ".join(f'"{name}"' for name in columns)
        self._run(f"CREATE TABLE merged ({names})")

    @contextmanager
    def attached(self, path: Path) -> Iterator[None]:
        """Open a segment for reading; StoreError names it, also for what is asked meanwhile."""
        self.path = path
        try:
            self._run(f"ATTACH ? AS {self.SCHEMA}", (f"{path.absolute().as_uri()}?mode=ro",))
            try:
                version = self._run(f"PRAGMA {self.SCHEMA}.user_version")
                check_version(int(version[0][0]), path)
                yield
            finally:
                self._run(f"DETACH {self.SCHEMA}")
        finally:
            self.path = _OWN

    def add(self, select: str, args: Sequence[object]) -> None:
        """Append the rows of a query to ``merged``, all or none."""
        self._run(f"INSERT INTO merged {select}", args)
