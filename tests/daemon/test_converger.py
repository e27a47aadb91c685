"""The converger on a real kernel: conditions that do not lie, waits that end, drift that is real."""

from __future__ import annotations

import ctypes
import math
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from smartxd.config import Config
from smartxd.daemon.converger import PLANES, Converger
from smartxd.daemon.errand import Target
from smartxd.desired import desire
from smartxd.errors import StoreError
from smartxd.objects import Condition, Event, OwnedObject
from smartxd.reconcile import contest
from smartxd.spec.load import load
from smartxd.store.control import ControlStore

pytestmark = pytest.mark.kernel

CLONE_NEWNET = 0x40000000

BOX = """
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: a}
spec: {underlay: {interface: wan0, address: 192.0.2.1/24}, loopback: 10.255.0.1}
---
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {name: t}
spec:
  boxes: {names: [a]}
  vni: 100
  flood: {mode: multicast, group: 239.1.1.1}
"""
MISSING_INTERFACE = """
---
apiVersion: smartx.io/v1alpha1
kind: TracePolicy
metadata: {name: p}
spec: {boxes: {names: [a]}, interfaces: [{name: eth9}]}
"""


class Bench:
    """A converger in a namespace of its own, in the thread that is in it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.config = Config.model_validate(
            {
                "box": "a",
                "state_dir": folder / "state",
                "run_dir": folder / "run",
                "bpffs_dir": f"/sys/fs/bpf/{name}",
                "source": {"url": "/none"},
            }
        )
        self.store = ControlStore(self.config.control_db)
        self.converger = Converger(self.config, self.store)

    def target(self, specs: str, commit: str = "c1") -> Target:
        return Target(commit, desire(load({"a.yaml": specs.encode()}), "a"), datetime.now(UTC))

    def converge(self, target: Target) -> list[Event]:
        events: list[Event] = []
        self.converger.converge(target, PLANES, events)
        self.converger.save(events, target.commit)
        return events

    def restart(self) -> None:
        self.close()
        self.store = ControlStore(self.config.control_db)
        self.converger = Converger(self.config, self.store)

    def close(self) -> None:
        self.converger.close()
        self.store.close()

    def condition(self, object: str, type: str) -> Condition:
        (found,) = [c for c in self.converger.conditions if (str(c.object), c.type) == (object, type)]
        return found

    def ip(self, *argv: str) -> None:
        subprocess.run(["ip", *argv], check=True, timeout=60)


def run_inside(folder: Path, act: Callable[[Bench], None]) -> None:
    """Act in a thread of its own: it alone enters the namespace."""
    name = f"conv-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=60)
    outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def inside() -> None:
        try:
            with Path(f"/run/netns/{name}").open() as namespace:
                assert ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0
            bench = Bench(folder, name)
            try:
                bench.ip("link", "set", "lo", "up")
                bench.ip("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
                bench.ip("addr", "add", "192.0.2.1/24", "dev", "wan0")
                bench.ip("link", "set", "wan0", "up")
                act(bench)
            finally:
                bench.converger.trace.remove_all()
                bench.close()
        except BaseException as err:  # noqa: BLE001 (handed to the test's own thread)
            outcome.put(err)
        else:
            outcome.put(None)

    thread = threading.Thread(target=inside)
    thread.start()
    try:
        failure = outcome.get(timeout=120)
        thread.join(60)
        if failure is not None:
            raise failure
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)


Inside = Callable[[Callable[[Bench], None]], None]


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    return lambda act: run_inside(tmp_path, act)


def test_before_the_first_round_nothing_is_ready_whatever_a_former_life_has_seen(inside: Inside) -> None:
    def act(bench: Bench) -> None:
        bench.converge(bench.target(BOX))
        assert bench.condition("Box/a", "Ready").status
        since = bench.condition("Tunnel/t", "Ready").since
        bench.restart()
        ready = bench.condition("Box/a", "Ready")
        assert (ready.status, ready.reason) == (False, "NotObserved")
        bench.converge(bench.target(BOX))
        assert bench.condition("Tunnel/t", "Ready").since == since

    inside(act)


def test_what_changed_while_nobody_looked_is_repaired_but_not_called_drift(inside: Inside) -> None:
    def act(bench: Bench) -> None:
        bench.converge(bench.target(BOX))
        bench.ip("link", "del", "vx100")
        bench.restart()
        kinds = {event.kind for event in bench.converge(bench.target(BOX))}
        assert kinds == {"Applied"}
        bench.ip("link", "del", "vx100")
        kinds = {event.kind for event in bench.converge(bench.target(BOX))}
        assert kinds == {"Applied", "Drift"}

    inside(act)


def test_what_someone_keeps_changing_back_is_contested_and_repaired_seldom(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(bench: Bench) -> None:
        target = bench.target(BOX)
        bench.converge(target)
        for _ in range(contest.REPAIRS):
            assert bench.converger.retries()["kernel"] == math.inf
            bench.ip("link", "set", "vx100", "mtu", "1400")
            events = bench.converge(target)
        change = "link vx100: mtu 1450 → 1400"
        assert [e.kind for e in events] == ["Applied", "Drift", "Contested"]
        assert events[1].message == f"changed by someone else: {change}"
        contested = bench.condition("Tunnel/t", "Contested")
        assert (contested.status, contested.message) == (True, events[2].message)
        assert contested.message.startswith(change)
        assert bench.condition("Tunnel/t", "Ready").status

        bench.ip("link", "set", "vx100", "mtu", "1300")
        assert bench.converge(target) == []
        ready = bench.condition("Tunnel/t", "Ready")
        assert (ready.status, ready.reason) == (False, "Contested")
        assert "mtu 1450 → 1300" in ready.message
        now = time.monotonic()
        assert now < bench.converger.retries()["kernel"] <= now + contest.PAUSE_S

        monkeypatch.setattr(contest, "PAUSE_S", 0.0)
        assert [e.kind for e in bench.converge(target)] == ["Applied", "Drift"]
        assert bench.condition("Tunnel/t", "Ready").status
        assert bench.condition("Tunnel/t", "Contested").status
        monkeypatch.setattr(contest, "QUIET_S", 0.0)
        bench.converge(target)
        quiet = bench.condition("Tunnel/t", "Contested")
        assert (quiet.status, quiet.reason) == (False, "Quiet")
        assert bench.converger.retries()["kernel"] == math.inf

    inside(act)


def test_a_new_commit_that_changes_what_is_there_is_not_drift(inside: Inside) -> None:
    def act(bench: Bench) -> None:
        bench.converge(bench.target(BOX))
        other = bench.target(BOX.replace("vni: 100", "vni: 101"), "c2")
        bench.converger.adopt()
        kinds = {event.kind for event in bench.converge(other)}
        assert kinds == {"Applied"}

    inside(act)


def test_a_tracer_that_waits_for_its_interface_asks_for_no_round(inside: Inside) -> None:
    def act(bench: Bench) -> None:
        target = bench.target(BOX + MISSING_INTERFACE)
        for _ in range(3):
            bench.converge(target)
        assert bench.condition("TracePolicy/p", "Ready").reason == "WaitingForInterface"
        soon = time.monotonic() + 0.2
        assert all(at > soon for at in bench.converger.retries().values())

    inside(act)


def test_a_passing_fault_of_the_store_asks_for_no_rounds_when_it_is_over(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(bench: Bench) -> None:
        target = bench.target(BOX)  # nothing of it concerns FRR or the tracers

        def fails() -> frozenset[OwnedObject]:
            raise StoreError("a passing fault")

        with monkeypatch.context() as fault:
            fault.setattr(bench.store, "owned", fails)
            bench.converge(target)
        assert bench.condition("Box/a", "Ready").reason == "StoreFailed"
        bench.converger.adopt()
        bench.converge(target)
        assert bench.condition("Box/a", "Ready").status
        with monkeypatch.context() as fault:
            fault.setattr(bench.store, "owned", fails)
            bench.converge(target)
        for plane in PLANES:
            bench.converger.hasten(plane)
        bench.converge(target)
        assert set(bench.converger.retries().values()) == {float("inf")}

    inside(act)


def test_a_store_that_cannot_be_written_is_said_and_repairs_go_on(inside: Inside) -> None:
    def act(bench: Bench) -> None:
        target = bench.target(BOX)
        bench.converge(target)
        pages = bench.store._connection.execute("pragma page_count").fetchone()[0]
        bench.store._connection.execute(f"pragma max_page_count={pages}")
        many = [Event(datetime.now(UTC), "c1", bench.converger.box, "Applied", "x" * 1000)] * 500
        bench.converger.save(many, "c1")
        bench.ip("link", "set", "vx100", "down")
        bench.converge(target)
        ready = bench.condition("Box/a", "Ready")
        assert (ready.status, ready.reason) == (False, "StoreFailed")
        shown = subprocess.run(["ip", "-br", "link", "show", "vx100", "up"], capture_output=True, check=True)
        assert b"vx100" in shown.stdout
        bench.store._connection.execute(f"pragma max_page_count={pages * 1000}")
        bench.converge(target)
        bench.converge(target)
        assert bench.condition("Box/a", "Ready").status

    inside(act)


def test_after_a_teardown_nothing_is_said_of_what_was(inside: Inside) -> None:
    def act(bench: Bench) -> None:
        bench.converge(bench.target(BOX))
        results, problems = bench.converger.teardown()
        assert problems == ()
        assert {r.action.id for r in results} == {
            "link vx100",
            "link br100",
            "address 10.255.0.1/32 dev lo",
        }
        assert bench.store.conditions() == ()
        assert bench.store.commit() == ""
        assert bench.store.owned() == frozenset()

    inside(act)


def test_with_the_inventory_lost_the_same_commit_takes_everything_back(inside: Inside) -> None:
    def act(bench: Bench) -> None:
        traced = BOX + MISSING_INTERFACE.replace("eth9", "wan0")
        bench.converge(bench.target(traced))
        before = bench.store.owned()
        bench.close()
        shutil.rmtree(bench.config.state_dir)
        bench.store = ControlStore(bench.config.control_db)
        bench.converger = Converger(bench.config, bench.store)
        for _ in range(2):
            bench.converge(bench.target(traced))
        assert bench.store.owned() == before
        assert bench.condition("Box/a", "Ready").status

    inside(act)
