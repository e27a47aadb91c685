"""A store of the release that knew no sampling and no packets is read, sent, and followed by new rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import OLDER, flow_rows, loss_rows, make_older, make_older_index, packet_rows

from smartxd.config import CaptureConfig
from smartxd.records import FLOW
from smartxd.store import packets
from smartxd.store.backlog import Backlog
from smartxd.store.batch import checksum
from smartxd.store.captures import CaptureStore
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.ledger import read_totals
from smartxd.store.queries import Tail, newest, scan, top
from smartxd.store.segments import SegmentReader


def fail(err: object) -> None:
    raise AssertionError(err)


def sampled(table: pa.Table, one_in: int) -> pa.Table:
    column = pa.array([one_in] * table.num_rows, pa.uint32())
    return table.set_column(FLOW.get_field_index("sampled_one_in"), FLOW.field("sampled_one_in"), column)


@pytest.fixture
def older(directory: Path) -> Path:
    """Two segments of five rows each; the second is still written."""
    now = [1_700_000_000.0]
    with CaptureStore(directory, CaptureConfig(segment_s=60), clock=lambda: now[0]) as store:
        for generation in range(2):
            store.append("maps", generation, flow_rows(5 * generation, 5), loss_rows(1))
            now[0] += 60
    for path in directory.glob("flows-*.sqlite"):
        make_older(path)
    make_older_index(directory / "index.sqlite")
    return directory


def append(directory: Path, generation: int, table: pa.Table) -> None:
    with CaptureStore(
        directory, CaptureConfig(segment_s=60), clock=lambda: 1_700_000_060, warn=fail
    ) as store:
        store.append("maps", generation, table, loss_rows(0))


def test_every_query_finds_the_rows_of_older_segments_as_not_sampled(older: Path) -> None:
    everything = FlowFilter()
    found = newest(older, everything, 100, fail)
    assert (found.num_rows, set(found["sampled_one_in"].to_pylist())) == (10, {1})
    rows = pa.concat_tables(scan(older, everything, fail))
    assert rows.schema.equals(FLOW)
    assert rows.equals(flow_rows(0, 10))
    sums = top(older, everything, ["sampled_one_in"], 10, fail).to_pylist()
    assert [(row["sampled_one_in"], row["packets"]) for row in sums] == [(1, 45)]


def test_the_segment_that_an_older_process_began_takes_the_new_rows(older: Path) -> None:
    epoch, _ = read_totals(older) or fail(older)
    tail = Tail(older, FlowFilter(), fail)
    append(older, 2, sampled(flow_rows(10, 5), 8))
    assert len(list(older.glob("flows-*.sqlite"))) == 2
    (seen,) = tail.new()
    assert seen.equals(sampled(flow_rows(10, 5), 8))
    found = newest(older, FlowFilter(), 100, fail)
    assert sorted(found["sampled_one_in"].to_pylist()) == [1] * 10 + [8] * 5
    after, (flows, *_) = read_totals(older) or fail(older)
    assert (after, flows.captured.rows, flows.pending.rows) == (epoch, 15, 15)


def test_batches_of_both_releases_are_sent_as_they_were_captured(older: Path) -> None:
    append(older, 2, sampled(flow_rows(10, 5), 8))
    sent = []
    with Backlog(older) as backlog:
        while batches := backlog.pending("flows"):
            for batch in batches:
                sent.append(backlog.rows(batch))
                assert checksum(sent[-1]) == batch.checksum
                backlog.received(batch)
    assert pa.concat_tables(sent).equals(pa.concat_tables([flow_rows(0, 10), sampled(flow_rows(10, 5), 8)]))


def test_packets_begin_in_the_segment_that_the_older_process_began(older: Path) -> None:
    everything = FlowFilter()
    assert packets.newest(older, everything, 10, fail).num_rows == 0
    assert list(packets.scan(older, everything, fail)) == []
    for stream in ("drops", "tcp"):
        assert newest(older, everything, 10, fail, stream=stream).num_rows == 0
    rows = packet_rows({"data": b""}, {"time_ns": 10**18 + 1, "data": b"\0\1"})
    with CaptureStore(older, CaptureConfig(segment_s=60), clock=lambda: 1_700_000_060, warn=fail) as store:
        store.append_packets("maps:packets", 4096, rows)
        assert store.committed("maps:packets") == 4096
    assert len(list(older.glob("flows-*.sqlite"))) == 2
    assert pa.concat_tables(packets.scan(older, everything, fail)).equals(rows)
    assert packets.newest(older, everything, 10, fail).equals(rows.take([1, 0]))
    _, (flows, _, stored, *_) = read_totals(older) or fail(older)
    assert (flows.captured.rows, stored.captured.rows, stored.pending.rows) == (10, 2, 2)
    with CaptureStore(older, CaptureConfig(segment_s=60), clock=lambda: 1_700_000_120, warn=fail) as store:
        store.append_packets("maps:packets", 8192, rows)
    assert len(list(older.glob("flows-*.sqlite"))) == 3
    assert packets.newest(older, everything, 10, fail).num_rows == 4


def test_a_segment_is_only_changed_by_the_one_who_writes_it(older: Path) -> None:
    for path in older.glob("flows-*.sqlite"):
        with SegmentReader(path) as reader:
            for batch in reader.batches("flows", 0):
                reader.rows(batch)
            assert reader.run("SELECT name FROM pragma_table_info(?)", ("flows",))[-1] == ("last_ns",)


def test_rows_that_were_not_sampled_have_one_checksum_in_both_releases() -> None:
    rows = flow_rows(1, 20)
    assert checksum(rows) == checksum(rows.select(OLDER.names))
    assert checksum(sampled(rows, 2)) != checksum(rows)
