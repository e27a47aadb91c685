"""A connection to a SQLite file of the store, through ADBC, whose errors say which file it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import adbc_driver_manager
import adbc_driver_manager.dbapi
import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa

from smartxd.errors import StoreError
from smartxd.records import without
from smartxd.store import openflows
from smartxd.store.packed import TABLES
from smartxd.store.schema import check_version

ERRORS = (adbc_driver_manager.Error, OSError, pa.ArrowException)
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "mismatch")
"""What the driver's text says of a file that will never be read; it hands on no code of SQLite's."""
_BUSY_MS = 5000
OWN = Path("temporary file of a query")


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


def error(path: Path, err: BaseException) -> StoreError:
    """What one of ``ERRORS`` means for a file: Damaged, or something that may pass."""
    line = (str(err).splitlines() or [type(err).__name__])[0]
    if isinstance(err, pa.ArrowInvalid | pa.ArrowTypeError) or any(word in line for word in _DAMAGE):
        return Damaged(path, line)
    return StoreError(
        f"{path}: {line}", "is the disk full, or may this user not read the file? else restart smartx-capture"
    )


class Connection:
    """An ADBC connection whose errors name the file; without one to a database of its own."""

    def __init__(self, path: Path | None, mode: str = "") -> None:
        self.path = path or OWN
        try:
            uri = f"{path.absolute().as_uri()}?mode={mode}" if path else ""
            self.conn = adbc.connect(uri, autocommit=True)
        except ERRORS as err:
            raise error(self.path, err) from err
        try:
            self.run(f"PRAGMA busy_timeout={_BUSY_MS}")
            self.version = int(self.run("PRAGMA user_version")[0][0])
            check_version(self.version, self.path)
        except BaseException:
            self.conn.close()
            raise

    def run(self, sql: str, args: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement; the few rows that it gives."""
        try:
            with self.conn.cursor() as cursor:
                cursor.execute(sql, tuple(args) or None)
                return list(cursor.fetchall()) if cursor.description else []
        except ERRORS as err:
            raise error(self.path, err) from err

    def table(self, sql: str, args: Sequence[object], schema: pa.Schema, max_rows: int) -> pa.Table:
        """What a query gives, as ``schema``; at most ``max_rows`` rows are expected."""
        try:
            with self.conn.cursor() as cursor:
                # The driver infers a column's type from its first batch of rows: let that be all of them.
                option = {"adbc.sqlite.query.batch_rows": str(max(max_rows, 1))}
                cursor.adbc_statement.set_options(**option)
                cursor.execute(sql, tuple(args) or None)
                table = cursor.fetch_arrow_table().cast(schema)
            table.validate(full=True)  # a flipped bit may leave text that is none
        except ERRORS as err:
            raise error(self.path, err) from err
        return table

    def source(self, stream: str, schema: str = "main") -> str:
        """What to select a stream's rows from: its table, with what an older release left out."""
        found, wanted = self.columns(stream, schema), TABLES[stream]
        if not found:
            return f"(SELECT NULL AS rowid{''.join(f', NULL AS {name}' for name in wanted.names)} WHERE 0)"
        added = without(wanted, found)
        rowid = "" if stream == openflows.TABLE else "rowid, "
        values = "".join(f", {'NULL' if value is None else value} AS {name}" for name, value in added.items())
        return f"(SELECT {rowid}*{values} FROM {schema}.{stream})" if values else f"{schema}.{stream}"

    def columns(self, stream: str, schema: str = "main") -> list[str]:
        """The names of a table's columns; none where there is no such table."""
        return [
            str(name) for (name,) in self.run("SELECT name FROM pragma_table_info(?, ?)", (stream, schema))
        ]

    @contextmanager
    def view(self) -> Iterator[None]:
        """What is read meanwhile is of one moment."""
        self.run("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(StoreError):  # what went wrong first is what is said
                self.run("COMMIT")
            raise
        self.run("COMMIT")

    def close(self) -> None:
        """Close the file; SQLite checkpoints when this was the last connection to it."""
        self.conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
