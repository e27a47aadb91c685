from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from capture_rows import flow_rows
from center_process import COMMAND, Center

from smartxd.center.flowstore import ConflictError, FlowFilter, Put
from smartxd.center.flowstore.sqlite import SqliteFlowStore
from smartxd.errors import StoreError
from smartxd.store.batch import BatchKey, checksum


@pytest.fixture
def own(tmp_path: Path):
    center = Center(tmp_path / "data")
    try:
        yield center
    finally:
        center.stop()


def test_a_token_is_printed_once_and_only_its_hash_is_kept(own):
    token = own.enroll("gist1")
    assert len(token) >= 40
    assert token.encode() not in (own.data_dir / "center.sqlite").read_bytes()
    again = own.run("enroll", "gist1")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "error: gist1 is enrolled already\nhint: --rotate gives it another token\n"
    assert own.enroll("gist1", "--rotate") != token


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "x" * 64, "<b>", "a\nb"])
def test_a_name_that_no_box_can_have_is_refused(own, name):
    done = own.run("enroll", "--", name)
    assert done.returncode == 1
    assert done.stderr.startswith("error: not a box's name")
    assert "Traceback" not in done.stderr


def test_boxes_are_listed_for_people_and_programs(own):
    own.enroll("gist1")
    assert own.run("boxes").stdout.splitlines()[1].split() == ["gist1", "Never", "-", "never"]
    assert '"box": "gist1"' in own.run("boxes", "-o", "json").stdout


def test_a_box_not_heard_of_for_three_report_intervals_is_listed_as_quiet(own):
    for name in ("late", "slow"):
        own.enroll(name)
    with sqlite3.connect(own.data_dir / "center.sqlite") as conn:
        heard = datetime.now(UTC) - timedelta(seconds=40)
        conn.execute("UPDATE center_box SET last_contact = ?, ready = 1", (f"{heard:%Y-%m-%d %H:%M:%S}",))
        conn.execute(
            "UPDATE center_box SET report = ? WHERE name = 'slow'", ('{"box": "slow", "interval_s": 60}',)
        )
    conn.close()
    states = [line.split()[:2] for line in own.run("boxes").stdout.splitlines()[1:]]
    assert states == [["late", "Quiet"], ["slow", "Ready"]]
    own.start()
    text = httpx.get(own.url, timeout=60, trust_env=False).text
    assert "1 of 2 ready, 1 quiet" in text
    assert "no contact for" in text.split('href="/boxes/late"')[1].split("</tr>")[0]


def test_the_secret_key_is_for_its_owner_only_and_stays(own):
    own.enroll("gist1")
    path = own.data_dir / "secret.key"
    key = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    own.enroll("gist2")
    assert path.read_text() == key


def test_sigterm_is_an_orderly_end(own):
    own.start()
    assert own.stop() == 0
    assert "Traceback" not in own.log.read_text()


def test_a_port_in_use_is_one_clear_line(own):
    with socket.create_server(("127.0.0.1", own.port)):
        done = own.run("serve", "--listen", f"127.0.0.1:{own.port}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"error: 127.0.0.1:{own.port}: Address already in use"


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:x", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_one_clear_line(own, listen):
    done = own.run("serve", "--listen", listen)
    assert done.returncode == 1
    assert done.stderr.startswith("error: listen: not HOST:PORT")


def test_a_data_dir_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = Center(tmp_path / "file" / "data").run("enroll", "gist1")
    assert done.returncode == 1
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_file_is_read_and_a_wrong_field_is_named(own, tmp_path):
    file = tmp_path / "center.toml"
    file.write_text('listen = "127.0.0.1:1"\nretention = 5\n')
    done = own.run("boxes", "--config", str(file))
    assert (done.returncode, "retention: Extra inputs" in done.stderr) == (1, True)


@pytest.mark.parametrize("verb", ["serve", "migrate", "enroll", "boxes"])
def test_the_help_of_every_verb_ends_with_examples(verb):
    done = subprocess.run([*COMMAND, verb, "-h"], capture_output=True, text=True, timeout=60, check=True)
    assert f"examples:\n  smartx-center {verb}" in done.stdout


def test_sockets_are_inherited_by_socket_activation(own):
    """A launcher hands over descriptor 3, as systemd does, and the lab with one of another namespace."""
    own.data_dir.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as handed:
        port = handed.getsockname()[1]
        script = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        serve = [*COMMAND, "serve", "--data-dir", str(own.data_dir), "--listen", f"127.0.0.1:{own.port}"]
        # posix_spawn's dup2 clears close-on-exec of descriptor 3.
        log = os.open(own.log, os.O_WRONLY | os.O_CREAT)
        actions = [(os.POSIX_SPAWN_DUP2, log, 2), (os.POSIX_SPAWN_DUP2, handed.fileno(), 3)]
        pid = os.posix_spawn(
            "/bin/sh", ["/bin/sh", "-c", script, "sh", *serve], os.environ, file_actions=actions
        )
        os.close(log)
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60, trust_env=False)
        assert answer.status_code == 200
        assert httpx.get(f"{own.url}/healthz", timeout=60, trust_env=False).status_code == 200
        assert f"127.0.0.1:{port}" in own.log.read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# The flow store by itself


