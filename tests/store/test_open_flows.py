"""Flows that go on: they grow from drain to drain, end once, and no packet of them is lost or doubled."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from ipaddress import ip_network
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from capture_rows import bounded, flow_rows, loss_rows, make_older, make_older_index
from hypothesis import given, settings
from hypothesis import strategies as st

from smartxd.config import CaptureConfig
from smartxd.errors import StoreError
from smartxd.records import END_REASONS, FLOW
from smartxd.store import openflows, queries
from smartxd.store.captures import CaptureStore
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.merge import SegmentMerge
from smartxd.store.openflows import TimeOuts
from smartxd.store.queries import Tail, newest, scan, top
from smartxd.store.view import Segment
from smartxd.terms import Retention

S = 1_000_000_000
START_S = 1_700_000_000
CONFIG = CaptureConfig(segment_s=60)
EVERYTHING = FlowFilter()


def fail(err: object) -> None:
    raise AssertionError(err)


class Clock:
    def __init__(self) -> None:
        self.s: float = START_S

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(directory: Path, clock: Clock) -> Iterator[CaptureStore]:
    with CaptureStore(directory, CONFIG, clock=clock, warn=fail) as made:
        yield made


def rows(*more: dict[str, Any], at_s: float = START_S) -> pa.Table:
    usual = flow_rows(1, 1).to_pylist()[0] | {"first_ns": int(at_s * S), "last_ns": int(at_s * S)}
    return pa.Table.from_pylist([usual | row for row in more], schema=FLOW)


def named(*keys: bytes) -> pa.Array:
    return pa.array(keys, pa.binary())


ONE = named(b"one")


def time_outs(**more: Any) -> TimeOuts:
    usual = {"idle_s": 15, "active_s": 60, "flows_max": 100, "commit_id": "c0ffee", "sampled_one_in": 1}
    return TimeOuts(**usual | more)


def ended(directory: Path) -> list[dict[str, Any]]:
    return [row for table in scan(directory, EVERYTHING, fail) for row in table.to_pylist()]


def going_on(directory: Path) -> list[dict[str, Any]]:
    return [row for row in newest(directory, EVERYTHING, 1000, fail).to_pylist() if row["end_reason"] is None]


def counts(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((r["packets"], r["bytes"], r["tcp_flags"], r["end_reason"]) for r in found)


def test_a_flow_grows_from_drain_to_drain_and_is_stored_once_it_is_idle(
    store: CaptureStore, clock: Clock
) -> None:
    for generation, flags in enumerate((0x02, 0x10, 0x18)):
        clock.s = START_S + 5 * generation
        seen = rows({"packets": 2, "skbs": 1, "bytes": 200, "tcp_flags": flags}, at_s=clock.s)
        store.append("maps", generation, seen, loss_rows(0), keys=ONE)
        store.end_flows("maps", time_outs())
    assert ended(store.directory) == []
    (flow,) = going_on(store.directory)
    assert (flow["packets"], flow["skbs"], flow["bytes"], flow["tcp_flags"]) == (6, 3, 600, 0x1A)
    assert (flow["first_ns"], flow["last_ns"]) == (START_S * S, (START_S + 10) * S)
    clock.s = START_S + 24
    store.end_flows("maps", time_outs())
    assert ended(store.directory) == []
    clock.s = START_S + 25
    store.end_flows("maps", time_outs())
    assert ended(store.directory) == [flow | {"end_reason": "idle"}]
    assert going_on(store.directory) == []
    store.end_flows("maps", time_outs())
    assert len(ended(store.directory)) == 1


def test_a_flow_that_goes_on_has_a_row_for_each_active_time_out(store: CaptureStore, clock: Clock) -> None:
    for generation in range(26):
        clock.s = START_S + 5 * generation
        store.append("maps", generation, rows({"packets": 1}, at_s=clock.s), loss_rows(0), keys=ONE)
        store.end_flows("maps", time_outs())
    assert [(r["packets"], r["end_reason"]) for r in ended(store.directory)] == [(13, "active")] * 2
    assert going_on(store.directory) == []


@pytest.mark.parametrize("flags", [0x01, 0x04])
def test_tcp_ends_behind_its_last_acknowledgement(store: CaptureStore, clock: Clock, flags: int) -> None:
    store.append("maps", 0, rows({"tcp_flags": flags | 0x10, "packets": 3}), loss_rows(0), keys=ONE)
    store.end_flows("maps", time_outs())
    assert ended(store.directory) == []
    store.append("maps", 1, rows({"tcp_flags": 0x10, "packets": 1}), loss_rows(0), keys=ONE)
    clock.s += 1
    store.end_flows("maps", time_outs())
    assert [(r["packets"], r["end_reason"]) for r in ended(store.directory)] == [(4, "end")]


@pytest.mark.parametrize(
    ("now_s", "changed"),
    [(START_S, {"commit_id": "decaf"}), (START_S, {"sampled_one_in": 8}), (START_S - 10, {})],
)
def test_what_can_grow_no_more_has_ended(
    store: CaptureStore, clock: Clock, now_s: float, changed: dict[str, Any]
) -> None:
    """Of another commit, another sampling interval, or a time that has not come: the clock was set back."""
    store.append("maps", 0, rows({}), loss_rows(0), keys=ONE)
    clock.s = now_s
    store.end_flows("maps", time_outs(**changed))
    assert [r["end_reason"] for r in ended(store.directory)] == ["stopped"]


def test_of_more_flows_than_are_kept_those_that_were_quiet_for_longest_end(
    store: CaptureStore, clock: Clock
) -> None:
    flows = pa.concat_tables([rows({"packets": n}, at_s=START_S + n / 10) for n in range(10)])
    clock.s = START_S + 1
    store.append("maps", 0, flows, loss_rows(0), keys=named(*(bytes([n]) for n in range(10))))
    store.append("others", 0, rows({"packets": 77}), loss_rows(0), keys=ONE)
    store.end_flows("maps", time_outs(flows_max=4))
    assert [(r["packets"], r["end_reason"]) for r in ended(store.directory)] == [
        (n, "resources") for n in range(6)
    ]
    assert sorted(r["packets"] for r in going_on(store.directory)) == [6, 7, 8, 9, 77]


def test_flows_go_on_in_the_next_segment_and_only_there(store: CaptureStore, clock: Clock) -> None:
    store.append("maps", 0, rows({"packets": 1}), loss_rows(1), keys=ONE)
    clock.s += 60
    store.append("maps", 1, rows({"packets": 2}, at_s=clock.s), loss_rows(1), keys=ONE)
    first, second = sorted(store.directory.glob("flows-*.sqlite"))
    assert [r["packets"] for r in going_on(store.directory)] == [3]
    assert first != second
    clock.s += 60  # rolls without a generation: an end alone is enough
    store.end_flows("maps", time_outs())
    assert [(r["packets"], r["end_reason"]) for r in ended(store.directory)] == [(3, "idle")]
    clock.s += 60
    store.append("maps", 2, rows({}), loss_rows(1), keys=ONE)
    assert len(list(store.directory.glob("flows-*.sqlite"))) == 4


def test_a_closed_file_keeps_nothing_of_the_flows_that_it_handed_on(
    store: CaptureStore, clock: Clock
) -> None:
    """Neither does that which got them, once they have ended and their policy keeps them no longer."""
    hour = {"wan": Retention(hours=1)}
    flows = rows(*({"src_ip": f"private-{n}", "src_port": n} for n in range(3000)))
    keys = named(*(n.to_bytes(16, "big") for n in range(3000)))
    store.append("maps", 0, flows, loss_rows(1), keys=keys)
    for generation in (1, 2):
        clock.s += 60
        store.append("maps", generation, rows({"policy": "lan"}, at_s=clock.s), loss_rows(1))
        store.sweep(hour)
    store.end_flows("maps")
    clock.s += 3 * 3600
    store.append("maps", 3, rows({"policy": "lan"}, at_s=clock.s), loss_rows(1))
    clock.s += 60
    store.sweep(hour)
    assert {r["policy"] for r in ended(store.directory)} == {"lan"}
    assert b"private" not in b"".join(path.read_bytes() for path in store.directory.glob("flows-*.sqlite"))


def test_what_went_on_when_the_store_was_closed_ends_with_what_is_written_next(
    directory: Path, clock: Clock
) -> None:
    with CaptureStore(directory, CONFIG, clock=clock, warn=fail) as store:
        store.append("maps", 0, rows({"packets": 1}), loss_rows(0), keys=ONE)
        store.append("gone", 0, rows({"packets": 2}), loss_rows(0), keys=named(b"two"))
    with CaptureStore(directory, CONFIG, clock=clock, warn=fail) as store:
        assert len(going_on(directory)) == 2
        store.append("maps", 1, rows({"packets": 4}), loss_rows(0), keys=ONE)
        assert sorted((r["packets"], r["end_reason"]) for r in ended(directory)) == [
            (1, "stopped"),
            (2, "stopped"),
        ]
        store.end_flows("maps", time_outs())
        assert [r["packets"] for r in going_on(directory)] == [4]
        store.end_flows_except(["maps"])
        assert [r["packets"] for r in going_on(directory)] == [4]
        store.end_flows_except([])
    assert sorted(r["packets"] for r in ended(directory)) == [1, 2, 4]


def test_a_write_that_fails_changes_no_flow(store: CaptureStore) -> None:
    store.append("maps", 0, rows({"packets": 1}), loss_rows(0), keys=ONE)
    broken = {"drops": pa.table({"policy": ["wan"]})}
    with pytest.raises(StoreError, match="another schema"):
        store.append("maps", 1, rows({"packets": 2}), loss_rows(0), broken, keys=ONE)
    assert store.committed("maps") == 0
    assert [r["packets"] for r in going_on(store.directory)] == [1]
    store.append("maps", 1, rows({"packets": 2}), loss_rows(0), keys=ONE)
    store.append("maps", 1, rows({"packets": 2}), loss_rows(0), keys=ONE)
    assert [r["packets"] for r in going_on(store.directory)] == [3]


def test_sums_filters_and_times_see_flows_that_go_on(store: CaptureStore) -> None:
    flows = rows({"src_ip": "10.1.0.1", "packets": 1}, {"src_ip": "10.2.0.1", "packets": 2})
    store.append("maps", 0, flows, loss_rows(0), keys=named(b"one", b"two"))
    store.append("maps", 1, rows({"src_ip": "10.1.0.1", "packets": 4, "end_reason": "idle"}), loss_rows(0))
    (sums,) = top(store.directory, EVERYTHING, ["dst_ip"], 10, fail).to_pylist()
    assert sums["packets"] == 7
    (inside,) = top(
        store.directory, FlowFilter(src=ip_network("10.1.0.0/16")), ["src_ip"], 10, fail
    ).to_pylist()
    assert (inside["src_ip"], inside["packets"]) == ("10.1.0.1", 5)
    late = FlowFilter(since_ns=(START_S + 1) * S)
    assert newest(store.directory, late, 10, fail).num_rows == 0
    by = top(store.directory, EVERYTHING, ["end_reason"], 10, fail).to_pylist()
    assert {row["end_reason"]: row["packets"] for row in by} == {None: 3, "idle": 4}


def test_a_tail_shows_a_flow_as_it_grows_and_when_it_has_ended(store: CaptureStore, clock: Clock) -> None:
    store.append("maps", 0, rows({"packets": 1}), loss_rows(0), keys=ONE)
    tail = Tail(store.directory, EVERYTHING, fail)

    def new() -> list[tuple[int, str | None]]:
        return [(r["packets"], r["end_reason"]) for table in tail.new() for r in table.to_pylist()]

    assert new() == []
    store.append("maps", 1, rows({"packets": 2}), loss_rows(0), keys=ONE)
    assert new() == [(3, None)]
    assert new() == []
    clock.s += 60
    store.append("maps", 2, rows({"packets": 5}, at_s=clock.s), loss_rows(0), keys=named(b"two"))
    assert new() == [(5, None)]
    store.end_flows("maps", time_outs())
    assert new() == [(3, "idle")]
    assert new() == []


def test_a_file_whose_flows_cannot_be_carried_is_set_aside_by_its_name(directory: Path, clock: Clock) -> None:
    said: list[str] = []
    with CaptureStore(directory, CONFIG, clock=clock, warn=said.append) as store:
        store.append("maps", 0, rows({"packets": 1}), loss_rows(1), keys=ONE)
        store.append("maps", 1, rows({"packets": 2}), loss_rows(1))
        (first,) = directory.glob("flows-*.sqlite")
        with closing(sqlite3.connect(first)) as db:
            db.execute(f"ALTER TABLE {openflows.TABLE} RENAME TO moved")
        clock.s += 60
        with pytest.raises(StoreError, match="no such table"):
            store.append("maps", 2, rows({"packets": 4}), loss_rows(1), keys=ONE)
        assert [line.split(": ")[0] for line in said] == [str(first)]
        store.append("maps", 2, rows({"packets": 4}), loss_rows(1), keys=ONE)
        assert [r["packets"] for r in going_on(directory)] == [4]


def test_flows_go_on_in_a_segment_that_an_older_release_began(directory: Path, clock: Clock) -> None:
    with CaptureStore(directory, CONFIG, clock=clock, warn=fail) as store:
        store.append("maps", 0, flow_rows(0, 5), loss_rows(1))
    for path in directory.glob("flows-*.sqlite"):
        make_older(path)
    make_older_index(directory / "index.sqlite")
    assert len(going_on(directory)) == 5, "no reason was said"
    inside = FlowFilter(dst=ip_network("192.0.2.0/24"))
    assert newest(directory, inside, 10, fail).num_rows == 5
    with CaptureStore(directory, CONFIG, clock=clock, warn=fail) as store:
        store.append("maps", 1, rows({"packets": 50}), loss_rows(0), keys=ONE)
        store.end_flows("maps")
    assert len(list(directory.glob("flows-*.sqlite"))) == 1
    assert [r["end_reason"] for r in ended(directory)] == [None] * 5 + ["stopped"]


def test_flows_that_end_while_somebody_reads_are_counted_once(
    store: CaptureStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the flows that have ended and at those that go on; and between list and files."""
    store.append("maps", 0, rows({"packets": 1}, {"packets": 2}), loss_rows(0), keys=named(b"one", b"two"))
    add, listed = SegmentMerge.add, queries._listed

    def added(merge: SegmentMerge, select: str, args: Sequence[object]) -> None:
        add(merge, select, args)
        store.end_flows("maps")

    monkeypatch.setattr(SegmentMerge, "add", added)
    assert [r["packets"] for r in top(store.directory, EVERYTHING, ["policy"], 9, fail).to_pylist()] == [3]
    monkeypatch.setattr(SegmentMerge, "add", add)
    assert len(ended(store.directory)) == 2

    def rolled(directory: Path) -> list[Segment]:
        found = listed(directory)
        clock.s += 60
        store.append("maps", 2, rows({"packets": 100}), loss_rows(0), keys=named(b"four"))
        return found

    store.append("maps", 1, rows({"packets": 4}), loss_rows(0), keys=named(b"three"))
    monkeypatch.setattr(queries, "_listed", rolled)
    assert [r["packets"] for r in top(store.directory, EVERYTHING, ["policy"], 9, fail).to_pylist()] == [7]


