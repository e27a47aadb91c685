"""The flow store in one SQLite file: rows through ADBC, each batch a run of row numbers.

The file is opened by ADBC alone while the site runs; the standard library's copy of SQLite in the same
process would drop its locks.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
import sqlite_utils

from smartxd.center.flowstore import ConflictError, FlowFilter, Put, Totals
from smartxd.errors import StoreError
from smartxd.records import FLOW, STREAMS
from smartxd.store.batch import BatchKey, Sums
from smartxd.store.schema import check_version, columns, required

VERSION = 1
EXPIRE_INTERVAL_S = 3600
_BUSY_MS = 10_000
_ERRORS = (adbc_driver_manager.Error, OSError, pa.ArrowException)
_NS = 1_000_000_000
_KEY = "box = ? AND stream = ? AND epoch = ?"


class SqliteFlowStore:
    """One writer, which requests share in turn; each read has a connection of its own."""

    def __init__(self, path: Path, retention_s: int) -> None:
        """Open or make the file; StoreError when it cannot be used."""
        self._path = path
        self._retention_s = retention_s
        self._expire_due_s = 0.0
        self._lock = threading.Lock()
        if not path.exists():
            _make(path)
        try:
            self._conn = self._connect("rw")
        except _ERRORS as err:
            raise self._error(err) from err
        try:
            # Durable before the answer: what is acknowledged here, a box may delete.
            for pragma in ("synchronous=FULL", "journal_mode=WAL"):
                self._read(self._conn, f"PRAGMA {pragma}")
            check_version(int(self._read(self._conn, "PRAGMA user_version")[0][0]), path, VERSION)
            self._batch_id = int(self._read(self._conn, "SELECT coalesce(max(id), 0) FROM batches")[0][0])
            self._conn.adbc_connection.set_autocommit(False)
        except BaseException as err:
            self._conn.close()
            if isinstance(err, _ERRORS):
                raise self._error(err) from err
            raise

    def close(self) -> None:
        """Close the file, after the batch that is being written."""
        with self._lock:
            self._conn.close()

    def put_batch(self, key: BatchKey, table: pa.Table, checksum: str) -> Put:
        """Store rows, key and totals in one transaction."""
        with self._lock:
            try:
                result = self._put(key, table, checksum)
                self._conn.adbc_connection.commit()
                self._expire()
            except BaseException as err:
                self._conn.adbc_connection.rollback()
                if isinstance(err, _ERRORS):
                    raise self._error(err) from err
                raise
        return result

    def _put(self, key: BatchKey, table: pa.Table, checksum: str) -> Put:
        found = self._read(self._conn, f"SELECT checksum FROM batches WHERE {_KEY} AND seq = ?", astuple(key))
        if found and found[0][0] == checksum:
            return Put.DUPLICATE
        if found:
            raise ConflictError(f"batch {key.stream}/{key.seq} of {key.box} is here with other content")
        batch_id = self._batch_id + 1
        last = f"SELECT coalesce(max(rowid), 0) FROM {key.stream}"
        before = int(self._read(self._conn, last)[0][0])
        with self._conn.cursor() as cursor:
            ids = pa.repeat(pa.scalar(batch_id, pa.int64()), table.num_rows)
            cursor.adbc_ingest(key.stream, table.append_column("batch", ids), mode="append")
        sums = Sums.of(key.stream, table)
        row = (
            batch_id,
            *astuple(key),
            checksum,
            *astuple(sums),
            before + 1,
            before + sums.rows,
            time.time_ns(),
        )
        self._write(f"INSERT INTO batches VALUES ({', '.join('?' * len(row))})", row)
        self._add_up(key, sums)
        self._batch_id = batch_id
        return Put.STORED

    def _add_up(self, key: BatchKey, sums: Sums) -> None:
        owner = (key.box, key.stream, key.epoch)
        self._write("INSERT OR IGNORE INTO totals VALUES (?, ?, ?, 0, 0, 0, 0, 0, 0)", owner)
        self._write(
            "UPDATE totals SET batches = batches + 1, rows = rows + ?, packets = packets + ?,"
            f" bytes = bytes + ?, max_seq = max(max_seq, ?) WHERE {_KEY}",
            (sums.rows, sums.packets, sums.bytes, key.seq, *owner),
        )
        # Only the batch that follows the run so far can make it longer: up to the first without a successor.
        self._write(
            "UPDATE totals SET contiguous_seq = (SELECT seq FROM batches AS b"
            f" WHERE {_KEY} AND seq >= ? AND NOT EXISTS (SELECT 1 FROM batches WHERE box = b.box"
            " AND stream = b.stream AND epoch = b.epoch AND seq = b.seq + 1) ORDER BY seq LIMIT 1)"
            f" WHERE {_KEY} AND contiguous_seq = ? - 1",
            (*owner, key.seq, *owner, key.seq),
        )

    def _expire(self) -> None:
        """Delete old rows, at most once an hour; their batches and totals stay, so nothing comes twice."""
        if time.monotonic() < self._expire_due_s:
            return
        self._expire_due_s = time.monotonic() + EXPIRE_INTERVAL_S
        before_ns = time.time_ns() - self._retention_s * _NS
        for stream in STREAMS:
            # The last row stays, so that its number is not given out again.
            self._write(
                f"DELETE FROM {stream} WHERE rowid < (SELECT max(rowid) FROM {stream}) AND rowid <="
                " (SELECT max(last_row) FROM batches WHERE stream = ? AND received_ns < ?)",
                (stream, before_ns),
            )
        self._conn.adbc_connection.commit()

    def flows(self, wanted: FlowFilter, limit: int) -> pa.Table:
        """The newest flows, the column ``box`` first."""
        names = ", ".join(f'f."{name}"' for name in FLOW.names)
        where = ["b.stream = 'flows'", "b.t_max_ns >= ?", "f.last_ns >= ?"]
        args: list[object] = [wanted.since_ns, wanted.since_ns]
        for column, value in (
            ("b.box", wanted.box),
            ("f.interface", wanted.interface),
            ("f.policy", wanted.policy),
        ):
            if value is not None:
                where.append(f"{column} = ?")
                args.append(value)
        if wanted.address is not None:
            where.append("? IN (f.src_ip, f.dst_ip, f.inner_src_ip, f.inner_dst_ip)")
            args.append(wanted.address)
        # CROSS JOIN keeps SQLite to this order: the few batches of the time first, then their rows.
        sql = (
            f"SELECT b.box, {names} FROM batches AS b CROSS JOIN flows AS f"
            f" ON f.rowid BETWEEN b.first_row AND b.last_row WHERE {' AND '.join(where)}"
            " ORDER BY f.last_ns DESC LIMIT ?"
        )
        schema = FLOW.insert(0, pa.field("box", pa.string(), nullable=False))
        try:
            with self._connect("ro") as conn, conn.cursor() as cursor:
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(limit)})
                cursor.execute(sql, (*args, limit))
                return cursor.fetch_arrow_table().cast(schema)
        except _ERRORS as err:
            raise self._error(err) from err

    def totals(self, box: str | None = None) -> list[Totals]:
        """Per box, stream and epoch."""
        sql = "SELECT * FROM totals WHERE ? IS NULL OR box = ? ORDER BY box, stream, epoch"
        try:
            with self._connect("ro") as conn:
                return [Totals(*row) for row in self._read(conn, sql, (box, box))]
        except _ERRORS as err:
            raise self._error(err) from err

    def _connect(self, mode: str) -> Any:
        conn = adbc.connect(f"{self._path.absolute().as_uri()}?mode={mode}", autocommit=True)
        self._read(conn, f"PRAGMA busy_timeout={_BUSY_MS}")
        return conn

    def _read(self, conn: Any, sql: str, args: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with conn.cursor() as cursor:
            cursor.execute(sql, tuple(args) or None)
            return list(cursor.fetchall())

    def _write(self, sql: str, args: Sequence[object]) -> None:
        with self._conn.cursor() as cursor:
            cursor.execute(sql, tuple(args))

    def _error(self, err: BaseException) -> StoreError:
        line = (str(err).splitlines() or [type(err).__name__])[0]
        return StoreError(f"{self._path}: {line}", "is the disk full?")


def _make(path: Path) -> None:
    """Make the file under another name first, so that it is there whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    try:
        db = sqlite_utils.Database(fresh)
        try:
            with db.conn:
                key = {"box": str, "stream": str, "epoch": str}
                counts = ("rows", "packets", "bytes")
                places = ("t_min_ns", "t_max_ns", "first_row", "last_row", "received_ns")
                batch = {
                    "id": int,
                    **key,
                    "seq": int,
                    "checksum": str,
                    **dict.fromkeys((*counts, *places), int),
                }
                batches = db.table("batches")
                batches.create(batch, pk="id", not_null=list(batch))
                batches.create_index([*key, "seq"], unique=True)
                batches.create_index(["stream", "t_max_ns"])
                total = {**key, **dict.fromkeys(("batches", *counts, "contiguous_seq", "max_seq"), int)}
                db.table("totals").create(total, pk=tuple(key), not_null=list(total))
                for stream, schema in STREAMS.items():
                    db.table(stream).create(
                        columns(schema) | {"batch": int}, not_null=[*required(schema), "batch"]
                    )
                    db.create_view(
                        f"{stream}_by_box",
                        "SELECT b.box, b.epoch, b.seq, r.*"
                        f" FROM {stream} AS r JOIN batches AS b ON b.id = r.batch",
                    )
                db.conn.execute(f"PRAGMA user_version={VERSION}")
        finally:
            db.close()
        fresh.rename(path)
    except (sqlite3.Error, OSError) as err:
        raise StoreError(f"{path}: {err}", "data_dir must be writable") from err
