from __future__ import annotations

import json
import random
import signal
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from capture_rows import bounded, flow_rows, loss_rows, make_older

from smartxd.config import Config
from smartxd.errors import DaemonError, StoreError, SyncError
from smartxd.report import ConditionReport, ControlReport, SourceReport
from smartxd.socketclient import fetch_status
from smartxd.store.captures import CaptureStore, read_report
from smartxd.store.connection import Damaged
from smartxd.store.ledger import read_totals
from smartxd.store.segments import SegmentReader
from smartxd.sync.sender import Sender
from smartxd.terms import Retention


def wait_for(what):
    deadline = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def totals(box: Config, stream: str = "flows"):
    return next(t for t in read_totals(box.captures_dir)[1] if t.stream == stream)


def fill(box: Config, drains: int, rows: int = 50, first: int = 0) -> None:
    with CaptureStore(box.captures_dir, box.capture) as store:
        for generation in range(first, first + drains):
            store.append("maps", generation, flow_rows(rows * generation, rows), loss_rows(generation % 2))


def test_the_centre_gets_every_row_and_the_box_counts_them_as_received(center, box):
    center.start()
    fill(box, 6)
    assert Sender(box, box.captures_dir).flush() == 9
    there, here = center.totals("gist1"), totals(box)
    assert there["epoch"] == read_totals(box.captures_dir)[0]
    assert (there["rows"], there["packets"], there["bytes"]) == here.ledger.received.values[1:]
    assert there["contiguous_seq"] == here.ledger.acked_seq == here.captured_seq == 6
    assert here.pending.rows == 0
    assert center.totals("gist1", "losses")["rows"] == 3
    flows = center.get("/api/v1/flows", box="gist1", since="2001-09-09T00:00:00Z", limit=1000)["flows"]
    assert sorted(f["packets"] for f in flows) == list(range(300))
    assert Sender(box, box.captures_dir).flush() == 0


def test_what_an_older_release_has_left_behind_is_sent_too(center, box):
    center.start()
    fill(box, 2)
    for path in box.captures_dir.glob("flows-*.sqlite"):
        make_older(path)
    fill(box, 1, first=2)
    assert Sender(box, box.captures_dir).flush() == 4
    assert totals(box).ledger.quarantined.rows == 0
    assert center.totals("gist1")["rows"] == totals(box).ledger.received.rows == 150


def test_a_batch_whose_answer_was_lost_is_sent_again_and_counted_once(center, box):
    center.start()
    fill(box, 3)
    Sender(box, box.captures_dir).flush()
    conn = sqlite3.connect(box.captures_dir / "index.sqlite")
    with conn:  # as after a power loss before the acknowledgement reached the disk
        conn.execute("UPDATE ledger SET settled_seq = 1, acked_seq = 1, received_batches = 1,"
                     " received_rows = 50 WHERE stream = 'flows'")  # fmt: skip
    conn.close()
    assert Sender(box, box.captures_dir).flush() == 2
    assert center.totals("gist1")["rows"] == 150
    assert totals(box).ledger.received.rows == 150


def test_a_batch_that_the_centre_will_never_take_is_quarantined_and_the_next_one_goes(center, box):
    center.start()
    fill(box, 1)
    Sender(box, box.captures_dir).flush()
    # A store that was restored from an old copy gives number 1 to other rows.
    epoch = read_totals(box.captures_dir)[0]
    for file in box.captures_dir.iterdir():
        file.unlink()
    fill(box, 3, rows=7)
    conn = sqlite3.connect(box.captures_dir / "index.sqlite")
    with conn:
        conn.execute("UPDATE store SET epoch = ?", (epoch,))
    conn.close()
    Sender(box, box.captures_dir).flush()
    here = totals(box)
    assert (here.ledger.quarantined.rows, here.ledger.received.rows, here.pending.rows) == (7, 14, 0)
    conn = sqlite3.connect(box.captures_dir / "index.sqlite")
    gaps = conn.execute("SELECT first_seq, last_seq, rows, cause, message FROM gaps").fetchall()
    conn.close()
    assert gaps[0][:4] == (1, 1, 7, "quarantined")
    assert "other content" in gaps[0][4]


