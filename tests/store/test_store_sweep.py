"""Rows that their policy keeps no longer leave the files, whoever has them, and stay counted."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import drop_rows, flow_rows, loss_rows, make_older, make_older_index, packet_rows

from smartxd.config import CaptureConfig
from smartxd.errors import StoreError
from smartxd.store import packets, queries, sweep
from smartxd.store.backlog import Backlog
from smartxd.store.captures import CaptureStore, read_report
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.index import Index
from smartxd.store.ledger import StreamTotals, read_totals
from smartxd.store.segments import SegmentReader, StoredBatch
from smartxd.terms import Retention

HOUR_S = 3600
DAY = {"wan": Retention(hours=24)}
NONE = loss_rows(0)


def fail(err: object) -> None:
    raise AssertionError(err)


class Box:
    """A store whose clock the test has; drains of a policy, numbered."""

    def __init__(self, directory: Path, **config: int) -> None:
        self.directory = directory
        self.config = CaptureConfig(**config)
        self.now_s = 1_800_000_000.0
        self.generation = 0
        self.said: list[str] = []
        self.open()

    def open(self) -> None:
        self.store = CaptureStore(
            self.directory, self.config, clock=lambda: self.now_s, warn=self.said.append
        )

    def reopen(self) -> None:
        self.store.close()
        self.open()

    @property
    def now_ns(self) -> int:
        return int(self.now_s * 1e9)

    def drain(self, policy: str, rows: int = 100) -> None:
        self.generation += 1
        flows = flow_rows(self.generation * 1000, rows, policy=policy, at_ns=self.now_ns)
        self.store.append("maps", self.generation, flows, NONE)

    def later(self, hours: float) -> None:
        self.now_s += hours * HOUR_S

    def files(self) -> list[Path]:
        return sorted(self.directory.glob("flows-*.sqlite"))

    def bytes(self) -> int:
        """Of the files, when nobody has them open."""
        self.reopen()
        return sum(path.stat().st_size for path in self.files())

    def kept(self, stream: str = "flows") -> list[StoredBatch]:
        found = []
        for path in self.files():
            with SegmentReader(path) as reader:
                batches = reader.batches(stream, 0)
                for batch in batches:
                    assert reader.rows(batch).num_rows == (0 if batch.gone else batch.sums.rows)
                found += [batch for batch in batches if not batch.gone]
        return found

    def policies(self) -> list[str]:
        return [batch.policy for batch in self.kept()]

    def totals(self, stream: str = "flows") -> StreamTotals:
        _, found = read_totals(self.directory) or fail(self.directory)
        for each in found:
            assert each.captured == each.ledger.settled + each.pending
        return next(each for each in found if each.stream == stream)


@pytest.fixture
def box(directory: Path) -> Iterator[Box]:
    made = Box(directory)
    yield made
    made.store.close()


def test_rows_that_are_too_old_leave_all_files_and_those_of_others_stay(box: Box) -> None:
    for _ in range(3):
        for policy in ("wan", "lan", "wan"):
            box.drain(policy, 2000)
        box.later(1)
    before = box.bytes()
    box.later(22.5)
    box.store.sweep({**DAY, "lan": None})
    # The first two hours are older than a day.
    assert box.policies() == ["lan", "lan", "wan", "lan", "wan"]
    assert box.bytes() < 0.65 * before
    flows = box.totals()
    assert (flows.captured.rows, flows.pending.rows, flows.ledger.tombstoned.rows) == (18_000, 10_000, 8_000)
    assert box.said == []


def test_nothing_of_what_went_can_be_found_in_any_file(box: Box) -> None:
    def addresses(policy: str) -> pa.Table:
        rows = flow_rows(0, 500, policy=policy, at_ns=box.now_ns)
        there = pa.array([f"{policy}-{n}" for n in range(500)])
        return rows.set_column(rows.schema.get_field_index("dst_ip"), rows.schema.field("dst_ip"), there)

    for generation in range(6):
        box.store.append("maps", generation, addresses("lan" if generation % 2 else "wan"), NONE)
    payload = b"a very private thing"
    box.store.append_packets(
        "ring", 1, packet_rows(*({"time_ns": box.now_ns, "data": payload} for _ in range(50)))
    )
    box.later(25)
    with Backlog(box.directory) as backlog:
        assert len(backlog.pending("flows")) == 6  # the sender has the file open
        box.store.sweep(DAY)
        content = b"".join(path.read_bytes() for path in box.directory.iterdir())
    assert b"lan-499" in content
    assert b"wan-" not in content
    assert [batch.policy for batch in box.kept("packets")] == []


def test_what_is_too_much_goes_from_the_oldest_on_also_in_the_file_that_is_written(box: Box) -> None:
    for _ in range(6):
        box.drain("wan", 5000)
    box.later(1)
    for _ in range(12):
        box.drain("wan", 5000)
        box.drain("lan", 5000)
    box.store.sweep({"wan": Retention(megabytes=2)})
    kept = [batch for batch in box.kept() if batch.policy == "wan"]
    assert 1_500_000 < sum(batch.stored_bytes for batch in kept) <= 2_000_000
    assert kept == [b for b in box.kept() if b.policy == "wan" and b.seq >= kept[0].seq]
    assert box.policies().count("lan") == 12
    # The one who writes goes on behind what is there.
    box.drain("wan", 5000)
    box.reopen()
    box.drain("wan", 5000)
    assert box.totals().captured.rows == 32 * 5000
    with SegmentReader(box.files()[-1]) as reader:
        newest = [b for b in reader.batches("flows", 0) if not b.gone][-1]
        assert reader.rows(newest).equals(
            flow_rows(box.generation * 1000, 5000, policy="wan", at_ns=box.now_ns)
        )


def test_the_newest_batch_alone_is_kept_however_large_and_goes_when_it_is_old(box: Box) -> None:
    box.drain("wan", 60_000)
    box.drain("wan", 60_000)
    before = box.bytes()
    asked = {"wan": Retention(hours=1, megabytes=1)}
    box.store.sweep(asked)
    assert [batch.seq for batch in box.kept()] == [2]
    assert box.bytes() < 0.55 * before
    box.later(1.1)  # and nothing comes any more
    box.store.sweep(asked)
    assert box.kept() == []
    assert box.totals().ledger.tombstoned.rows == 120_000


def test_batches_are_counted_by_what_they_take_of_a_file(box: Box, tmp_path: Path) -> None:
    """Against files that hold nothing of others."""
    chance = random.Random(7)
    alone = {policy: Box(tmp_path / policy) for policy in ("wan", "lan")}
    empty = box.bytes()
    for _ in range(60):
        policy, rows = chance.choice(("wan", "lan")), chance.randint(1, 900)
        for each in (box, alone[policy]):
            each.generation = box.generation
            each.drain(policy, rows)
        alone[policy].generation = box.generation
    for policy, each in alone.items():
        counted = sum(batch.stored_bytes for batch in box.kept() if batch.policy == policy)
        assert counted == pytest.approx(each.bytes() - empty, rel=0.05)
        each.store.close()


def test_within_a_minute_nothing_is_looked_at_but_for_what_is_asked_anew(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.drain("wan")
    box.store.sweep(DAY)
    box.later(25)
    box.store.sweep(DAY)
    assert box.kept() == []
    box.drain("wan")
    with monkeypatch.context() as patch:
        patch.setattr(sweep.Sweeper, "sweep", lambda *_: fail("swept"))
        box.store.sweep(DAY)
        with pytest.raises(AssertionError, match="swept"):
            box.store.sweep({"wan": Retention(hours=1)})


def test_more_than_is_done_at_once_is_gone_on_with(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(8):
        box.drain("wan")
        box.later(1)
    monkeypatch.setattr(sweep, "SWEEP_FILES", 3)
    monkeypatch.setattr(sweep, "SWEEP_BYTES", 2 * 65536)
    box.later(48)
    left = []
    while not left or left[-1]:
        box.store.sweep(DAY)
        left.append(len(box.kept()))
    assert left == [6, 4, 2, 0]


def test_a_file_in_which_nothing_is_left_goes_before_its_time(box: Box) -> None:
    for policy in ("wan", "wan", "lan", "wan", "wan"):
        box.drain(policy)
        box.later(1)
    box.later(24)
    box.store.sweep(DAY)
    # Batches settle in order: a file behind one that is kept waits for it.
    assert [path.name[:12] for path in box.files()] == [f"flows-{n:06d}" for n in range(3, 7)]
    assert box.policies() == ["lan"]
    assert box.totals().ledger.tombstoned.rows == 400


def test_what_a_policy_asked_for_holds_after_it_is_gone_from_the_specs(box: Box) -> None:
    box.drain("wan")
    box.drain("lan")
    box.store.sweep({**DAY, "lan": None})
    box.reopen()
    box.later(25)
    box.store.sweep({"lan": None})
    assert box.policies() == ["lan"]
    # Then it is forgotten: another of its name keeps its rows.
    box.later(1)
    box.store.sweep({"lan": None})
    with Index(box.directory, readonly=True) as index:
        assert index.retentions() == {}


def test_what_a_policy_asks_for_no_longer_holds_no_longer(box: Box) -> None:
    box.drain("wan")
    box.store.sweep(DAY)
    box.later(25)
    box.store.sweep({"wan": None})
    assert box.policies() == ["wan"]


def test_every_query_goes_on_without_what_went_and_without_a_word(box: Box) -> None:
    everything = FlowFilter()
    for hour in range(2):
        old = flow_rows(hour, 3, at_ns=box.now_ns)
        drops = drop_rows({"first_ns": box.now_ns, "last_ns": box.now_ns})
        box.store.append("maps", hour, old, NONE, {"drops": drops})
        box.store.append_packets("ring", hour, packet_rows({"time_ns": box.now_ns}))
        box.later(1)
    tail = queries.Tail(box.directory, everything, fail)
    box.later(22.5)
    box.store.sweep(DAY)
    kept = flow_rows(1, 3, at_ns=box.now_ns - int(23.5 * HOUR_S * 1e9))
    assert list(tail.new()) == []
    assert pa.concat_tables(queries.scan(box.directory, everything, fail)).equals(kept)
    assert queries.newest(box.directory, everything, 10, fail).num_rows == 3
    assert queries.newest(box.directory, everything, 10, fail, stream="drops").num_rows == 1
    (sums,) = queries.top(box.directory, everything, ["policy"], 10, fail).to_pylist()
    assert sums["packets"] == 1 + 2 + 3
    assert packets.newest(box.directory, everything, 10, fail).num_rows == 1
    assert [table.num_rows for table in packets.scan(box.directory, everything, fail)] == [1]
    first_ns, last_ns = queries.span_ns(box.directory) or fail(box.directory)
    assert (first_ns, last_ns) == (kept["first_ns"][0].as_py(), kept["last_ns"][2].as_py())


# The sender, and what it counts


def test_the_sender_passes_over_what_went_and_counts_it_once_as_one_gap(box: Box) -> None:
    for policy in ("lan", "wan", "wan", "lan"):
        box.drain(policy)
    box.later(25)
    box.store.sweep(DAY)
    assert box.totals().ledger.tombstoned.rows == 200
    received = []
    with Backlog(box.directory) as backlog:
        for batch in backlog.pending("flows"):
            if backlog.rows(batch).num_rows:
                backlog.received(batch)
                received.append(batch.seq)
            else:
                backlog.tombstone(batch)
            box.totals()  # balances in between
    flows = box.totals()
    assert (received, flows.pending.rows) == ([1, 4], 0)
    assert (flows.ledger.received.rows, flows.ledger.tombstoned.rows) == (200, 200)
    with closing(sqlite3.connect(box.directory / "index.sqlite")) as db:
        gaps = db.execute("SELECT stream, first_seq, last_seq, rows, cause, message FROM gaps").fetchall()
    assert gaps == [("flows", 2, 3, 200, "tombstoned", "retention of TracePolicy wan")]


def test_a_batch_that_goes_while_it_is_sent_is_what_the_centre_says(box: Box) -> None:
    box.drain("wan")
    box.drain("wan")
    box.later(25)
    with Backlog(box.directory) as backlog:
        sent, listed = backlog.pending("flows")
        box.store.sweep(DAY)  # which unlinks the file too: nothing is left in it
        assert not box.files()[0].name.startswith("flows-000001")
        backlog.received(sent)
        assert backlog.rows(listed).num_rows == 0
        backlog.tombstone(listed)
        assert backlog.pending("flows") == []
    ledger = box.totals().ledger
    assert (ledger.received.rows, ledger.tombstoned.rows) == (100, 100)


def test_killed_before_the_index_knows_what_went_it_is_said_after_the_next_start(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.drain("lan")
    box.drain("wan")
    box.later(25)
    with monkeypatch.context() as patch:
        patch.setattr(Index, "note_gone", lambda *_: (_ for _ in ()).throw(StoreError("killed")))
        with pytest.raises(StoreError, match="killed"):
            box.store.sweep(DAY)
    assert box.policies() == ["lan"]
    assert box.totals().ledger.tombstoned.rows == 0
    box.reopen()
    box.store.sweep(DAY)
    flows = box.totals()
    assert (flows.pending.rows, flows.ledger.tombstoned.rows) == (100, 100)
    report = read_report(box.directory) or fail(box.directory)
    assert (report.streams[0].pending_rows, report.streams[0].tombstoned_rows) == (100, 100)


SWEEPER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from capture_rows import flow_rows, loss_rows
from smartxd.config import CaptureConfig
from smartxd.store.captures import CaptureStore
from smartxd.terms import Retention
now = [{now}]
config = CaptureConfig(segment_s=1200)
with CaptureStore(Path({directory!r}), config, clock=lambda: now[0]) as store:
    generation = store.committed("maps") or 0
    while True:
        generation += 1
        now[0] += 600
        policy = "lan" if generation % 5 == 0 else "wan"
        rows = flow_rows(generation * 100, 100, policy=policy, at_ns=int(now[0] * 1e9))
        store.append("maps", generation, rows, loss_rows(1))
        store.sweep({{"wan": Retention(hours=1)}})
        print(generation, flush=True)
"""


