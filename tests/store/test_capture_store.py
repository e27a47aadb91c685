from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from capture_rows import bounded

from smartxd.config import CaptureConfig
from smartxd.errors import StoreError
from smartxd.report import TracerReport, TracingReport, UndrainedReport
from smartxd.store.backlog import Backlog
from smartxd.store.batch import MAX_ROWS, checksum
from smartxd.store.captures import CaptureStore, read_report
from smartxd.store.ledger import read_totals
from smartxd.store.segments import SegmentReader


def stream(directory: Path, name: str = "flows"):
    _, totals = read_totals(directory)
    return next(t for t in totals if t.stream == name)


def segments(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.glob("flows-*.sqlite"))


def sql(path: Path, query: str) -> list[tuple]:
    conn = sqlite3.connect(path)
    try:
        return conn.execute(query).fetchall()
    finally:
        conn.close()


def test_rows_are_readable_by_sqlite3_as_they_were_captured(directory, config, flows, losses):
    with CaptureStore(directory, config) as store:
        store.append("maps-a", 0, flows(1, 3), losses(1))
    (name,) = segments(directory)
    rows = sql(directory / name, "SELECT src_ip, packets, vlan FROM flows ORDER BY packets")
    assert rows == [("10.0.0.1", 1, None), ("10.0.0.2", 2, None), (None, 3, None)]
    assert sql(directory / name, "SELECT cause, packets FROM losses") == [("overflow", 3)]


def test_a_generation_is_stored_once(directory, config, flows, losses):
    with CaptureStore(directory, config) as store:
        assert store.committed("maps-a") is None
        store.append("maps-a", 4, flows(1, 3), losses(0))
        store.append("maps-a", 4, flows(1, 3), losses(0))
        store.append("maps-a", 3, flows(1, 3), losses(0))
        assert store.committed("maps-a") == 4
        assert stream(directory).captured.rows == 3
    with CaptureStore(directory, config) as store:
        assert store.committed("maps-a") == 4
        store.append("maps-a", 4, flows(1, 3), losses(0))
        assert stream(directory).captured.rows == 3


def test_an_empty_drain_makes_no_batch_but_is_committed(directory, config, flows, losses):
    with CaptureStore(directory, config) as store:
        store.append("maps-a", 0, flows(0, 0), losses(0))
        assert store.committed("maps-a") == 0
        assert stream(directory).captured.batches == 0


def test_a_drain_larger_than_a_batch_is_several_batches(directory, config, flows, losses):
    with CaptureStore(directory, config) as store:
        store.append("maps-a", 0, flows(1, MAX_ROWS + 1), losses(0))
    with Backlog(directory) as backlog:
        pending = backlog.pending("flows")
        assert [(b.seq, b.sums.rows) for b in pending] == [(1, MAX_ROWS), (2, 1)]
        assert checksum(backlog.rows(pending[1])) == checksum(flows(MAX_ROWS + 1, 1))


def test_batches_are_read_back_exactly_while_the_store_is_open(directory, config, flows, losses):
    with CaptureStore(directory, config) as store, Backlog(directory) as backlog:
        store.append("maps-a", 0, flows(1, 2000), losses(2))
        store.append("maps-a", 1, flows(5000, 10), losses(0))
        first, second = backlog.pending("flows")
        assert backlog.rows(first).equals(flows(1, 2000))
        assert backlog.rows(second).equals(flows(5000, 10))
        (loss,) = backlog.pending("losses")
        assert backlog.rows(loss).equals(losses(2))
        backlog.received(first)
        assert backlog.pending("flows") == [second]


def test_a_flipped_value_fails_the_checksum(directory, config, flows, losses):
    with CaptureStore(directory, config) as store:
        store.append("maps-a", 0, flows(1, 5), losses(0))
    path = directory / segments(directory)[0]
    conn = sqlite3.connect(path)
    with conn:
        conn.execute("UPDATE flows SET packets = packets + 1 WHERE rowid = 3")
    conn.close()
    with Backlog(directory) as backlog:
        (batch,) = backlog.pending("flows")
        with pytest.raises(StoreError, match="flows/1 fails its checksum"):
            backlog.rows(batch)