def key(seq: int) -> BatchKey:
    return BatchKey("gist1", "flows", "e", seq)


def put(store: SqliteFlowStore, seq: int, first: int, count: int) -> Put:
    table = flow_rows(first, count)
    return store.put_batch(key(seq), table, checksum(table))


def age(store: SqliteFlowStore, seconds: int) -> None:
    """All that has been received was so many seconds earlier."""
    with store._transaction():
        store._write("UPDATE batches SET received_ns = received_ns - ?", (seconds * 1_000_000_000,))


def test_old_rows_are_deleted_and_their_batches_still_known(tmp_path):
    store = SqliteFlowStore(tmp_path / "flows.sqlite", retention_s=3600)
    try:
        put(store, 1, 0, 100)
        put(store, 2, 100, 100)
        age(store, 3601)
        put(store, 3, 200, 10)
        assert store.expire() is False
        rows = store.flows(FlowFilter(0), 1000)["packets"].to_pylist()
        assert sorted(rows) == list(range(200, 210))
        assert put(store, 1, 0, 100) is Put.DUPLICATE
        (total,) = store.totals()
        assert (total.rows, total.contiguous_seq) == (210, 3)
    finally:
        store.close()


def test_row_numbers_are_not_given_out_again_when_all_rows_are_old(tmp_path):
    store = SqliteFlowStore(tmp_path / "flows.sqlite", retention_s=3600)
    try:
        put(store, 1, 0, 100)
        age(store, 3601)
        store.expire()
        assert put(store, 1, 0, 100) is Put.DUPLICATE
        put(store, 2, 100, 5)
        rows = store.flows(FlowFilter(0), 1000)["packets"].to_pylist()
        assert sorted(rows) == [99, 100, 101, 102, 103, 104]
    finally:
        store.close()


def test_a_conflict_leaves_the_store_usable(tmp_path):
    store = SqliteFlowStore(tmp_path / "flows.sqlite", retention_s=3600)
    try:
        put(store, 1, 0, 5)
        with pytest.raises(ConflictError):
            put(store, 1, 7, 5)
        assert put(store, 2, 5, 5) is Put.STORED
        assert store.totals("nobody") == []
    finally:
        store.close()


def test_a_store_of_a_newer_release_is_refused(tmp_path):
    path = tmp_path / "flows.sqlite"
    SqliteFlowStore(path, 3600).close()
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA user_version = 7")
    conn.close()
    with pytest.raises(StoreError, match="newer release"):
        SqliteFlowStore(path, 3600)


PUTTER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_center_command import SqliteFlowStore, put
store = SqliteFlowStore(Path({path!r}), 3600)
seq = sum(t.batches for t in store.totals())
while True:
    seq += 1
    put(store, seq, 300 * seq, 300)
    print(seq, flush=True)
"""


def test_kill_9_of_a_putting_process_leaves_whole_batches(tmp_path):
    path = tmp_path / "flows.sqlite"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent / "store")])
    code = PUTTER.format(tests=str(here), path=str(path))
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert child.stdout.readline()
        time.sleep(0.3)  # the instant of the kill is the point
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
        child.stdout.close()
        conn = sqlite3.connect(path)
        batches, rows = conn.execute("SELECT count(*), coalesce(sum(rows), 0) FROM batches").fetchone()
        (stored,) = conn.execute("SELECT count(*) FROM flows").fetchone()
        (total,) = conn.execute("SELECT coalesce(sum(rows), 0) FROM totals").fetchone()
        conn.close()
        assert rows == stored == total == 300 * batches > 0
