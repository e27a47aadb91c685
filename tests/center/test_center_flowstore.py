"""The flow store when clocks, disks and boxes misbehave."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import flow_rows, make_older

from smartxd.center.flowstore import FlowFilter, OverflowingError, Put, sqlite
from smartxd.center.flowstore.sqlite import SqliteFlowStore
from smartxd.errors import StoreError
from smartxd.records import FLOW
from smartxd.store.batch import BatchKey, checksum

DAY_NS = 86400 * 10**9


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = time.time_ns()
        monkeypatch.setattr(sqlite.time, "time_ns", lambda: self.ns)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteFlowStore]:
    store = SqliteFlowStore(tmp_path / "flows.sqlite", retention_s=30 * 86400)
    try:
        yield store
    finally:
        store.close()


def put(store: SqliteFlowStore, seq: int, table: pa.Table | None = None, box: str = "gist1") -> Put:
    table = flow_rows(seq * 1000, 10) if table is None else table
    return store.put_batch(BatchKey(box, "flows", "e", seq), table, checksum(table))


def rows(store: SqliteFlowStore) -> int:
    return store.flows(FlowFilter(0), 10_000).num_rows


def with_bytes(table: pa.Table, count: int) -> pa.Table:
    column = pa.array([count] * table.num_rows, pa.uint64())
    return table.set_column(FLOW.get_field_index("bytes"), FLOW.field("bytes"), column)


def test_a_batch_received_with_a_clock_at_1970_takes_no_fresh_row_with_it(store, clock):
    right = clock.ns
    for seq in range(1, 6):
        put(store, seq)
    clock.ns = 1000
    put(store, 6)
    store.expire()
    clock.ns = right
    put(store, 7)
    store.expire()
    assert rows(store) == 70


def test_a_first_batch_received_with_a_clock_at_1970_waits_for_those_before_it(store, clock):
    right, clock.ns = clock.ns, 1000
    put(store, 1)
    clock.ns = right
    put(store, 2)
    store.expire()
    assert rows(store) == 10, "what is fresh stays"


def test_what_is_old_is_deleted_in_bounded_steps(store, clock, monkeypatch):
    monkeypatch.setattr(sqlite, "EXPIRE_ROWS", 25)
    for seq in range(1, 11):
        put(store, seq)
    clock.ns += 31 * DAY_NS
    put(store, 11)
    assert [store.expire() for _ in range(4)] == [True, True, True, False]
    assert rows(store) == 10
    assert put(store, 11) is Put.DUPLICATE


def test_batches_older_than_the_retention_are_forgotten_and_still_not_taken_twice(store, clock, tmp_path):
    for seq in (1, 2, 4):
        put(store, seq)
        put(store, seq, box="gist2")
    clock.ns += 31 * DAY_NS
    put(store, 5)
    store.expire()
    with store._connect("ro") as conn:
        assert store._read(conn, "SELECT box, seq FROM batches") == [("gist1", 5)]
    for seq in (1, 2, 3, 4):
        assert put(store, seq) is Put.DUPLICATE
    assert put(store, 6) is Put.STORED
    assert put(store, 5, box="gist2") is Put.STORED
    assert [(t.box, t.batches, t.rows, t.max_seq) for t in store.totals()] == [
        ("gist1", 5, 50, 6), ("gist2", 4, 40, 5),
    ]  # fmt: skip
    assert rows(store) == 30


def test_a_store_of_an_older_release_is_gone_on_with(tmp_path):
    path = tmp_path / "flows.sqlite"
    store = SqliteFlowStore(path, retention_s=30 * 86400)
    put(store, 1)
    store.close()
    make_older(path)
    for _ in range(2):  # the second time there is nothing to add
        store = SqliteFlowStore(path, retention_s=30 * 86400)
        try:
            assert put(store, 1) is Put.DUPLICATE
            put(store, 2)
            assert store.flows(FlowFilter(0), 100)["sampled_one_in"].to_pylist() == [1] * 20
            with store._connect("ro") as conn:
                assert store._read(conn, "SELECT sum(sampled_one_in) FROM flows_by_box") == [(20,)]
        finally:
            store.close()


def test_deleted_rows_leave_room_that_is_counted(store, clock):
    for seq in range(1, 6):
        put(store, seq, flow_rows(seq * 1000, 1000))
    assert store.reusable_bytes() < 1 << 16
    clock.ns += 31 * DAY_NS
    put(store, 9)
    store.expire()
    assert store.reusable_bytes() > 1 << 18


def test_no_box_can_carry_a_total_over_what_sqlite_counts_in_integers(store):
    most = with_bytes(flow_rows(1, 65_536), (1 << 46) - 1)
    assert put(store, 1, box="evil", table=most) is Put.STORED
    with pytest.raises(OverflowingError):
        put(store, 2, box="evil", table=most)
    put(store, 1)
    totals = {t.box: t.bytes for t in store.totals()}
    assert totals == {"evil": 65_536 * ((1 << 46) - 1), "gist1": sum(range(1000, 1010)) * 100}
    assert all(type(count) is int for count in totals.values())


def test_flows_come_newest_first_whatever_the_order_and_size_of_the_batches(store, monkeypatch):
    monkeypatch.setattr(sqlite, "SEARCH_ROWS", 25)
    for seq in (5, 1, 9, 3, 2, 8):
        put(store, seq)
        put(store, seq, flow_rows(seq * 1000 + 5, 10), box="gist2")
    every = store.flows(FlowFilter(0), 10_000)
    assert every.num_rows == 120
    assert every["last_ns"].to_pylist() == sorted(every["last_ns"].to_pylist(), reverse=True)
    for limit in (1, 7, 30, 119):
        assert store.flows(FlowFilter(0), limit)["last_ns"] == every["last_ns"][:limit]
    since = 10**18 + 5000
    assert store.flows(FlowFilter(since, box="gist1"), 10_000)["box"].to_pylist() == ["gist1"] * 30
    assert store.flows(FlowFilter(0, interface="eth9"), 10).num_rows == 0


def test_a_search_that_takes_too_long_ends_and_says_what_to_do(store, monkeypatch):
    put(store, 1)
    monkeypatch.setattr(sqlite, "SEARCH_MAX_S", -1.0)
    with pytest.raises(StoreError, match="search took longer") as caught:
        store.flows(FlowFilter(0), 10)
    assert "since" in caught.value.hint
