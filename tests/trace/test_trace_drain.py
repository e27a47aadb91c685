"""From the kernel's maps to the store: exactly once, all of it, whatever is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from trace_box import Box, Collected, stored_flows, tracer
from trace_traffic import Traffic, flow

from smartxd.capture.drain import Drain
from smartxd.capture.maps import GracePeriod, PolicyMaps

pytestmark = pytest.mark.kernel
POINTS = ("before flip", "flipped", "idle", "read", "committed", "totalled", "flows emptied", "settled")


def test_a_full_map_is_counted_as_loss_and_seen_is_recorded_plus_lost(box: Box) -> None:
    box.converge(tracer("wan", flows_max=16))
    box.send(*(flow(n, n) for n in range(100)), *(flow(n, n) for n in range(100)))
    store = Collected()
    maps = PolicyMaps(box.policy().pin_dir)
    seen = maps.ledger(0)
    maps.close()
    box.drain(store)
    # All places of plain flows, and all that are for others.
    assert len({row["src_port"] for row in store.flows}) == len(store.flows) == 32
    (lost,) = store.losses
    assert (lost["policy"], lost["interface"], lost["direction"]) == ("wan", "wan", "ingress")
    assert lost["cause"] == "overflow"
    assert lost["packets"] == 2 * 68
    for what in ("packets", "skbs", "bytes"):
        recorded = sum(row[what] for row in store.flows)
        assert recorded + lost[what] == seen.values[f"seen_{what}"][0]
    assert seen.values["seen_bytes"][0] == box.counter("wan", "rx_bytes")


def test_a_drained_map_has_room_again(box: Box) -> None:
    box.converge(tracer("wan", flows_max=64))
    store = Collected()
    for start in range(0, 64 * 5, 64):
        box.send(*(flow(n) for n in range(start, start + 64)))
        box.drain(store)
    assert len(store.flows) == 64 * 5
    assert store.losses == []


def test_a_quiet_policy_is_neither_flipped_nor_stored(box: Box) -> None:
    box.converge(tracer("wan"))
    store = Collected()
    reached: list[str] = []
    box.drain(store, reached=reached.append)
    assert (reached, store.generations) == ([], {})


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_under_traffic_loses_and_doubles_nothing(
    box: Box, tmp_path: Path, point: str
) -> None:
    box.converge(tracer("wan"))
    captures = tmp_path / "captures"
    script = Path(__file__).with_name("crash_drain.py")

    def drain(where: str, rounds: int) -> int:
        argv = [sys.executable, str(script), str(box.manifest_path), str(captures), where, str(rounds)]
        return subprocess.run(argv, timeout=60, check=False).returncode

    before = {name: box.counter("wan", name) for name in ("rx_packets", "rx_bytes")}
    traffic = Traffic(box)
    traffic.start()
    try:
        for rounds in (1, 5):
            while not (sent := traffic.sent):
                time.sleep(0.01)
            assert drain(point, rounds) == 9
            assert traffic.sent > sent  # there was traffic meanwhile
    finally:
        traffic.end()
    assert drain("", 1) == 0
    packets, size = stored_flows(captures, "select sum(packets), sum(bytes) from flows")[0]
    assert packets == box.counter("wan", "rx_packets") - before["rx_packets"] == traffic.sent
    assert size == box.counter("wan", "rx_bytes") - before["rx_bytes"]
    assert stored_flows(captures, "select * from losses") == []
    maps = PolicyMaps(box.policy().pin_dir)
    totals = maps.totals().values["sum"]
    maps.close()
    assert (totals["seen_packets"].sum(), totals["seen_bytes"].sum()) == (packets, size)


@pytest.mark.parametrize("point", POINTS)
def test_a_drain_that_stopped_anywhere_is_completed_by_the_next(box: Box, point: str) -> None:
    """As above, with a store that would take a generation twice, and packets counted in between."""

    class StopError(Exception):
        pass

    def stop(where: str) -> None:
        if where == point:
            raise StopError

    box.converge(tracer("wan"))
    store = Collected()
    for _ in range(3):
        box.send(*(flow(n) for n in range(50)))
        with pytest.raises(StopError):
            box.drain(store, reached=stop)
    box.send(*(flow(n) for n in range(50)))
    box.drain(store)
    assert sum(row["packets"] for row in store.flows) == 200
    maps = PolicyMaps(box.policy().pin_dir)
    assert maps.totals().values["sum"]["seen_packets"].sum() == 200
    assert not any(len(maps.flows(g)) or len(maps.ledger(g)) for g in (0, 1))
    maps.close()


def test_the_old_map_is_read_only_after_a_grace_period(box: Box) -> None:
    box.converge(tracer("wan"))
    box.send(flow(1))
    steps: list[str] = []

    class Grace(GracePeriod):
        def wait(self) -> None:
            steps.append("grace")
            super().wait()

    maps, grace = PolicyMaps(box.policy().pin_dir), Grace()
    Drain(maps, Collected(), grace, reached=steps.append).run(box.policy())
    assert steps[:5] == ["before flip", "flipped", "grace", "idle", "read"]
    steps.clear()
    box.send(flow(1))
    with pytest.raises(InterruptedError):
        Drain(maps, Collected(), grace, reached=lambda at: _interrupt(at, "flipped")).run(box.policy())
    Drain(maps, Collected(), grace, reached=steps.append).run(box.policy())
    assert steps[:2] == ["grace", "read"]
    maps.close()
    grace.close()


def _interrupt(at: str, point: str) -> None:
    if at == point:
        raise InterruptedError


def test_many_drains_under_traffic_on_all_cpus_balance(box: Box) -> None:
    """Two senders, so that two CPUs insert into the same flows while the maps flip under them."""
    box.converge(tracer("wan", flows_max=300))
    store = Collected()
    senders = [Traffic(box), Traffic(box)]
    maps, grace = PolicyMaps(box.policy().pin_dir), GracePeriod()
    for sender in senders:
        sender.start()
    try:
        drain = Drain(maps, store, grace)
        while not all(sender.sent for sender in senders):
            time.sleep(0.01)
        for _ in range(30):
            drain.run(box.policy())
    finally:
        for sender in senders:
            sender.end()
    drain.run(box.policy())
    seen = maps.totals().values["sum"][0]
    maps.close()
    grace.close()
    assert seen["seen_packets"] == sum(s.sent for s in senders) == box.counter("wan", "rx_packets")
    for what in ("packets", "skbs", "bytes"):
        recorded = sum(row[what] for row in store.flows)
        lost = sum(row[what] for row in store.losses)
        assert lost == seen[f"overflow_{what}"] > 0
        assert recorded + lost == seen[f"seen_{what}"]
    for table in store.flow_tables:  # of one generation each
        assert len(table["src_port"].unique()) == len(table)


def test_the_grace_period_is_really_waited_for() -> None:
    """An update of a map of maps takes an RCU grace period, thousands of times a plain update."""
    grace = GracePeriod()
    started = time.perf_counter()
    for _ in range(3):
        grace.wait()
    took_s = time.perf_counter() - started
    grace.close()
    assert took_s > 0.001
