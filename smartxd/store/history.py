"""The history of a box, as commands read it: beside the daemon, which goes on writing."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from smartxd.errors import StoreError
from smartxd.objects import Event, ObjectRef


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which lines of history are wanted; what is empty is not looked at."""

    since: datetime
    object: str = ""
    """``Kind/name``, or ``Kind`` for all of it."""
    kind: str = ""


def read_events(path: Path, wanted: EventFilter, limit: int) -> tuple[Event, ...]:
    """The newest events that are wanted, oldest of them first; none before the daemon's first start.

    StoreError where the file cannot be read.
    """
    if not path.exists():
        return ()
    query = (
        "select at, commit_id, object, kind, message from events"
        " where at >= :since and (:object in ('', object) or object like :object || '/%')"
        " and :kind in ('', kind) order by seq desc limit :limit"
    )
    values = {"since": wanted.since.isoformat(), "object": wanted.object, "kind": wanted.kind, "limit": limit}
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            rows = connection.execute(query, values).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as err:
        raise StoreError(f"{path}: {err}", "may you read it? it is root's, as the daemon is") from err
    return tuple(
        Event(datetime.fromisoformat(at), commit, ObjectRef.parse(object_), kind, message)
        for at, commit, object_, kind, message in reversed(rows)
    )