def test_kill_9_in_the_middle_of_sweeps_leaves_whole_batches_and_a_ledger_that_balances(box: Box) -> None:
    box.store.close()
    for delay_ms in (0, 13):
        code = SWEEPER.format(
            tests=str(Path(__file__).parent),
            directory=str(box.directory),
            now=box.now_s + 600 * box.generation,
        )
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            until = box.generation + 15
            while box.generation < until:
                box.generation = int(child.stdout.readline())
            time.sleep(delay_ms / 1000)  # the instant of the kill is the point
            child.send_signal(signal.SIGKILL)
            box.generation = int((child.stdout.read().split() or [box.generation])[-1])
        finally:
            child.kill()
            child.wait(timeout=10)
            child.stdout.close()
        box.open()
        captured = box.totals().captured.rows
        assert captured in (100 * box.generation, 100 * (box.generation + 1))
        policies = box.policies()
        assert policies.count("lan") == captured // 500
        assert policies.count("wan") <= 6 + 2  # an hour of drains, and what was not swept yet
        assert box.totals().ledger.tombstoned.rows > 0
        box.store.close()
        box.generation = captured // 100
    box.open()


# What cannot be emptied


def test_a_file_that_is_damaged_is_said_once_and_the_others_go_on(box: Box) -> None:
    for _ in range(3):
        box.drain("wan")
        box.later(1)
    box.store.close()
    with box.files()[0].open("r+b") as file:
        file.write(bytes(100))
    box.open()
    box.later(25)
    for _ in range(3):
        box.store.sweep(DAY)
        box.later(1)
    (said,) = box.said
    assert box.files()[0].name in said
    assert all(not list_kept(path) for path in box.files()[1:])


