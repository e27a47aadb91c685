"""The flow store in one SQLite file: rows through ADBC, each batch a run of row numbers.

The file is opened by ADBC alone while the site runs; the standard library's copy of SQLite in the same
process would drop its locks.
"""

from __future__ import annotations

import bisect
import itertools
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
import pyarrow.compute as pc
import sqlite_utils

from smartxd.center.flowstore import ConflictError, FlowFilter, OverflowingError, Put, Totals
from smartxd.errors import StoreError
from smartxd.records import FLOW, SYNCED
from smartxd.store.batch import BatchKey, Sums
from smartxd.store.schema import additions, check_version, columns, required

VERSION = 1
EXPIRE_ROWS = 65_536
"""Rows deleted in one transaction, so that neither the WAL nor the wait of a batch grows with the backlog."""
SEARCH_ROWS = 262_144
"""Rows looked at in one step of a search, about; the time is looked at between steps."""
SEARCH_MAX_S = 5.0
TOTAL_MAX = 1 << 62
"""SQLite turns a larger sum than its integers hold into a float, and with it the column for every box."""
_BUSY_MS = 10_000
_ERRORS = (adbc_driver_manager.Error, OSError, pa.ArrowException)
_NS = 1_000_000_000
_LAST = 2**63 - 1
_FOUND = FLOW.insert(0, pa.field("box", pa.string(), nullable=False))
_KEY = "box = ? AND stream = ? AND epoch = ?"