def test_flows_that_go_on_do_not_fill_one_file_after_the_other(directory: Path, clock: Clock) -> None:
    """Of a bound that they reach alone: what was carried to a file is not what ends it."""
    config = bounded(16 << 20, segment_s=3600, retention_s=3600)
    with CaptureStore(directory, config, clock=clock, warn=fail, reserve_bytes=0) as store:
        many = 20_000
        seen = rows(*({"packets": 1, "src_port": n} for n in range(many)))
        keys = named(*(n.to_bytes(16, "big") for n in range(many)))
        for generation in range(20):
            store.append(
                "maps", generation, seen, loss_rows(0), keys=keys, time_outs=time_outs(flows_max=99_999)
            )
        files = sorted(path.name for path in directory.glob("flows-*.sqlite"))
        assert int(files[-1][6:12]) <= 4, files
        (sums,) = top(directory, EVERYTHING, ["policy"], 9, fail).to_pylist()
        assert sums["packets"] == 20 * many


def test_many_flows_grow_and_end_a_part_at_a_time(
    store: CaptureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openflows, "_PART_ROWS", 7)
    keys = [hashlib.blake2b(bytes([n]), digest_size=16).digest() for n in range(100)]
    seen = rows(*({"packets": n} for n in range(100)))
    for generation in range(2):
        store.append("maps", generation, seen, loss_rows(0), keys=named(*keys))
    assert sorted(r["packets"] for r in going_on(store.directory)) == list(range(0, 200, 2))
    store.end_flows("maps")
    assert sorted(r["packets"] for r in ended(store.directory)) == list(range(0, 200, 2))
    assert going_on(store.directory) == []