def list_kept(path: Path) -> list[StoredBatch]:
    with SegmentReader(path) as reader:
        return [batch for batch in reader.batches("flows", 0) if not batch.gone]


def test_a_file_that_somebody_has_taken_stops_no_sweep(box: Box) -> None:
    for _ in range(3):
        box.drain("wan")
        box.later(1)
    box.files()[1].unlink()
    box.later(25)
    box.store.sweep(DAY)
    assert box.said == []
    assert all(not list_kept(path) for path in box.files())


def test_of_two_policies_with_much_to_do_each_has_its_turn(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for policy in ("wan", "lan") * 3:
        box.drain(policy)
    box.later(25)
    monkeypatch.setattr(sweep, "SWEEP_BYTES", 1)
    left = []
    for _ in range(4):
        box.store.sweep({**DAY, "lan": Retention(hours=24)})
        left.append((box.policies().count("wan"), box.policies().count("lan")))
    assert left == [(2, 3), (2, 2), (1, 2), (1, 1)]


def test_what_an_older_release_has_written_stays_and_the_file_it_began_is_gone_on_with(box: Box) -> None:
    for _ in range(2):
        box.drain("wan")
        box.later(1)
    box.later(-1)
    box.store.close()
    for path in box.files():
        make_older(path)
    make_older_index(box.directory / "index.sqlite")
    assert box.totals().pending.rows == 200
    box.open()
    box.drain("wan")
    box.drain("wan")
    box.later(25)
    box.store.sweep(DAY)
    assert box.policies() == ["", ""]
    flows = box.totals()
    assert (flows.captured.rows, flows.pending.rows, flows.ledger.tombstoned.rows) == (400, 200, 200)
