"""A policy with a budget samples as coarsely as it must, says so, and goes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trace_frames as f
from trace_box import Box, Collected, tracer

from smartxd.capture.maps import PolicyMaps
from smartxd.capture.tracing import Tracing
from smartxd.manifest import Manifest
from smartxd.planes.trace.state import Sampling, Tracer
from smartxd.reconcile.plan import Verb
from smartxd.terms import Budget

pytestmark = pytest.mark.kernel
UDP = f.udp(1000, 53, bytes(20))
FRAMES = [f.ethernet(0x0800, f.ip4(17, UDP, src=f"10.0.{n >> 8}.{n & 255}")) for n in range(512)]


class Traced:
    """A policy on ``wan`` and what drains it."""

    def __init__(self, box: Box) -> None:
        self.box, self.store, self.said = box, Collected(), list[str]()
        self.tracing = Tracing(self.store, self.said.append, box.secrets_dir)

    def round(self, *frames: bytes) -> int:
        """Send, drain; the sampling interval from then on."""
        self.box.send(*frames)
        with self.box.inside():
            (report,) = self.tracing.drain(Manifest.read(self.box.manifest_path))
        return report.sampled_one_in


@pytest.fixture
def traced(box: Box) -> Iterator[Traced]:
    made = Traced(box)
    yield made
    made.tracing.close()


def policy(budget: Budget | None, sampling: Sampling | None = None) -> Tracer:
    return tracer("wan", directions=("ingress",), budget=budget, sampling=sampling)


@pytest.mark.parametrize("sampling", [None, Sampling("hash", 2)])
def test_records_beyond_the_budget_make_sampling_coarser_and_quiet_finer(
    box: Box, traced: Traced, sampling: Sampling | None
) -> None:
    asked = policy(Budget(records_per_s=1), sampling)
    assert box.converge(asked) == []
    base = traced.round()
    assert base == asked.terms.one_in
    coarser = traced.round(*FRAMES)
    assert coarser > base
    assert "records/s of 1 records/s" in traced.said[0]
    assert traced.round(*FRAMES) >= coarser
    # Each row says which interval held for it, and nothing is unaccounted for.
    kept = {n: sum(row["sampled_one_in"] == n for row in traced.store.flows) for n in (base, coarser)}
    assert 0 <= kept[coarser] < kept[base] <= len(FRAMES)
    maps = PolicyMaps(box.policy().pin_dir)
    (total,) = maps.totals().values["sum"]
    maps.close()
    assert total["seen_packets"] == 2 * len(FRAMES)
    assert total["seen_packets"] == total["sampled_out_packets"] + sum(kept.values())
    quiet = [traced.round() for _ in range(25)]
    assert quiet == sorted(quiet, reverse=True)
    assert quiet[-1] == base
    before = len(traced.store.flows)
    traced.round(*FRAMES)
    assert {row["sampled_one_in"] for row in traced.store.flows[before:]} == {base}


def test_a_cpu_that_is_used_too_much_makes_sampling_coarser_up_to_a_bound(box: Box, traced: Traced) -> None:
    assert box.converge(policy(Budget(cpu_percent=0.001))) == []
    intervals = [traced.round(*FRAMES) for _ in range(6)]
    assert intervals == sorted(intervals)
    assert intervals[-1] == 1024
    assert "0.001 % of a CPU" in traced.said[0]


def test_run_time_is_measured_where_there_is_a_budget_of_it(box: Box) -> None:
    run_times = []
    for budget in (Budget(cpu_percent=100), Budget(records_per_s=1 << 20), None):
        assert box.converge(policy(budget)) == []
        box.send(*FRAMES)
        maps = PolicyMaps(box.policy().pin_dir)
        run_times.append(maps.run_time_ns() / len(FRAMES))
        maps.close()
    assert run_times[0] > 10
    assert run_times[1:] == [0, 0]


def test_a_budget_that_changes_is_told_without_a_new_build(box: Box, traced: Traced) -> None:
    little, more = Budget(records_per_s=1), Budget(records_per_s=1 << 22)
    assert box.converge(policy(little)) == []
    traced.round()
    coarser = traced.round(*FRAMES)
    pinned = box.policy().pin_dir
    (action,) = box.plan(policy(more)).actions
    assert action.verb is Verb.UPDATE
    assert [(c.field, c.old, c.new) for c in action.changes] == [("budget", little, more)]
    assert box.converge(policy(more)) == []
    assert box.plan(policy(more)).actions == ()
    assert box.policy().pin_dir == pinned
    # A capture process that starts anew goes on from where the one before was.
    traced.tracing.close()
    traced.tracing = Tracing(traced.store, traced.said.append, box.secrets_dir)
    assert traced.round(*FRAMES) == coarser
    assert traced.round(*FRAMES) < coarser


def test_drops_alone_make_no_sampling_coarser_whatever_they_cost(box: Box, traced: Traced) -> None:
    asked = tracer("wan", flows_max=None, drops_max=1024, budget=Budget(cpu_percent=0.001, records_per_s=1))
    assert box.converge(asked) == []
    nobodys = [f.ethernet(0x9000 + n, bytes(50)) for n in range(512)]
    assert [traced.round(*nobodys) for _ in range(4)] == [1, 1, 1, 1]
    assert sum(row["packets"] for row in traced.store.drops) == 4 * len(nobodys)
    assert traced.said == []
