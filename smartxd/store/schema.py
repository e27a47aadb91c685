"""The tables of the store's files, made by sqlite-utils; a segment's rows are defined by records.py alone.

A segment is opened by ADBC only, the index by the standard library only: two copies of SQLite in one process
would drop each other's POSIX locks on a file that both have open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import sqlite_utils

from smartxd.errors import StoreError
from smartxd.records import STREAMS, without
from smartxd.store import openflows
from smartxd.store.packed import TABLES

VERSION = 2
"""PRAGMA user_version of every file of the store."""

Columns = dict[str, type]

_SQL = {str: "TEXT", int: "INTEGER", bytes: "BLOB"}
_KEPT: Columns = {"policy": str, "stored_bytes": int, "gone": int}
"""Of a batch: whose it is, what it takes of the file, and whether its rows have left it (retention.py)."""


def columns(schema: pa.Schema) -> Columns:
    """The SQLite columns that hold a record."""
    return {f.name: _column(f.type) for f in schema}


def _column(kind: pa.DataType) -> type:
    if pa.types.is_string(kind):
        return str
    return bytes if pa.types.is_binary(kind) else int


def required(schema: pa.Schema) -> list[str]:
    """The columns that are never null."""
    return [f.name for f in schema if not f.nullable]


def additions(stream: str, found: Sequence[str]) -> list[str]:
    """The statements after which a table with the columns ``found``, or none, is of this release."""
    schema = TABLES[stream]
    if not found:
        return [_create(stream)]
    added = []
    for name, value in without(schema, found).items():
        kind = _SQL[_column(schema.field(name).type)]
        default = "" if value is None else f" NOT NULL DEFAULT {value}"
        added.append(f"ALTER TABLE {stream} ADD COLUMN {name} {kind}{default}")
    return added


def _create(name: str) -> str:
    """The statement that makes a table of rows."""
    schema, db = TABLES[name], sqlite_utils.Database(memory=True)
    if name == openflows.TABLE:
        sql = db.create_table_sql(name, columns(schema), pk=openflows.PRIMARY_KEY, not_null=required(schema))
        return f"{sql.rstrip().rstrip(';')} WITHOUT ROWID"
    return db.create_table_sql(name, columns(schema), not_null=required(schema))


def batch_additions(found: Sequence[str]) -> list[str]:
    """The same of the table of batches, which is there."""
    nothing = {str: "''", int: "0"}
    return [
        f"ALTER TABLE batches ADD COLUMN {name} {_SQL[kind]} NOT NULL DEFAULT {nothing[kind]}"
        for name, kind in _KEPT.items()
        if name not in found
    ]


def check_version(found: int, path: Path, known: int = VERSION) -> None:
    """StoreError when a newer release has made the file."""
    if found > known:
        raise StoreError(
            f"{path}: made by a newer release (schema {found}, this one knows {known})",
            "upgrade smartxd, or move the directory aside to start a new store",
        )


def make_segment(path: Path) -> None:
    """Make the file at ``path`` with its tables; no other connection to it may be open in this process."""
    try:
        db = sqlite_utils.Database(path)
        try:
            db.conn.execute("PRAGMA auto_vacuum=INCREMENTAL")  # so that rows can leave before the file does
            db.conn.execute("PRAGMA journal_mode=WAL")
            with db.conn:
                for name in TABLES:
                    db.conn.execute(_create(name))
                counts = ("first_row", "last_row", "rows", "packets", "bytes", "t_min_ns", "t_max_ns")
                batch: Columns = {"stream": str, "seq": int, **dict.fromkeys(counts, int), "checksum": str}
                batch |= _KEPT
                db.table("batches").create(batch, pk=("stream", "seq"), not_null=list(batch))
                generation: Columns = {"incarnation": str, "generation": int}
                db.table("generations").create(generation, pk="incarnation", not_null=list(generation))
                db.conn.execute(f"PRAGMA user_version={VERSION}")
        finally:
            db.close()
    except sqlite3.Error as err:
        raise StoreError(f"{path}: {err}", "is the disk full, or the directory not writable?") from err


_SUMS = ("batches", "rows", "packets", "bytes")
_GONE = tuple(f"gone_{what}" for what in _SUMS)
_RETENTIONS = (
    "CREATE TABLE IF NOT EXISTS retentions (policy TEXT PRIMARY KEY, hours INTEGER, megabytes INTEGER)"
)


def make_index(conn: sqlite3.Connection, epoch: str) -> None:
    """Fill an empty index with its tables, inside the caller's transaction."""
    db = sqlite_utils.Database(conn)
    db.table("store").create({"epoch": str}, not_null=["epoch"])
    segment: Columns = {"id": int, "name": str, "start_s": int, "closed_s": int}
    db.table("segments").create(segment, pk="id", not_null=["id", "name", "start_s"])
    span: Columns = {"segment": int, "stream": str, "first_seq": int, "last_seq": int}
    span |= dict.fromkeys((*_SUMS, *_GONE), int)
    db.table("spans").create(span, pk=("segment", "stream"), not_null=list(span))
    ledger: Columns = {"stream": str, "settled_seq": int, "acked_seq": int, "closed_seq": int}
    for fate in ("received", "quarantined", "tombstoned", "retired"):
        ledger |= {f"{fate}_{what}": int for what in _SUMS}
    db.table("ledger").create(ledger, pk="stream", not_null=list(ledger))
    gap: Columns = {"id": int, "stream": str, "first_seq": int, "last_seq": int, "rows": int}
    gap |= {"cause": str, "message": str, "at_s": int}
    db.table("gaps").create(gap, pk="id", not_null=list(gap))
    generation: Columns = {"incarnation": str, "generation": int, "at_s": int}
    db.table("generations").create(generation, pk="incarnation", not_null=list(generation))
    db.table("contact").create({"id": int, "at": str, "error": str}, pk="id")
    db.table("tracers").create({"id": int, "at": str, "reports": str}, pk="id")
    conn.execute("INSERT INTO store VALUES (?)", (epoch,))
    conn.execute("INSERT INTO contact VALUES (1, NULL, '')")
    conn.execute("INSERT INTO tracers VALUES (1, NULL, '{}')")
    upgrade_index(conn)


def upgrade_index(conn: sqlite3.Connection) -> None:
    """Add to an index what an older release has left out of it."""
    found = {row[1] for row in conn.execute("PRAGMA table_info(spans)")}
    for name in _GONE:
        if name not in found:
            conn.execute(f"ALTER TABLE spans ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")
    conn.execute(_RETENTIONS)
    _add_ledgers(conn)
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    if version < VERSION:  # a full disk would refuse to say again what is so
        conn.execute(f"PRAGMA user_version={VERSION}")


def _add_ledgers(conn: sqlite3.Connection) -> None:
    """Give each stream that an index does not know a ledger of zeros."""
    zeros = ", 0" * (len(conn.execute("PRAGMA table_info(ledger)").fetchall()) - 1)
    conn.executemany(f"INSERT OR IGNORE INTO ledger VALUES (?{zeros})", [(stream,) for stream in STREAMS])
