"""What the daemon must not forget: inventory, conditions, history, the applied commit. One SQLite file.

The daemon is the only writer; its threads take turns. Everything is written with ``synchronous=FULL``: the
inventory is one of the two keys of ownership, and it is written before the act that it records.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import sqlite_utils

from smartxd.errors import StoreError
from smartxd.objects import Condition, ConditionType, Event, ObjectRef, OwnedObject

SCHEMA_VERSION = 1
EVENTS_MAX = 10_000
"""Lines of history that are kept; the oldest go first."""

_TABLES: dict[str, tuple[dict[str, type], str | tuple[str, ...]]] = {
    "owned": ({"plane": str, "id": str, "owner": str}, ("plane", "id")),
    "conditions": (
        {
            **{"object": str, "type": str, "status": int, "reason": str},
            **{"message": str, "commit_id": str, "since": str},
        },
        ("object", "type"),
    ),
    "events": (
        {"seq": int, "at": str, "commit_id": str, "object": str, "kind": str, "message": str},
        "seq",
    ),
    "facts": ({"key": str, "value": str}, "key"),
}
"""Columns and primary key of each table."""


class ControlStore:
    """The daemon's memory."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; StoreError when it cannot be used or is of a newer smartxd.

        A damaged file is set aside: what it said of ownership is found again by the marks.
        """
        self._path = path
        self._lock = threading.RLock()
        self._owned: frozenset[OwnedObject] | None = None
        with self._named():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as err:
                if isinstance(err, sqlite3.OperationalError):
                    raise
                self._connection.close()
                aside = path.with_suffix(".damaged")
                path.rename(aside)
                print(f"smartxd: {path} was damaged ({err}) and is now {aside}", file=sys.stderr, flush=True)
                self._open()

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
        self._db = sqlite_utils.Database(self._connection)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")
        verdict = self._connection.execute("pragma quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        self._migrate(self._path)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """One thread at a time, and SQLite's errors as StoreError."""
        try:
            with self._lock:
                yield
        except (OSError, sqlite3.Error) as err:
            raise StoreError(
                f"{self._path}: {err}", "is the disk full? see state_dir in smartxd.toml"
            ) from err

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._named(), self._connection:
            yield self._connection

    def _migrate(self, path: Path) -> None:
        version = int(self._connection.execute("pragma user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path}: made by a newer smartxd (schema {version})", "run that version or later"
            )
        if version == SCHEMA_VERSION:
            return
        for name, (columns, key) in _TABLES.items():
            self._db.table(name).create(dict(columns), pk=key, not_null=set(columns), if_not_exists=True)
        self._connection.execute(f"pragma user_version={SCHEMA_VERSION}")
        self._connection.commit()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def owned(self) -> frozenset[OwnedObject]:
        """The inventory; read from the file once, because this process alone writes it."""
        with self._named():
            if self._owned is None:
                rows = self._connection.execute("select plane, id, owner from owned").fetchall()
                self._owned = frozenset(
                    OwnedObject(plane, id, ObjectRef.parse(owner)) for plane, id, owner in rows
                )
            return self._owned

    def claim(self, objects: Iterable[OwnedObject]) -> None:
        """Enter objects in the inventory, before they are made."""
        rows = [(o.plane, o.id, str(o.owner)) for o in objects]
        if rows:
            with self._transaction() as db:
                db.executemany("insert or replace into owned values (?, ?, ?)", rows)
                self._owned = None

    def release(self, objects: Iterable[OwnedObject]) -> None:
        """Strike objects from the inventory, after they are gone."""
        rows = [(o.plane, o.id) for o in objects]
        if rows:
            with self._transaction() as db:
                db.executemany("delete from owned where plane = ? and id = ?", rows)
                self._owned = None

    def conditions(self) -> tuple[Condition, ...]:
        """All conditions as last saved, sorted by object and type."""
        with self._named():
            rows = self._connection.execute("select * from conditions order by object, type").fetchall()
        return tuple(
            Condition(
                object=ObjectRef.parse(object_),
                type=ConditionType(type_),
                status=bool(status),
                reason=reason,
                message=message,
                commit=commit,
                since=datetime.fromisoformat(since),
            )
            for object_, type_, status, reason, message, commit, since in rows
        )

    def save(self, conditions: Iterable[Condition], events: Iterable[Event], commit: str) -> None:
        """Replace the conditions, add to the history and note the applied commit, in one transaction."""
        with self._transaction() as db:
            db.execute("delete from conditions")
            db.executemany(
                "insert into conditions values (?, ?, ?, ?, ?, ?, ?)",
                [
                    (str(c.object), c.type, c.status, c.reason, c.message, c.commit, c.since.isoformat())
                    for c in conditions
                ],
            )
            db.executemany(
                "insert into events (at, commit_id, object, kind, message) values (?, ?, ?, ?, ?)",
                [(e.at.isoformat(), e.commit, str(e.object), e.kind, e.message) for e in events],
            )
            db.execute("delete from events where seq <= (select max(seq) from events) - ?", (EVENTS_MAX,))
            db.execute("insert or replace into facts values ('commit', ?)", (commit,))

    def commit(self) -> str:
        """The commit that was applied last; empty before the first."""
        with self._named():
            row = self._connection.execute("select value from facts where key = 'commit'").fetchone()
        return str(row[0]) if row else ""

    def events(self, limit: int) -> tuple[Event, ...]:
        """The newest lines of history, oldest of them first."""
        query = "select at, commit_id, object, kind, message from events order by seq desc limit ?"
        with self._named():
            rows = self._connection.execute(query, (limit,)).fetchall()
        return tuple(
            Event(datetime.fromisoformat(at), commit, ObjectRef.parse(obj), kind, message)
            for at, commit, obj, kind, message in reversed(rows)
        )
