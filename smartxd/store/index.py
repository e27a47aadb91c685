"""The index of a store: its segments, how far the centre has acknowledged, and where every row went.

Two kinds of commit. What names files and numbers is durable (``synchronous=FULL``): a segment begins, ends or
goes. What the centre can be asked again is not (``NORMAL``): a lost acknowledgement sends a batch twice, and
the centre knows its key.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal

from smartxd.errors import StoreError
from smartxd.records import STREAMS
from smartxd.store.connection import files
from smartxd.store.schema import check_version, make_index, upgrade_index
from smartxd.store.segments import StoredBatch
from smartxd.store.view import NOTHING, Counts, Ledger, Part, Segment, Span, View
from smartxd.terms import Retention

NAME = "index.sqlite"
PATTERN = "flows-*.sqlite"
GAPS_MAX = 1000
INCARNATIONS_MAX = 1000


Fate = Literal["received", "quarantined", "tombstoned"]
"""What becomes of a batch: the centre has it, it cannot be sent, or its rows are not there any more."""


def is_store(directory: Path) -> bool:
    """Whether a store was made there; StoreError where this user may not look."""
    try:
        return (directory / NAME).exists()
    except OSError as err:
        raise StoreError(f"{directory}: {err.strerror}", "captures are for root alone: use sudo") from err


class Index:
    """The index database, for one thread at a time; each thread and process opens its own."""

    def __init__(self, directory: Path, *, create: bool = False, readonly: bool = False) -> None:
        """Open it, with ``create`` made anew in an empty directory; StoreError when it cannot be used."""
        self.path = directory / NAME
        make = create and not is_store(directory)
        if make and any(directory.glob(PATTERN)):
            raise StoreError(
                f"{self.path}: missing beside capture files", f"move {directory} aside to start a new store"
            )
        try:
            if make:
                self._make()
            mode = "ro" if readonly else "rw"
            # Made by one thread, handed to another that alone uses it.
            self._conn = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=5,
                isolation_level=None,
                check_same_thread=False,
            )
        except (sqlite3.Error, OSError) as err:
            raise self._error(err) from err
        try:
            with self._named_errors():
                self._prepare()
            if create:
                with self.transaction(durable=True):
                    upgrade_index(self._conn)
        except BaseException:
            self._conn.close()
            raise

    def _make(self) -> None:
        """A new index, which appears whole: readers look whether it exists, and then read it."""
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as conn:
            conn.execute("PRAGMA journal_mode=WAL")
            conn.execute("BEGIN")
            make_index(conn, str(uuid.uuid4()))
            conn.execute("COMMIT")
        fresh.rename(self.path)

    def _prepare(self) -> None:
        version = int(self._one("PRAGMA user_version")[0])
        check_version(version, self.path)
        if version == 0:
            raise StoreError(
                f"{self.path}: not an index of captures",
                f"move {self.path.parent} aside to start a new store",
            )
        self.epoch = str(self._one("SELECT epoch FROM store")[0])

    def close(self) -> None:
        """Close the file."""
        self._conn.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as err:
            raise self._error(err) from err

    def _error(self, err: sqlite3.Error | OSError) -> StoreError:
        return StoreError(
            f"{self.path}: {err}",
            f"is the disk full, or may you not read it? if it is damaged, move {self.path.parent} aside",
        )

    @contextmanager
    def transaction(self, *, durable: bool = False, write: bool = True) -> Iterator[None]:
        """All or nothing, and one consistent view; durable ones survive a power loss."""
        with self._named_errors():
            self._conn.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._conn.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
                self._conn.execute("COMMIT")
            except BaseException:
                if self._conn.in_transaction:
                    self._conn.execute("ROLLBACK")
                raise

    def _one(self, sql: str, *args: object) -> tuple[int, ...]:
        row: tuple[int, ...] = self._conn.execute(sql, args).fetchone()
        return row

    # Segments

    def segments(self) -> list[Segment]:
        """Those that are there, oldest first; the last one is being written."""
        sql = "SELECT id, name, start_s, closed_s FROM segments ORDER BY id"
        with self._named_errors():
            return [Segment(*row) for row in self._conn.execute(sql)]

    def spans(self, stream: str) -> list[Span]:
        """What the closed segments hold of a stream, oldest first."""
        sql = "SELECT * FROM spans WHERE stream = ? ORDER BY first_seq"
        with self._named_errors():
            rows = self._conn.execute(sql, (stream,)).fetchall()
        return [Span(r[0], r[1], r[2], r[3], Counts(*r[4:8]), Counts(*r[8:12])) for r in rows]

    def view(self, stream: str) -> View:
        """A stream as it is at one moment; within a transaction, without which there is no such moment."""
        self._check_epoch()
        spans = {span.segment: span for span in self.spans(stream)}
        parts = (Part(segment, spans.get(segment.id)) for segment in self.segments())
        return View(self.ledger(stream), tuple(p for p in parts if p.span or p.segment.closed_s is None))

    def _check_epoch(self) -> None:
        if (found := str(self._one("SELECT epoch FROM store")[0])) != self.epoch:
            raise StoreError(f"{self.path}: the store has begun epoch {found}", "it is opened again: wait")

    def spans_of(self, segment: Segment) -> list[Span]:
        """What a closed segment holds, of each stream that it holds anything of."""
        return [s for stream in STREAMS for s in self.spans(stream) if s.segment == segment.id]

    def next_id(self) -> int:
        """Above that of every segment: the newest one is never removed before there is a newer."""
        with self._named_errors():
            return int(self._one("SELECT coalesce(max(id), 0) + 1 FROM segments")[0])

    def begin(self, segment: Segment) -> None:
        """List a segment, from now on the one that is written; within a durable transaction."""
        row = (segment.id, segment.name, segment.start_s, segment.closed_s)
        self._conn.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", row)

    def end(self, segment: Segment, spans: list[Span], generations: dict[str, int], now_s: int) -> None:
        """Close the segment and keep what it holds; within a durable transaction."""
        self._conn.execute("UPDATE segments SET closed_s = ? WHERE id = ?", (now_s, segment.id))
        for span in spans:
            row = (span.segment, span.stream, span.first_seq, span.last_seq)
            values = (*row, *span.counts.values, *span.gone.values)
            self._conn.execute("INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            self._conn.execute(
                "UPDATE ledger SET closed_seq = ? WHERE stream = ?", (span.last_seq, span.stream)
            )
        for incarnation, generation in generations.items():
            self._conn.execute(
                "INSERT OR REPLACE INTO generations VALUES (?, ?, ?)", (incarnation, generation, now_s)
            )
        self._conn.execute(
            "DELETE FROM generations WHERE incarnation NOT IN "
            "(SELECT incarnation FROM generations ORDER BY at_s DESC LIMIT ?)",
            (INCARNATIONS_MAX,),
        )

    def generations(self) -> dict[str, int]:
        """The highest generation of each incarnation in closed segments."""
        with self._named_errors():
            return dict(self._conn.execute("SELECT incarnation, generation FROM generations"))

    def retire(self, segment: Segment, message: str) -> None:
        """Unlink a closed segment; what of it is not settled is counted as tombstoned.

        The file goes first: on a full disk that makes the room in which to count. Killed in between, a listed
        file is missing, and whoever finds that retires it.
        """
        with self._named_errors():
            for file in files(self.path.with_name(segment.name)):
                file.unlink(missing_ok=True)
        with self.transaction(durable=True):
            for span in self.spans_of(segment):
                self._give_up(span, "tombstoned", message)
                self._add(span.stream, "retired", span.counts)
            self._conn.execute("DELETE FROM spans WHERE segment = ?", (segment.id,))
            self._conn.execute("DELETE FROM segments WHERE id = ?", (segment.id,))

    def note_gone(self, segment: Segment, gone: Mapping[str, Counts]) -> None:
        """Note how much of each stream has left a closed segment, so that nobody needs to look into it."""
        sets = ", ".join(f"gone_{what} = ?" for what in ("batches", "rows", "packets", "bytes"))
        with self.transaction():
            for stream, counts in gone.items():
                self._conn.execute(
                    f"UPDATE spans SET {sets} WHERE segment = ? AND stream = ?",
                    (*counts.values, segment.id, stream),
                )

    # How long rows are kept

    def retentions(self) -> dict[str, Retention]:
        """What policies have asked for, those that are gone too."""
        with self._named_errors():
            return {r[0]: Retention(r[1], r[2]) for r in self._conn.execute("SELECT * FROM retentions")}

    def set_retention(self, policy: str, retention: Retention | None) -> None:
        """Keep what a policy asks for; None: nothing."""
        with self.transaction():
            self._conn.execute("DELETE FROM retentions WHERE policy = ?", (policy,))
            if retention is not None:
                row = (policy, retention.hours, retention.megabytes)
                self._conn.execute("INSERT INTO retentions VALUES (?, ?, ?)", row)

    # What cannot be sent

    def quarantine(self, span: Span, message: str) -> None:
        """Count what is not settled of a closed segment as quarantined; its file stays."""
        with self.transaction():
            self._give_up(span, "quarantined", message)

    def _give_up(self, span: Span, fate: str, message: str) -> None:
        ledger = self.ledger(span.stream)
        if span.last_seq <= ledger.settled_seq:
            return
        # Batches settle in order, so all that were captured up to here, less all that are settled.
        up_to = [s.counts for s in self.spans(span.stream) if s.last_seq <= span.last_seq]
        lost = sum(up_to, ledger.retired) - ledger.settled
        self._add(span.stream, fate, lost)
        first = max(ledger.settled_seq + 1, span.first_seq)
        self._gap(span.stream, (first, span.last_seq), lost.rows, fate, message)
        self._settled(span.stream, span.last_seq)

    def renew(self, lost: Segment, message: str) -> None:
        """Go on under a new epoch, without the current segment; within a durable transaction.

        Nobody can say which numbers its batches had, so none of this epoch may be given again. What of it was
        settled stays counted; the rest is not known. Closed segments keep their numbers, in the new epoch.
        """
        self.epoch = str(uuid.uuid4())
        self._conn.execute("UPDATE store SET epoch = ?", (self.epoch,))
        self._conn.execute("DELETE FROM segments WHERE id = ?", (lost.id,))
        for stream in STREAMS:
            ledger = self.ledger(stream)
            closed = ledger.closed_seq
            self._gap(stream, (closed + 1, max(closed + 1, ledger.settled_seq)), 0, "damaged", message)
            if ledger.settled_seq > closed:
                known = sum((s.counts for s in self.spans(stream)), ledger.retired)
                self._add(stream, "retired", ledger.settled - known)
                self._settled(stream, closed)
            self._conn.execute(
                "UPDATE ledger SET acked_seq = min(acked_seq, ?) WHERE stream = ?", (closed, stream)
            )

    # The ledger

    def ledger(self, stream: str) -> Ledger:
        """Where the rows of a stream went."""
        with self._named_errors():
            row = self._conn.execute("SELECT * FROM ledger WHERE stream = ?", (stream,)).fetchone()
        if row is None:  # of a stream that the release which wrote last did not know
            return NOTHING
        received, quarantined, tombstoned, retired = (Counts(*row[i : i + 4]) for i in range(4, 20, 4))
        return Ledger(row[1], row[2], row[3], received, quarantined, tombstoned, retired)

    def settle(self, batch: StoredBatch, fate: Fate, message: str = "") -> None:
        """Count a batch, and go on behind it."""
        counts = batch.counts
        with self.transaction():
            self._check_epoch()
            ledger = self.ledger(batch.stream)
            if batch.seq <= ledger.settled_seq:
                # Its file went while it was on its way: it is tombstoned already.
                self._add(batch.stream, "tombstoned", Counts() - counts)
                self._conn.execute(
                    "UPDATE gaps SET rows = rows - ? WHERE stream = ? AND ? BETWEEN first_seq AND last_seq",
                    (counts.rows, batch.stream, batch.seq),
                )
            elif batch.seq > ledger.settled_seq + 1:
                raise StoreError(
                    f"{self.path}: {batch.stream}/{batch.seq} is settled before {ledger.settled_seq + 1}",
                    "nothing is lost: it is sent again, in order; if this stays, restart smartx-capture",
                )
            else:
                self._settled(batch.stream, batch.seq)
            self._add(batch.stream, fate, counts)
            if fate == "received":
                self._conn.execute(
                    "UPDATE ledger SET acked_seq = max(acked_seq, ?) WHERE stream = ?",
                    (batch.seq, batch.stream),
                )
            else:
                self._gap(batch.stream, (batch.seq, batch.seq), counts.rows, fate, message)

    def _settled(self, stream: str, seq: int) -> None:
        self._conn.execute("UPDATE ledger SET settled_seq = ? WHERE stream = ?", (seq, stream))

    def _add(self, stream: str, fate: str, counts: Counts) -> None:
        sets = ", ".join(
            f"{fate}_{what} = {fate}_{what} + ?" for what in ("batches", "rows", "packets", "bytes")
        )
        self._conn.execute(f"UPDATE ledger SET {sets} WHERE stream = ?", (*counts.values, stream))

    def _gap(self, stream: str, seqs: tuple[int, int], rows: int, cause: str, message: str) -> None:
        first, last = seqs
        # What goes batch by batch for one reason is one gap.
        longer = self._conn.execute(
            "UPDATE gaps SET last_seq = ?, rows = rows + ? WHERE last_seq = ? AND cause = ? AND message = ?"
            " AND id = (SELECT max(id) FROM gaps WHERE stream = ?)",
            (last, rows, first - 1, cause, message, stream),
        )
        if longer.rowcount == 0:
            self._conn.execute(
                "INSERT INTO gaps VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
                (stream, first, last, rows, cause, message, int(time.time())),
            )
        self._conn.execute("DELETE FROM gaps WHERE id <= (SELECT max(id) FROM gaps) - ?", (GAPS_MAX,))

    # What is told to the operator

    def contact(self) -> tuple[str | None, str]:
        """When the centre last answered (RFC 3339), and what stands in the way now."""
        with self._named_errors():
            at, error = self._conn.execute("SELECT at, error FROM contact").fetchone()
        return at, error

    def set_contact(self, at: str | None, error: str) -> None:
        """Note an answer (``at``) or a failure (None keeps the time of the last answer)."""
        with self.transaction():
            self._conn.execute("UPDATE contact SET at = coalesce(?, at), error = ?", (at, error))

    def tracers(self) -> tuple[str | None, str]:
        """When the maps were last drained, and the tracers' reports in JSON."""
        with self._named_errors():
            at, reports = self._conn.execute("SELECT at, reports FROM tracers").fetchone()
        return at, reports

    def set_tracers(self, at: str, reports: str) -> None:
        """Keep the tracers' newest reports."""
        with self.transaction():
            self._conn.execute("UPDATE tracers SET at = ?, reports = ?", (at, reports))