def test_rows_that_a_policy_keeps_no_longer_are_not_sent_and_hold_up_nothing(center, box):
    center.start()
    with CaptureStore(box.captures_dir, box.capture) as store:
        for generation, policy in enumerate(("lan", "wan", "wan", "lan")):
            store.append("maps", generation, flow_rows(10 * generation, 10, policy=policy), loss_rows(0))
        store.sweep({"wan": Retention(hours=1), "lan": None})
        assert Sender(box, box.captures_dir).flush() == 2
    here = totals(box)
    assert (here.ledger.received.rows, here.ledger.tombstoned.rows, here.pending.rows) == (20, 20, 0)
    assert here.captured == here.ledger.settled
    flows = center.get("/api/v1/flows", box="gist1", since="2001-09-09T00:00:00Z", limit=1000)["flows"]
    assert sorted(f["packets"] for f in flows) == [*range(10), *range(30, 40)]


def test_damaged_rows_are_quarantined_before_they_are_sent(center, box):
    center.start()
    fill(box, 2)
    (path,) = box.captures_dir.glob("flows-*.sqlite")
    conn = sqlite3.connect(path)
    with conn:
        conn.execute("UPDATE flows SET bytes = bytes + 1 WHERE rowid = 10")
    conn.close()
    Sender(box, box.captures_dir).flush()
    assert totals(box).ledger.quarantined.rows == 50
    assert center.totals("gist1")["rows"] == 50


def test_a_box_whose_file_is_damaged_reports_that_and_says_so_to_capture(center, box):
    center.start()
    fill(box, 2)
    (path,) = box.captures_dir.glob("flows-*.sqlite")
    path.write_bytes(b"X" * 8192)
    stop, told = threading.Event(), []
    thread = threading.Thread(target=Sender(box, box.captures_dir, told.append).run, args=(stop,))
    thread.start()
    try:
        report = wait_for(lambda: center.get("/api/v1/boxes/gist1")["report"])
    finally:
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()
    assert f"{path}: damaged: " in report["capture"]["sync_error"]
    assert isinstance(told[0], Damaged)


def test_an_error_that_may_pass_quarantines_nothing(center, box, monkeypatch):
    center.start()
    fill(box, 2)

    def fails(*_: object) -> None:
        raise StoreError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(SegmentReader, "rows", fails)
        with pytest.raises(StoreError, match="disk I/O error"):
            Sender(box, box.captures_dir).flush()
    assert Sender(box, box.captures_dir).flush() == 3
    assert totals(box).ledger.received.rows == 100


@pytest.mark.parametrize(
    ("token", "says"), [("wrong", "401"), ("", "not a token"), ("é", "not a token"), (None, "No such file")]
)
def test_a_wrong_token_loses_nothing_and_status_says_what_to_do(center, box, token, says):
    center.start()
    fill(box, 2)
    if token is None:
        box.center.token_file.unlink()
    else:
        box.center.token_file.write_text(token)
    with pytest.raises(SyncError) as caught:
        Sender(box, box.captures_dir).flush()
    assert says in caught.value.message
    assert "enroll" in caught.value.hint
    assert caught.value.permanent
    assert totals(box).pending.rows == 100
    stop = threading.Event()
    sender = Sender(box, box.captures_dir)
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    try:
        report = wait_for(lambda: (r := read_report(box.captures_dir)) and r.sync_error and r)
        assert says in report.sync_error
    finally:
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()


def test_run_sends_on_wake_reports_and_survives_a_centre_that_is_down(center, box):
    stop = threading.Event()
    with CaptureStore(box.captures_dir, box.capture) as store:
        sender = Sender(box, box.captures_dir)
        thread = threading.Thread(target=sender.run, args=(stop,))
        thread.start()
        try:
            store.append("maps", 0, flow_rows(0, 10), loss_rows(0))
            sender.wake()
            wait_for(lambda: "Connection refused" in store.report().sync_error)
            center.start()
            wait_for(lambda: totals(box).ledger.received.rows == 10)
            wait_for(lambda: store.report().sync_error == "")
            store.append("maps", 1, flow_rows(10, 10), loss_rows(1))
            sender.wake()
            wait_for(lambda: center.totals("gist1")["rows"] == 20)
            shown = wait_for(lambda: center.get("/api/v1/boxes/gist1")["report"])
            assert shown["control"] is None, "no daemon runs on this box"
            assert shown["capture"]["epoch"] == store.epoch
            assert store.report().last_contact is not None
        finally:
            stop.set()
            thread.join(timeout=60)
    assert not thread.is_alive()


def test_without_a_centre_run_returns_and_everything_stays(box):
    fill(box, 1)
    Sender(box.model_copy(update={"center": None}), box.captures_dir).run(threading.Event())
    assert totals(box).pending.rows == 50


