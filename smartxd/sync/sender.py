"""Send what the store holds to the centre, in order, until each batch is acknowledged.

A batch is settled only by the centre's answer for its key. What cannot ever be taken is quarantined, counted
and left in its file; everything else is tried again, later and later, for as long as the disk bound allows.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from smartxd.config import CenterConfig, Config
from smartxd.errors import DaemonError, StoreError, SyncError
from smartxd.records import SYNCED
from smartxd.report import BoxReport, CaptureReport, ControlReport
from smartxd.socketclient import fetch_status
from smartxd.store.backlog import Backlog
from smartxd.store.batch import BatchKey
from smartxd.store.connection import Damaged
from smartxd.store.ledger import read_report
from smartxd.store.segments import StoredBatch
from smartxd.sync.protocol import CHECKSUM, CONTENT_TYPE, encode, ingest_path, report_path

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 60.0
SOCKET_TIMEOUT_S = 5.0
_REFUSED_BATCH = (409, 422)
"""The centre looked at the batch and will not have it; any other refusal is about the box or the path."""


class Sender:
    """The one sender of a box; ``run`` is a thread of the capture process."""

    def __init__(
        self, config: Config, store_dir: Path, damaged: Callable[[Damaged], None] = lambda _: None
    ) -> None:
        """Nothing is opened yet. ``damaged`` is told when the file that is being written cannot be read."""
        self._damaged = damaged
        self._config = config
        self._store_dir = store_dir
        self._wake = threading.Event()
        self._report_due_s = 0.0

    def wake(self) -> None:
        """Tell the sender that there is something to send."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop`` is set; returns at once where no centre is configured."""
        center = self._config.center
        if center is None:
            return
        threading.Thread(target=self._wake_at, args=(stop,), name="sync-stop", daemon=True).start()
        failures = 0
        while not stop.is_set():
            self._wake.clear()
            try:
                with _Session(self._config, center, self._store_dir) as session:
                    while not stop.is_set():
                        self._round(session, center, stop)
                        failures = 0
                        self._wake.wait(max(0.0, self._report_due_s - time.monotonic()))
                        self._wake.clear()
            except (SyncError, StoreError) as err:
                failures += 1
                self._note(err)
                # A refusal of the box itself needs a person: no hurry.
                slow = isinstance(err, SyncError) and err.permanent
                delay_s = BACKOFF_MAX_S if slow else min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**failures)
                stop.wait(delay_s * random.uniform(0.5, 1.0))

    def flush(self) -> int:
        """Send all that is pending, once; the number of batches acknowledged. SyncError on failure."""
        assert self._config.center is not None
        with _Session(self._config, self._config.center, self._store_dir) as session:
            return session.send_pending(threading.Event())

    def report(self) -> None:
        """Post the box's report now, once."""
        assert self._config.center is not None
        with _Session(self._config, self._config.center, self._store_dir) as session:
            session.post_report()

    def _wake_at(self, stop: threading.Event) -> None:
        stop.wait()
        self._wake.set()

    def _round(self, session: _Session, center: CenterConfig, stop: threading.Event) -> None:
        failure: SyncError | StoreError | None = None
        try:
            session.send_pending(stop)
        except _UnreachableError:
            raise
        except (SyncError, StoreError) as err:
            failure = err  # a status is worth more, not less, while batches are refused or cannot be read
            if isinstance(err, Damaged):
                self._damaged(err)
        if time.monotonic() >= self._report_due_s:
            session.post_report()
            self._report_due_s = time.monotonic() + center.status_interval_s
        if failure:
            raise failure

    def _note(self, err: SyncError | StoreError) -> None:
        try:
            with Backlog(self._store_dir) as backlog:
                backlog.note_contact(None, err.line)
        except StoreError:
            return  # the store itself is what fails; status says so when it reads it


class _UnreachableError(SyncError):
    """No answer at all."""


