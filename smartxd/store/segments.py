"""One time-bounded SQLite file of rows, through ADBC: Arrow in, Arrow out.

``synchronous=FULL``, on purpose. A batch that the centre may have seen must survive a power loss: were it
lost here, its number would be given to other rows, and the centre would have to refuse those. One sync for
each drain of the maps costs nothing that is seen beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import adbc_driver_manager
import adbc_driver_manager.dbapi
import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.records import STREAMS, without
from smartxd.store.batch import Sums, checksum
from smartxd.store.packed import TABLES, packed, unpacked
from smartxd.store.schema import additions, check_version

_ERRORS = (adbc_driver_manager.Error, OSError, pa.ArrowException)
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "mismatch")
"""What the driver's text says of a file that will never be read; it hands on no code of SQLite's."""
_BUSY_MS = 5000
_OWN = Path("temporary file of a query")
FIELDS = "seq, first_row, last_row, rows, packets, bytes, t_min_ns, t_max_ns, checksum"


def _called(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Any:
    return function(*args, **kwargs)


# ADBC takes SIGINT from Python while a query runs, to cancel it. SQLite's driver cannot: a Ctrl-C that comes
# then would be lost, or pass for a file that cannot be read. Python's own handler is called after the query.
adbc_driver_manager.dbapi._blocking_call = _called  # type: ignore[assignment, attr-defined]


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
            check_version(int(self._run("PRAGMA user_version")[0][0]), self.path)
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
        values = "".join(f", {value} AS {name}" for name, value in added.items())
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


class SegmentWriter(_Connection):
    """The only writer of the current segment."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rw")
        try:
            self._run("PRAGMA synchronous=FULL")
            for stream in STREAMS:
                for statement in additions(stream, self._columns(stream)):
                    self._run(statement)
            found = self._run("SELECT stream, max(last_row) FROM batches GROUP BY stream")
            self._last_row = dict.fromkeys(STREAMS, 0) | {stream: int(row) for stream, row in found}
            # From here on a statement belongs to a transaction, which commit() or rollback() ends.
            self._conn.adbc_connection.set_autocommit(False)
        except BaseException:
            self._conn.close()
            raise

    def append(self, incarnation: str, generation: int, batches: Sequence[tuple[str, int, pa.Table]]) -> None:
        """Write ``(stream, seq, rows)`` each and the generation, all or nothing."""
        last_row = dict(self._last_row)
        try:
            with self._conn.cursor() as cursor:
                for stream, seq, table in batches:
                    rows = packed(stream, table)
                    first = last_row[stream] + 1
                    last_row[stream] += rows.num_rows
                    cursor.adbc_ingest(stream, rows, mode="append")
                    cursor.execute(f"SELECT max(rowid) FROM {stream}")
                    if cursor.fetchone() != (last_row[stream],):
                        raise Damaged(self.path, f"table {stream} has rows of no batch")
                    s = Sums.of(stream, table)
                    cursor.execute(
                        "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (stream, seq, first, last_row[stream], *astuple(s), checksum(rows)),
                    )
                cursor.execute("INSERT OR REPLACE INTO generations VALUES (?, ?)", (incarnation, generation))
            self._conn.adbc_connection.commit()
        except BaseException as err:
            with suppress(adbc_driver_manager.Error):  # what went wrong first is what is said
                self._conn.adbc_connection.rollback()
            if isinstance(err, _ERRORS):
                raise _error(self.path, err) from err
            raise
        self._last_row = last_row

    def finish(self) -> None:
        """Fold the write-ahead log into the file; nothing is written to it after this."""
        self._conn.adbc_connection.set_autocommit(True)
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")


class SegmentReader(_Connection):
    """Reads a segment, also while it is written and from another process."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "ro")

    def batches(self, stream: str, after_seq: int, limit: int = -1) -> list[StoredBatch]:
        """The batches whose number is above ``after_seq``, in order."""
        rows = self._run(
            f"SELECT {FIELDS} FROM batches WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
            (stream, after_seq, limit),
        )
        return [StoredBatch(stream, r[0], r[1], r[2], Sums(*r[3:8]), r[8]) for r in rows]

    def generations(self) -> dict[str, int]:
        """The highest generation of each incarnation that this segment has committed."""
        return {str(i): int(g) for i, g in self._run("SELECT incarnation, generation FROM generations")}

    def rows(self, batch: StoredBatch) -> pa.Table:
        """The rows of a batch; Damaged when they are not those that were captured."""
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
