"""One bad file, one full disk, one crash: the rest of the store goes on, and every row stays counted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import bounded, flow_rows, loss_rows

from smartxd.config import CaptureConfig
from smartxd.errors import StoreError
from smartxd.store.backlog import Backlog
from smartxd.store.captures import CaptureStore, StoreLost, read_report
from smartxd.store.connection import Damaged
from smartxd.store.index import Index
from smartxd.store.ledger import StreamTotals, read_totals
from smartxd.terms import Retention

HOUR = CaptureConfig()
NONE = loss_rows(0)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("flows-*.sqlite"))


def totals(directory: Path) -> StreamTotals:
    """Of the flows, which always balance."""
    _, (flows, *_) = read_totals(directory)
    assert flows.captured == flows.ledger.settled + flows.pending
    return flows


def send_all(backlog: Backlog) -> list[int]:
    seqs = []
    while pending := backlog.pending("flows"):
        for batch in pending:
            assert backlog.rows(batch).num_rows == batch.sums.rows
            backlog.received(batch)
            seqs.append(batch.seq)
    return seqs


# Sender and capture at the same time


def test_no_row_vanishes_when_a_segment_ends_while_the_sender_looks(directory, clock, monkeypatch):
    with CaptureStore(directory, HOUR, clock=clock) as store, Backlog(directory) as backlog:
        for generation in range(2):
            store.append("maps", generation, flow_rows(1, 3), NONE)
        spans, looked = Index.spans, []

        def spans_and_roll(index: Index, stream: str):
            found = spans(index, stream)
            if index is backlog._index and not looked:
                looked.append(True)
                clock.now += 3600
                store.append("maps", 2, flow_rows(1, 5), NONE)
            return found

        monkeypatch.setattr(Index, "spans", spans_and_roll)
        assert send_all(backlog) == [1, 2, 3]
        assert totals(directory).ledger.received.rows == 11


def test_a_batch_is_never_settled_before_those_in_front_of_it(directory):
    with CaptureStore(directory, HOUR) as store, Backlog(directory) as backlog:
        for generation in range(2):
            store.append("maps", generation, flow_rows(1, 3), NONE)
        _, second = backlog.pending("flows")
        with pytest.raises(StoreError, match="flows/2 is settled before 1"):
            backlog.received(second)
        assert totals(directory).pending.rows == 6


def test_the_sender_follows_when_its_file_is_gone_and_the_bound_goes_round(directory):
    with CaptureStore(directory, bounded(1 << 20)) as store, Backlog(directory) as backlog:
        store.append("maps", 0, flow_rows(1, 300), NONE)
        backlog.pending("flows")
        for generation in range(1, 60):
            store.append("maps", generation, flow_rows(1, 300), NONE)
        assert len({path.name for path in segments(directory)}) == len(segments(directory))
        assert send_all(backlog)[-1] == 60
        assert totals(directory).pending.rows == 0


# Damaged files


def three_segments(directory: Path, clock: Clock) -> CaptureStore:
    store = CaptureStore(directory, HOUR, clock=clock)
    for generation in range(3):
        store.append("maps", generation, flow_rows(1, 4), loss_rows(1))
        clock.now += 3600
    return store


@pytest.mark.parametrize("damage", [b"X" * 8192, b""], ids=["overwritten", "empty"])
def test_a_damaged_closed_file_is_quarantined_and_the_next_one_goes(directory, clock, damage):
    with three_segments(directory, clock), Backlog(directory) as backlog:
        backlog.received(backlog.pending("flows")[0])
        segments(directory)[1].write_bytes(damage)
        assert read_report(directory).streams[0].pending_rows == 8
        assert send_all(backlog) == [3]
        assert totals(directory).ledger.quarantined.rows == 4
        assert segments(directory)[1].exists(), "for a person to look at"


def test_a_batch_that_is_missing_in_a_closed_file_is_quarantined(directory, clock):
    with three_segments(directory, clock), Backlog(directory) as backlog:
        conn = sqlite3.connect(segments(directory)[0])
        with conn:
            conn.execute("DELETE FROM batches")
        conn.close()
        assert send_all(backlog) == [2, 3]
        assert totals(directory).ledger.quarantined.rows == 4


def test_text_that_is_none_any_more_is_damage(directory, clock):
    with three_segments(directory, clock), Backlog(directory) as backlog:
        conn = sqlite3.connect(segments(directory)[0])
        with conn:
            conn.execute("UPDATE flows SET policy = CAST(x'ff' AS TEXT)")
        conn.close()
        with pytest.raises(Damaged):
            backlog.rows(backlog.pending("flows")[0])


def test_what_may_pass_by_itself_quarantines_nothing(directory, clock, monkeypatch):
    """Out of descriptors, a closed file cannot be opened: that says nothing of the file."""
    with three_segments(directory, clock), Backlog(directory) as backlog:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) - 1, hard))
        try:
            with pytest.raises(StoreError) as caught:
                backlog.pending("flows")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not isinstance(caught.value, Damaged)
        assert caught.value.hint
        assert send_all(backlog) == [1, 2, 3]


@pytest.mark.parametrize("damage", ["overwritten", "gone"])
def test_a_current_file_that_is_lost_begins_a_new_epoch_once(directory, clock, damage):
    said: list[str] = []
    store = three_segments(directory, clock)
    epoch = store.epoch
    with Backlog(directory) as backlog:
        send_all(backlog)
    store.append("maps", 3, flow_rows(1, 4), NONE)
    store.append("maps", 4, flow_rows(1, 4), NONE)
    store.close()
    current = segments(directory)[-1]
    if damage == "gone":
        current.unlink()
    else:
        current.write_bytes(b"X" * 100 + current.read_bytes()[100:])
    for _ in range(2):
        with CaptureStore(directory, HOUR, clock=clock, warn=said.append) as store:
            assert store.epoch != epoch
    assert len(said) == 1
    assert store.epoch in said[0]
    assert (damage == "gone") == (not list(directory.glob("*.damaged")))
    with CaptureStore(directory, HOUR, clock=clock) as store, Backlog(directory) as backlog:
        assert store.committed("maps") == 2, "the generations in the lost file are drained again"
        assert totals(directory).ledger.received.rows == 12, "those that were settled stay counted"
        store.append("maps", 3, flow_rows(1, 7), NONE)
        assert send_all(backlog) == [4]
        assert totals(directory).ledger.received.rows == 19


def test_closed_files_go_on_in_the_new_epoch_with_the_rows_they_have(directory, clock):
    store = three_segments(directory, clock)
    store.close()
    segments(directory)[-1].write_bytes(b"")
    with CaptureStore(directory, HOUR, clock=clock), Backlog(directory) as backlog:
        assert send_all(backlog) == [1, 2]
        assert totals(directory).captured.rows == 8


def test_damage_that_the_sender_finds_in_the_current_file_is_set_aside_while_it_runs(directory, clock):
    with CaptureStore(directory, HOUR, clock=clock) as store, Backlog(directory) as backlog:
        store.append("maps", 0, flow_rows(1, 4), NONE)
        conn = sqlite3.connect(segments(directory)[0])
        with conn:
            conn.execute("DELETE FROM batches WHERE stream = 'flows'")
            conn.execute("INSERT INTO batches SELECT 'flows', 7, 1, 4, 4, 1, 1, 1, 1, 'x', 'wan', 0, 0")
        conn.close()
        with pytest.raises(Damaged) as caught:
            backlog.pending("flows")
        store.suspect(caught.value)
        with pytest.raises(StoreError, match="flows/1 is missing"):
            store.append("maps", 1, flow_rows(1, 4), NONE)
        store.append("maps", 0, flow_rows(1, 4), NONE)
        with pytest.raises(StoreError, match="begun epoch"):
            backlog.pending("flows")
        with Backlog(directory) as again:
            assert send_all(again) == [1]


# What is not there


@pytest.mark.parametrize("gone", ["directory", "file"])
def test_rows_are_never_written_to_a_file_without_a_name(directory, gone):
    store = CaptureStore(directory, HOUR)
    store.append("maps", 0, flow_rows(1, 4), NONE)
    if gone == "directory":
        shutil.rmtree(directory)
    else:
        segments(directory)[0].unlink()
    with pytest.raises(StoreLost, match="removed while it was written"):
        store.append("maps", 1, flow_rows(1, 4), NONE)
    store.close()
    with CaptureStore(directory, HOUR) as store:
        store.append("maps", 0, flow_rows(1, 4), NONE)


def test_every_error_of_the_file_system_is_a_store_error(directory, monkeypatch):
    with CaptureStore(directory, HOUR) as store:
        monkeypatch.setattr(os, "statvfs", lambda _: open(directory / "none"))  # noqa: PTH123, SIM115
        with pytest.raises(StoreError, match="none: No such file") as caught:
            store.append("maps", 0, flow_rows(1, 4), NONE)
        assert caught.value.hint


def test_a_failed_roll_leaves_no_file_and_orphans_go_at_the_next_start(directory, clock, monkeypatch):
    with CaptureStore(directory, HOUR, clock=clock) as store:
        store.append("maps", 0, flow_rows(1, 4), NONE)
        clock.now += 3600

        def fails(*_: object) -> None:
            raise StoreError("no space")

        with monkeypatch.context() as patch:
            patch.setattr(Index, "end", fails)
            for generation in range(1, 4):
                with pytest.raises(StoreError, match="no space"):
                    store.append("maps", generation, flow_rows(1, 4), NONE)
        assert len(segments(directory)) == 1
        store.append("maps", 4, flow_rows(1, 4), NONE)
        assert totals(directory).captured.rows == 8
    for orphan in ("flows-000009-x.sqlite", "flows-000009-x.sqlite-wal"):
        (directory / orphan).write_text("")
    CaptureStore(directory, HOUR, clock=clock).close()
    assert [path.name[:12] for path in sorted(directory.glob("flows-*"))] == ["flows-000001", "flows-000002"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", path], check=True, timeout=60)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True, timeout=60)


@pytest.mark.kernel
def test_the_oldest_files_go_while_there_is_room_to_say_so(small_disk, clock):
    directory = small_disk / "captures"
    with CaptureStore(directory, HOUR, clock=clock, reserve_bytes=12 << 20) as store:
        for generation in range(300):
            clock.now += 600
            store.append("maps", generation, flow_rows(1, 2000), NONE)
        found = totals(directory)
        assert (found.captured.rows, found.pending.rows > 0) == (600_000, True)
        assert found.ledger.tombstoned.rows > 0


@pytest.mark.kernel
def test_a_disk_that_others_fill_to_the_last_byte_is_made_room_on(small_disk, clock):
    directory = small_disk / "captures"
    with CaptureStore(directory, HOUR, clock=clock, reserve_bytes=8 << 20) as store:
        for generation in range(12):
            clock.now += 600
            store.append("maps", generation, flow_rows(1, 2000), NONE)
        with (small_disk / "other").open("wb", buffering=0) as other, suppress(OSError):
            while True:
                other.write(bytes(1 << 16))
        assert os.statvfs(small_disk).f_bavail == 0
        store.append("maps", 12, flow_rows(1, 2000), NONE)
        assert totals(directory).ledger.tombstoned.rows > 0
        assert totals(directory).captured.rows == 13 * 2000


@pytest.mark.kernel
def test_what_a_full_disk_refuses_is_stored_once_when_there_is_room(small_disk, clock):
    """At whatever statement of the transaction it is full: SQLite may have rolled back by itself."""
    directory, other = small_disk / "captures", small_disk / "other"
    keys = pa.array([n.to_bytes(16, "big") for n in range(2000)], pa.binary())
    refused = 0
    with CaptureStore(directory, HOUR, clock=clock, reserve_bytes=0) as store:
        store.append("maps", 0, flow_rows(1, 2000), loss_rows(1), keys=keys)
        for generation in range(1, 12):
            free = os.statvfs(small_disk).f_bavail << 12
            other.write_bytes(bytes(max(0, free - (generation << 16))))
            try:
                store.append("maps", generation, flow_rows(1, 2000), loss_rows(1), keys=keys)
            except StoreError:
                refused += 1
            other.unlink()
            store.append("maps", generation, flow_rows(1, 2000), loss_rows(1), keys=keys)
        store.end_flows("maps")
        found = totals(directory)
    assert refused > 1
    assert (found.captured.rows, found.captured.packets) == (2000, 12 * sum(range(1, 2001)))


@pytest.mark.kernel
def test_a_full_disk_stops_a_sweep_and_nobody_else_and_the_next_one_goes_on(small_disk, clock):
    directory, hour = small_disk / "captures", {"wan": Retention(hours=1)}
    with CaptureStore(directory, HOUR, clock=clock, warn=print, reserve_bytes=0) as store:
        for generation in range(4):
            at_ns = int(clock.now * 1e9)
            store.append("maps", generation, flow_rows(1, 2000, at_ns=at_ns), NONE)
            clock.now += 3600
        store.append("maps", 4, flow_rows(1, 50, policy="lan"), NONE)
        other = small_disk / "other"
        with other.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 12))
        clock.now += 3600
        with pytest.raises(StoreError, match="full"):
            store.sweep(hour)
        assert totals(directory).pending.rows == 8050
        other.unlink()
        store.append("maps", 5, flow_rows(1, 50, policy="lan"), NONE)
        clock.now += 60
        store.sweep(hour)
        assert (totals(directory).pending.rows, totals(directory).ledger.tombstoned.rows) == (100, 8000)
