"""``smartxctl observe`` shows what is stored when it is stored, and ends when it should."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import flow_rows, loss_rows

from smartxd.config import CaptureConfig
from smartxd.records import FLOW
from smartxd.store.captures import CaptureStore

Start = Callable[..., subprocess.Popen]


def rows(*more: dict) -> pa.Table:
    at = time.time_ns()
    base = flow_rows(1, 1).to_pylist()[0] | {"first_ns": at - 10, "last_ns": at}
    return pa.Table.from_pylist([base | row for row in more], schema=FLOW)


@pytest.fixture
def now() -> list[float]:
    return [time.time()]


@pytest.fixture
def store(tmp_path: Path, now: list[float]) -> Iterator[CaptureStore]:
    with CaptureStore(tmp_path / "captures", CaptureConfig(segment_s=60), clock=lambda: now[0]) as made:
        made.append("maps", 0, rows({"packets": 1}), loss_rows(1))
        yield made


@pytest.fixture
def start(tmp_path: Path, store: CaptureStore) -> Iterator[Start]:
    """Starts the verb, and waits until it watches."""
    file = tmp_path / "smartxd.toml"
    file.write_text(f'box = "gist1"\nstate_dir = "{tmp_path}"\n[source]\nurl = "/nowhere"\n')
    running: list[subprocess.Popen] = []

    def start(*options: str) -> subprocess.Popen:
        argv = [sys.executable, "-m", "smartxd.ctl.main", "observe", "--config", str(file), *options]
        # Who runs the tests in the background may have told them to ignore SIGINT.
        argv = ["env", "--default-signal=INT", *argv]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stderr.readline() == "watching; Ctrl-C ends\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def read(process: subprocess.Popen, lines: int) -> list[str]:
    found = []
    for _ in range(lines):
        assert select.select([process.stdout], [], [], 60)[0], "nothing is shown"
        found.append(process.stdout.readline().rstrip("\n"))
    return found


def test_rows_are_shown_as_they_are_stored_also_in_the_next_file(
    store: CaptureStore, start: Start, now: list[float]
) -> None:
    process = start("-o", "json")
    for generation in range(1, 4):
        stored = rows({"packets": 10 * generation, "vni": generation})
        store.append("maps", generation, stored, loss_rows(1))
        (line,) = read(process, 1)
        assert json.loads(line) == stored.to_pylist()[0]
        now[0] += 60
    assert len(list(store.directory.glob("flows-*.sqlite"))) > 1


def test_only_what_the_filter_says_is_shown(store: CaptureStore, start: Start) -> None:
    process = start("--src", "10.1.0.0/16", "--count", "2")
    wanted = {"src_ip": "10.1.2.3", "src_port": 5, "dst_port": 443, "protocol": 6}
    store.append("maps", 1, rows({"src_ip": "10.2.0.1"}, wanted, wanted, wanted), loss_rows(1))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(out.splitlines()) == 2, "as many as --count says"
    assert "eth1 in tcp 10.1.2.3:5 > 192.0.2.1:443 1 packet 100 bytes" in out


def test_ctrl_c_ends_it_without_a_word(store: CaptureStore, start: Start) -> None:
    process = start()
    store.append("maps", 1, rows({}), loss_rows(1))
    read(process, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from smartxd.store.segments import SegmentReader

heard = threading.Semaphore(0)
signal.signal(signal.SIGINT, lambda *_: heard.release())

def interrupt():
    for _ in range(50):
        os.kill(os.getpid(), signal.SIGINT)
        if not heard.acquire(timeout=20):
            os._exit(3)
    os._exit(0)

threading.Thread(target=interrupt).start()
try:
    while True:
        with SegmentReader(Path(sys.argv[1])) as reader:
            for batch in reader.batches("flows", 0):
                reader.rows(batch)
except BaseException:
    os._exit(4)
"""


def test_no_interrupt_is_lost_nor_an_error_when_it_comes_while_rows_are_read(store: CaptureStore) -> None:
    store.append("maps", 1, flow_rows(0, 5000), loss_rows(1))
    (segment,) = store.directory.glob("flows-*.sqlite")
    argv = [sys.executable, "-c", INTERRUPTED, str(segment)]
    assert subprocess.run(argv, timeout=120, check=False).returncode == 0


def test_a_reader_that_goes_ends_it_though_nothing_is_stored(start: Start) -> None:
    process = start()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_it_sleeps_while_nothing_is_stored(store: CaptureStore, start: Start) -> None:
    """Reading the store does not look to it like a change."""
    process = start()
    store.append("maps", 1, rows({}), loss_rows(1))
    read(process, 1)
    seen = ""
    while (more := switches(process.pid)) != seen:  # until it has looked a last time, for a second at least
        seen = more
        time.sleep(1)


def switches(pid: int) -> str:
    """How often the process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]


def test_without_a_store_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "smartxd.toml"
    file.write_text(f'box = "gist1"\nstate_dir = "{tmp_path}/none"\n[source]\nurl = "/nowhere"\n')
    argv = [sys.executable, "-m", "smartxd.ctl.main", "observe", "--config", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False)
    assert done.returncode == 1
    assert "no captures here" in done.stderr