class SqliteFlowStore:
    """One writer, which requests share in turn; each read has a connection of its own."""

    def __init__(self, path: Path, retention_s: int) -> None:
        """Open or make the file; StoreError when it cannot be used."""
        self._path = path
        self._retention_s = retention_s
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
            for stream in SYNCED:
                found = self._read(self._conn, "SELECT name FROM pragma_table_info(?)", (stream,))
                for statement in additions(stream, [name for (name,) in found]):
                    self._write(statement)
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
        with self._transaction():
            return self._put(key, table, checksum)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
                self._conn.adbc_connection.commit()
            except BaseException as err:
                self._conn.adbc_connection.rollback()
                if isinstance(err, _ERRORS):
                    raise self._error(err) from err
                raise

    def _put(self, key: BatchKey, table: pa.Table, checksum: str) -> Put:
        found = self._read(self._conn, f"SELECT checksum FROM batches WHERE {_KEY} AND seq = ?", astuple(key))
        if found and found[0][0] == checksum:
            return Put.DUPLICATE
        if found:
            raise ConflictError(f"batch {key.stream}/{key.seq} of {key.box} is here with other content")
        owner = (key.box, key.stream, key.epoch)
        self._write(f"INSERT OR IGNORE INTO totals VALUES (?, ?, ?{', 0' * 7})", owner)
        totals = f"SELECT packets, bytes, pruned_seq FROM totals WHERE {_KEY}"
        packets, sent, pruned = self._read(self._conn, totals, owner)[0]
        if key.seq <= pruned:
            return Put.DUPLICATE  # it was here, and was old enough to be forgotten
        sums = Sums.of(key.stream, table)
        if max(packets + sums.packets, sent + sums.bytes) > TOTAL_MAX:
            raise OverflowingError(f"with it, {key.stream} of {key.box} would have counted over {TOTAL_MAX}")
        batch_id = self._batch_id + 1
        # A clock that was set back does not make a batch older than the one before it.
        before, received_ns = self._read(
            self._conn,
            f"SELECT (SELECT coalesce(max(rowid), 0) FROM {key.stream}),"
            " max(?, coalesce((SELECT received_ns FROM batches WHERE id = ?), 0))",
            (time.time_ns(), self._batch_id),
        )[0]
        with self._conn.cursor() as cursor:
            ids = pa.repeat(pa.scalar(batch_id, pa.int64()), table.num_rows)
            cursor.adbc_ingest(key.stream, table.append_column("batch", ids), mode="append")
        row = (
            batch_id,
            *astuple(key),
            checksum,
            *astuple(sums),
            before + 1,
            before + sums.rows,
            received_ns,
        )
        self._write(f"INSERT INTO batches VALUES ({', '.join('?' * len(row))})", row)
        self._add_up(key, sums)
        self._batch_id = batch_id
        return Put.STORED

    def _add_up(self, key: BatchKey, sums: Sums) -> None:
        owner = (key.box, key.stream, key.epoch)
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

    def expire(self) -> bool:
        """Delete rows received longer ago than the retention; of their batches, only the last seq stays."""
        before_ns = time.time_ns() - self._retention_s * _NS
        with self._transaction():
            return any(self._expire(stream, before_ns) for stream in SYNCED)

    def _expire(self, stream: str, before_ns: int) -> bool:
        """From the first row on, up to the first batch that is not old, whatever the clock said later."""
        bounds = (
            "SELECT (SELECT first_row FROM batches WHERE stream = ? AND received_ns >= ? ORDER BY id"
            f" LIMIT 1), (SELECT min(rowid) FROM {stream}), (SELECT max(rowid) FROM {stream})"
        )
        fresh, first, last = self._read(self._conn, bounds, (stream, before_ns))[0]
        if first is None:
            return False
        # The last row stays, so that its number is not given out again.
        old = last if fresh is None else min(fresh, last)
        end = min(old, first + EXPIRE_ROWS)
        self._write(f"DELETE FROM {stream} WHERE rowid < ?", (end,))
        kept = "SELECT id FROM batches WHERE stream = ? AND last_row >= ? ORDER BY id LIMIT 1"
        gone = (stream, self._read(self._conn, kept, (stream, end))[0][0])
        self._write(
            "UPDATE totals SET pruned_seq = max(pruned_seq, gone.seq) FROM (SELECT box, stream, epoch,"
            " max(seq) AS seq FROM batches WHERE stream = ? AND id < ? GROUP BY 1, 2, 3) AS gone"
            " WHERE totals.box = gone.box AND totals.stream = gone.stream AND totals.epoch = gone.epoch",
            gone,
        )
        self._write("DELETE FROM batches WHERE stream = ? AND id < ?", gone)
        return bool(end < old)

    def reusable_bytes(self) -> int:
        """The pages on SQLite's free list, in bytes."""
        sql = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
        try:
            with self._connect("ro") as conn:
                return int(self._read(conn, sql)[0][0])
        except _ERRORS as err:
            raise self._error(err) from err

    def flows(self, wanted: FlowFilter, limit: int) -> pa.Table:
        """The newest flows, the column ``box`` first."""
        deadline_s = time.monotonic() + SEARCH_MAX_S
        found = _FOUND.empty_table()
        try:
            with self._connect("ro") as conn:
                for newest_ns, batches in self._batches(conn, wanted):
                    if found.num_rows == limit and found["last_ns"][-1].as_py() >= newest_ns:
                        break
                    if time.monotonic() > deadline_s:
                        raise StoreError(
                            f"the search took longer than {SEARCH_MAX_S:g} s",
                            "a later `since` makes it shorter",
                        )
                    more = self._search(conn, wanted, batches, limit)
                    both = pa.concat_tables([found, more])
                    newest = pc.sort_indices(both, [("last_ns", "descending")])[:limit]
                    found = both.take(newest)
        except _ERRORS as err:
            raise self._error(err) from err
        return found

    def _batches(self, conn: Any, wanted: FlowFilter) -> Iterator[tuple[int, list[int]]]:
        """The time of the newest, and ids of batches of about SEARCH_ROWS rows; the newest batches first."""
        where, args = _where({"stream": "flows", "box": wanted.box})
        page = (
            f"SELECT t_max_ns, id, rows FROM batches WHERE {where} AND t_max_ns >= ?"
            " AND (t_max_ns, id) < (?, ?) ORDER BY t_max_ns DESC, id DESC LIMIT 500"
        )
        after = (_LAST, _LAST)
        while found := self._read(conn, page, (*args, wanted.since_ns, *after)):
            after = found[-1][:2]
            while found:
                rows = list(itertools.accumulate(row[2] for row in found))
                step = bisect.bisect_left(rows, SEARCH_ROWS) + 1
                yield found[0][0], [row[1] for row in found[:step]]
                found = found[step:]

    def _search(self, conn: Any, wanted: FlowFilter, batches: list[int], limit: int) -> pa.Table:
        where, args = _where({"f.interface": wanted.interface, "f.policy": wanted.policy})
        if wanted.address is not None:
            where += " AND ? IN (f.src_ip, f.dst_ip, f.inner_src_ip, f.inner_dst_ip)"
            args += (wanted.address,)
        names = ", ".join(f'f."{name}"' for name in FLOW.names)
        # CROSS JOIN keeps SQLite to this order: the batches first, then their rows.
        sql = (
            f"SELECT b.box, {names} FROM batches AS b CROSS JOIN flows AS f"
            f" ON f.rowid BETWEEN b.first_row AND b.last_row WHERE b.id IN ({', '.join(map(str, batches))})"
            f" AND {where} AND f.last_ns >= ? ORDER BY f.last_ns DESC LIMIT ?"
        )
        with conn.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(limit)})
            cursor.execute(sql, (*args, wanted.since_ns, limit))
            return cursor.fetch_arrow_table().cast(_FOUND)

    def totals(self, box: str | None = None) -> list[Totals]:
        """Per box, stream and epoch."""
        names = ", ".join(field.name for field in fields(Totals))
        sql = f"SELECT {names} FROM totals WHERE ? IS NULL OR box = ? ORDER BY box, stream, epoch"
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

    def _write(self, sql: str, args: Sequence[object] = ()) -> None:
        with self._conn.cursor() as cursor:
            cursor.execute(sql, tuple(args) or None)

    def _error(self, err: BaseException) -> StoreError:
        line = (str(err).splitlines() or [type(err).__name__])[0]
        return StoreError(f"{self._path}: {line}", "is the disk full?")


def _where(equal: dict[str, str | None]) -> tuple[str, tuple[object, ...]]:
    """The condition that the columns have these values, None being any, and its arguments."""
    given = {column: value for column, value in equal.items() if value is not None}
    return " AND ".join(["TRUE", *(f"{column} = ?" for column in given)]), tuple(given.values())


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
                total = {
                    **key,
                    **dict.fromkeys(("batches", *counts, "contiguous_seq", "max_seq", "pruned_seq"), int),
                }
                db.table("totals").create(total, pk=tuple(key), not_null=list(total))
                for stream, schema in SYNCED.items():
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