SENDER = """
import sys, threading
from pathlib import Path
from smartxd.config import Config
from smartxd.sync.sender import Sender
config = Config.model_validate_json(sys.argv[1])
print("up", flush=True)
Sender(config, config.captures_dir).run(threading.Event())
"""


def test_kill_9_of_centre_and_sender_leaves_each_row_exactly_once(center, box):
    """Both ends die again and again in the middle of a long backlog."""
    dice = random.Random(7)
    command = [sys.executable, "-c", SENDER, box.model_dump_json()]
    for round_ in range(3):
        fill(box, 80, rows=200, first=80 * round_)
        center.start()
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert sender.stdout.readline() == "up\n"
            before = center.totals("gist1")["batches"]
            wait_for(lambda before=before: center.totals("gist1")["batches"] > before)
            time.sleep(dice.uniform(0.0, 0.15))  # the instant of the kill is the point
            first, second = (center.kill, sender.kill) if round_ % 2 else (sender.kill, center.kill)
            first()
            second()
        finally:
            sender.send_signal(signal.SIGKILL)
            sender.wait(timeout=60)
            sender.stdout.close()
        here = totals(box)
        assert here.captured == here.ledger.settled + here.pending
        assert here.pending.batches < 80 * (round_ + 1)
    center.start()
    Sender(box, box.captures_dir).flush()
    there, here = center.totals("gist1"), totals(box)
    assert (there["batches"], there["rows"], there["contiguous_seq"]) == (240, 48_000, 240)
    assert there["packets"] == sum(range(48_000))
    assert here.ledger.received.rows == 48_000
    conn = sqlite3.connect(center.data_dir / "flows.sqlite")
    rows = conn.execute("SELECT count(*), count(DISTINCT packets), sum(packets) FROM flows").fetchone()
    conn.close()
    assert rows == (48_000, 48_000, sum(range(48_000)))


# The daemon's socket


class Daemon:
    """Answers one body to everybody, as the daemon's socket does."""

    def __init__(self, path: Path, status: int, body: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: object) -> None: ...

        path.parent.mkdir(parents=True, exist_ok=True)
        self.server = socketserver.UnixStreamServer(str(path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(timeout=60)
        self.server.server_close()


def control(ready: bool) -> ControlReport:
    now = datetime.now(UTC).replace(microsecond=0)
    commit = "0123456789abcdef"
    ready_condition = ConditionReport(
        object="Box/gist1",
        type="Ready",
        status=ready,
        reason="Converged",
        message="",
        commit=commit,
        since=now,
    )
    return ControlReport(
        box="gist1",
        version="0.1.0",
        at=now,
        commit=commit,
        source=SourceReport(url="/r", branch="main", path="."),
        conditions=(ready_condition,),
    )


def test_the_report_carries_what_the_daemon_says(center, box):
    center.start()
    fill(box, 1)
    said = control(ready=True)
    with Daemon(box.socket, 200, said.model_dump_json().encode()):
        assert fetch_status(box.socket, 60) == said
        Sender(box, box.captures_dir).report()
    shown = center.get("/api/v1/boxes/gist1")
    assert (shown["ready"], shown["commit"]) == (True, "0123456789abcdef")
    assert shown["report"]["control"] == json.loads(said.model_dump_json())


def test_a_daemon_that_is_not_there_is_one_line_and_a_hint(tmp_path):
    with pytest.raises(DaemonError, match="no daemon answers") as caught:
        fetch_status(tmp_path / "smartxd.sock", 1)
    assert "systemctl status smartxd" in caught.value.hint


@pytest.mark.parametrize(("status", "body", "says"), [(503, b"{}", "503"), (200, b"<html>", "not a status")])
def test_a_daemon_that_answers_nonsense_is_one_line(tmp_path, status, body, says):
    with Daemon(tmp_path / "s.sock", status, body), pytest.raises(DaemonError, match=says):
        fetch_status(tmp_path / "s.sock", 60)


def test_the_bound_on_disk_goes_on_while_the_centre_is_away(center, box):
    """captured = received + pending + tombstoned, and the centre has exactly what the box calls received."""
    small = box.model_copy(update={"capture": bounded(1 << 20)})
    fill(small, 10, rows=500)
    center.start()
    Sender(small, small.captures_dir).flush()
    center.stop()
    fill(small, 20, rows=500, first=10)
    center.start()
    Sender(small, small.captures_dir).flush()
    here = totals(small)
    assert here.ledger.tombstoned.rows > 0
    assert here.captured.rows == 15_000 == here.ledger.received.rows + here.ledger.tombstoned.rows
    assert center.totals("gist1")["rows"] == here.ledger.received.rows