@given(st.integers(0, 1 << 33))
def test_the_parts_of_keys_are_all_of_them_and_meet(count: int) -> None:
    bounds = list(islice(openflows.parts(count), 100_000))
    assert bool(bounds) == (count > 0)
    if bounds:
        assert bounds[0][0] == b""
        assert bounds[-1][1] > b"\xff" * 16
        assert all(before[1] == after[0] for before, after in pairwise(bounds))


def test_every_reason_has_a_number_of_ipfix() -> None:
    reason, _ = time_outs().reason(0, 0)
    assert all(f"'{name}'" in reason for name in END_REASONS)


steps = st.lists(
    st.tuples(
        st.sampled_from(["append", "end", "reopen", "roll", "others"]),
        st.integers(0, 30),
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=4, unique_by=lambda t: t[0]),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(steps)
def test_whatever_happens_every_packet_is_in_one_row(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    directory, clock = tmp_path_factory.mktemp("captures") / "c", Clock()
    store = CaptureStore(directory, CONFIG, clock=clock, warn=fail)
    sent: dict[int, int] = {}
    try:
        for generation, (what, later_s, flows) in enumerate(steps):
            clock.s += 61 if what == "roll" else later_s
            if what == "append":
                for key, packets in flows:
                    sent[key] = sent.get(key, 0) + packets
                seen = rows(*({"src_port": k, "packets": n} for k, n in flows), at_s=clock.s)
                store.append(
                    "maps", generation, seen, loss_rows(0), keys=named(*(bytes([k]) for k, _ in flows))
                )
            elif what == "reopen":
                store.close()
                store = CaptureStore(directory, CONFIG, clock=clock, warn=fail)
            elif what == "others":
                store.end_flows_except([])
            else:
                store.end_flows("maps", time_outs())
        found: dict[int, int] = {}
        for row in newest(directory, EVERYTHING, 1000, fail).to_pylist():
            found[row["src_port"]] = found.get(row["src_port"], 0) + row["packets"]
        assert found == sent
        assert all(row["end_reason"] for row in ended(directory))
    finally:
        store.close()