def test_segments_follow_the_clock_and_numbers_run_on(directory, flows, losses):
    now = [1_800_000_000.0]
    config = CaptureConfig(segment_s=60)
    with CaptureStore(directory, config, clock=lambda: now[0]) as store:
        for generation in range(4):
            store.append("maps-a", generation, flows(generation, 2), losses(1))
            now[0] += 40
    assert segments(directory) == [
        "flows-000001-20270115T080000Z.sqlite",
        "flows-000002-20270115T080100Z.sqlite",
        "flows-000003-20270115T080200Z.sqlite",
    ]
    with CaptureStore(directory, config, clock=lambda: now[0]) as store:
        assert store.committed("maps-a") == 3
        store.append("maps-a", 4, flows(9, 1), losses(0))
    with Backlog(directory) as backlog:
        seen = []
        while pending := backlog.pending("flows"):
            seen += [b.seq for b in pending]
            for batch in pending:
                backlog.received(batch)
        assert seen == [1, 2, 3, 4, 5]


def test_a_clock_that_jumps_back_loses_nothing(directory, flows, losses):
    now = [1_800_000_000.0]
    with CaptureStore(directory, CaptureConfig(segment_s=60), clock=lambda: now[0]) as store:
        for generation, at in enumerate((0, 60, 0, 60, 0)):
            now[0] = 1_800_000_000 + at
            store.append("maps-a", generation, flows(generation, 2), losses(0))
        assert stream(directory).captured.rows == 10
        assert stream(directory).captured_seq == 5


def test_an_acknowledged_file_goes_when_it_is_old_and_a_pending_one_stays(directory, flows, losses):
    now = [1_800_000_000.0]
    config = CaptureConfig(segment_s=60, retention_s=600)
    with CaptureStore(directory, config, clock=lambda: now[0]) as store, Backlog(directory) as backlog:
        store.append("maps-a", 0, flows(1, 2), losses(1))
        now[0] += 60
        store.append("maps-a", 1, flows(3, 2), losses(0))
        backlog.received(backlog.pending("flows")[0])
        now[0] += 1000
        store.append("maps-a", 2, flows(5, 2), losses(0))
        assert len(segments(directory)) == 3, "the loss of the first file is not acknowledged"
        backlog.received(backlog.pending("losses")[0])
        store.append("maps-a", 3, flows(7, 2), losses(0))
        assert segments(directory)[0] == "flows-000002-20270115T080100Z.sqlite"
        total = stream(directory)
        assert (total.captured.rows, total.ledger.received.rows, total.pending.rows) == (8, 2, 6)
        assert store.committed("maps-a") == 3
    with CaptureStore(directory, config, clock=lambda: now[0]) as store:
        assert store.committed("maps-a") == 3


def test_the_disk_bound_drops_the_oldest_files_and_counts_their_rows(directory, flows, losses):
    config = bounded(2 << 20)
    with CaptureStore(directory, config) as store:
        for generation in range(40):
            store.append("maps-a", generation, flows(1000 * generation, 1000), losses(1))
        assert sum(f.stat().st_size for f in directory.iterdir()) < 3 << 20
        for name in ("flows", "losses"):
            total = stream(directory, name)
            assert total.ledger.tombstoned.rows > 0
            assert total.captured == total.pending + total.ledger.tombstoned
        assert stream(directory).captured.rows == 40_000


def test_an_answer_that_comes_after_its_file_went_moves_the_rows_from_tombstoned(directory, flows, losses):
    config = bounded(1 << 20)
    with CaptureStore(directory, config) as store, Backlog(directory) as backlog:
        store.append("maps-a", 0, flows(0, 1000), losses(0))
        in_flight = backlog.pending("flows")[0]
        for generation in range(1, 20):
            store.append("maps-a", generation, flows(0, 1000), losses(0))
        before = stream(directory).ledger
        assert before.settled_seq > in_flight.seq
        backlog.received(in_flight)
        after = stream(directory)
        assert after.ledger.received.rows == 1000
        assert after.ledger.tombstoned.rows == before.tombstoned.rows - 1000
        assert after.captured == after.ledger.settled + after.pending


def test_a_file_that_someone_deleted_is_counted_as_tombstoned(directory, flows, losses):
    now = [1_800_000_000.0]
    with CaptureStore(directory, CaptureConfig(segment_s=60), clock=lambda: now[0]) as store:
        for generation in range(3):
            store.append("maps-a", generation, flows(generation, 5), losses(0))
            now[0] += 60
        (directory / segments(directory)[0]).unlink()
        with Backlog(directory) as backlog:
            assert [b.seq for b in backlog.pending("flows")] == [2]
        total = stream(directory)
        assert (total.captured.rows, total.ledger.tombstoned.rows, total.pending.rows) == (15, 5, 10)