class _Session:
    """An open store and a kept-alive connection with the box's token."""

    def __init__(self, config: Config, center: CenterConfig, store_dir: Path) -> None:
        self._config = config
        self._center = center
        self._store_dir = store_dir
        self._client = _client(center)
        try:
            self._backlog = Backlog(store_dir)
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._backlog.close()

    def send_pending(self, stop: threading.Event) -> int:
        """Send batch after batch of each stream; the number acknowledged. SyncError at the first failure."""
        sent = 0
        for stream in SYNCED:
            while pending := self._backlog.pending(stream):
                for batch in pending:
                    if stop.is_set():
                        return sent
                    sent += self._send(batch)
        return sent

    def _send(self, batch: StoredBatch) -> bool:
        try:
            rows = self._backlog.rows(batch)
        except Damaged as err:
            self._backlog.quarantine(batch, err.message)
            return False
        if not rows.num_rows:
            self._backlog.tombstone(batch)
            return False
        key = BatchKey(self._config.box, batch.stream, self._backlog.epoch, batch.seq)
        headers = {"Content-Type": CONTENT_TYPE, CHECKSUM: batch.checksum}
        answer = self._ask("PUT", ingest_path(key), encode(rows), headers)
        if answer.status_code in _REFUSED_BATCH:
            self._backlog.quarantine(batch, _said(answer))
            return False
        self._check(answer)
        self._backlog.received(batch)
        return True

    def post_report(self) -> None:
        """Tell the centre how the box is."""
        report = BoxReport(
            box=self._config.box,
            interval_s=self._center.status_interval_s,
            control=self._control(),
            capture=self._capture(),
        )
        body = report.model_dump_json().encode()
        headers = {"Content-Type": "application/json"}
        self._check(self._ask("POST", report_path(self._config.box), body, headers))
        self._backlog.note_contact(datetime.now(UTC).isoformat())

    def _control(self) -> ControlReport | None:
        try:
            return fetch_status(self._config.socket, SOCKET_TIMEOUT_S)
        except DaemonError:
            return None

    def _capture(self) -> CaptureReport | None:
        try:
            return read_report(self._store_dir)
        except StoreError as err:
            return CaptureReport(epoch=self._backlog.epoch, sync_error=err.line)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        try:
            return self._client.request(method, path, content=body, headers=headers)
        except httpx.HTTPError as err:
            raise _UnreachableError(f"{self._center.url}: {str(err) or type(err).__name__}") from err

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        where = f"{self._center.url} answers {answer.status_code}: {_said(answer)}"
        if answer.status_code in {401, 403}:
            hint = f"enroll the box at the centre and put the token into {self._center.token_file}"
            raise SyncError(where, hint, permanent=True)
        raise SyncError(where, permanent=answer.is_client_error and answer.status_code not in {408, 429})


def _said(answer: httpx.Response) -> str:
    """The refusal in a line: the centre's ``detail``, or what a proxy in between wrote."""
    try:
        return str(answer.json()["detail"])[:500]
    except (ValueError, TypeError, KeyError):
        lines = answer.text[:500].splitlines()
        return lines[0] if lines else answer.reason_phrase


def _client(center: CenterConfig) -> httpx.Client:
    """A client that never goes through a proxy of the environment: the centre is where the box was told."""
    headers = {"Authorization": f"Bearer {_token(center.token_file)}"}
    try:
        return httpx.Client(
            base_url=center.url.rstrip("/"), timeout=center.timeout_s, headers=headers, trust_env=False
        )
    except httpx.InvalidURL as err:
        raise SyncError(f"{center.url}: {err}", "see center.url in smartxd.toml", permanent=True) from err


def _token(path: Path) -> str:
    hint = "`smartx-center enroll BOX` prints what belongs there"
    try:
        token = path.read_text("ascii").strip()
    except OSError as err:
        raise SyncError(f"{path}: {err.strerror}", hint, permanent=True) from err
    except UnicodeDecodeError as err:
        raise SyncError(f"{path}: not a token", hint, permanent=True) from err
    if not token.isprintable() or not token:
        raise SyncError(f"{path}: not a token", hint, permanent=True)
    return token