def test_a_crash_between_unlinking_and_counting_is_finished_at_the_next_start(directory, flows, losses):
    now = [1_800_000_000.0]
    config = CaptureConfig(segment_s=60)
    with CaptureStore(directory, config, clock=lambda: now[0]) as store:
        store.append("maps-a", 0, flows(0, 5), losses(0))
        now[0] += 60
        store.append("maps-a", 1, flows(0, 5), losses(0))
    (directory / segments(directory)[0]).unlink()
    CaptureStore(directory, config, clock=lambda: now[0]).close()
    total = stream(directory)
    assert (total.captured.rows, total.ledger.tombstoned.rows, total.pending.rows) == (10, 5, 5)


def test_the_report_says_what_the_tracers_counted(directory, config, flows, losses):
    at = datetime(2026, 7, 1, 12, tzinfo=UTC)
    tracer = TracerReport(
        policy="wan", interface="eth1", direction="ingress", attached=True, packets=7, bytes=700,
        lost_packets=0, packets_per_s=1.5, flows=2,
    )  # fmt: skip
    assert read_report(directory) is None
    with CaptureStore(directory, config) as store:
        assert store.report().tracers == ()
        store.append("maps-a", 0, flows(1, 5), losses(1))
        undrained = UndrainedReport(policy="lan", message="key: missing")
        store.record_tracers(at, TracingReport(tracers=(tracer,), undrained=(undrained,)))
        report = store.report()
    assert report == read_report(directory)
    assert (report.at, report.tracers, report.last_contact) == (at, (tracer,), None)
    assert report.undrained == (undrained,)
    assert [(s.stream, s.captured_rows, s.pending_rows) for s in report.streams] == [
        ("flows", 5, 5),
        ("losses", 1, 1),
    ]


def test_two_stores_in_one_directory_are_refused(directory, config):
    with (
        CaptureStore(directory, config),
        pytest.raises(StoreError, match="another capture process"),
    ):
        CaptureStore(directory, config)


@pytest.mark.parametrize("name", ["index.sqlite", "segment"])
def test_a_file_of_a_newer_release_is_refused_in_one_line(directory, config, name):
    CaptureStore(directory, config).close()
    path = directory / (segments(directory)[0] if name == "segment" else name)
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA user_version = 99")
    conn.close()
    with pytest.raises(StoreError, match="made by a newer release") as caught:
        CaptureStore(directory, config)
    assert "upgrade" in caught.value.hint


def test_a_lost_index_beside_captures_is_refused(directory, config):
    CaptureStore(directory, config).close()
    for file in directory.glob("index.sqlite*"):
        file.unlink()
    with pytest.raises(StoreError, match="missing beside capture files"):
        CaptureStore(directory, config)


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path, config):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        CaptureStore(tmp_path / "file" / "captures", config)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from capture_rows import flow_rows, loss_rows
from smartxd.config import CaptureConfig
from smartxd.store.captures import CaptureStore
with CaptureStore(Path({directory!r}), CaptureConfig(disk_max_bytes=1 << 40, segment_s=1)) as store:
    generation = store.committed("maps")
    generation = 0 if generation is None else generation + 1
    while True:
        store.append("maps", generation, flow_rows(generation * 700, 700), loss_rows(2))
        print(generation, flush=True)
        generation += 1
"""


def test_kill_9_in_the_middle_of_appends_leaves_all_of_a_drain_or_nothing(directory):
    code = WRITER.format(tests=str(Path(__file__).parent), directory=str(directory))
    acknowledged = -1
    for delay_ms in (0, 5, 12, 31):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            acknowledged = int(child.stdout.readline())
            time.sleep(0.3 + delay_ms / 1000)  # the instant of the kill is the point
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split()
            acknowledged = int(rest[-1]) if rest and rest[-1].isdigit() else acknowledged
        finally:
            child.kill()
            child.wait(timeout=60)
            child.stdout.close()
        with CaptureStore(directory, CaptureConfig(disk_max_bytes=1 << 40, segment_s=1)) as store:
            committed = store.committed("maps")
        # What was acknowledged is there; at most one more drain had been committed and not yet told.
        assert acknowledged <= committed <= acknowledged + 1
        numbers, seqs = [], []
        for name in segments(directory):
            with SegmentReader(directory / name) as reader:
                for batch in reader.batches("flows", 0):
                    seqs.append(batch.seq)
                    numbers += reader.rows(batch)["packets"].to_pylist()
        assert sorted(numbers) == list(range(700 * (committed + 1)))
        assert sorted(seqs) == list(range(1, committed + 2))
        assert stream(directory).captured.rows == 700 * (committed + 1)
        assert stream(directory, "losses").captured.rows == 2 * (committed + 1)
