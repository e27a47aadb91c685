"""FRR has a lane of its own: whatever it does, kernel, status and plans go on."""

from __future__ import annotations

import errno
import json
import os
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from smartxd.daemon.loop import Loop
from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.frr.look import Look
from smartxd.planes.frr.sessions import Change
from smartxd.planes.frr.state import FRRState
from smartxd.reconcile.plan import Action, Ownership, Plan, Result, Verb
from smartxd.report import ControlReport
from tests.daemon.conftest import BOX, ROUTER, SECOND_TUNNEL, TIMEOUT_S, TUNNEL, Daemon, steps

pytestmark = pytest.mark.kernel

SPEAKER = BOX + TUNNEL + ROUTER


class Slow:
    """A plane that holds what it has been given, and observes only when a test lets it."""

    name = "frr"

    def __init__(self) -> None:
        self.began: queue.SimpleQueue[None] = queue.SimpleQueue()
        """An item for each observation that has begun."""
        self._go: queue.SimpleQueue[PlaneError | OSError | None] = queue.SimpleQueue()
        self._open = threading.Event()
        self._held: frozenset[str] = frozenset()
        self._at_once = threading.Lock()

    def let(self, error: PlaneError | OSError | None = None) -> None:
        """Let one observation be done, or fail."""
        self._go.put(error)

    def let_all(self) -> None:
        """Let all go on from now on, and the one that waits."""
        self._open.set()
        self._go.put(None)

    def hold(self) -> None:
        """Let no more go on, when none is under way."""
        self._open.clear()
        for left in (self.began, self._go):
            while not left.empty():
                left.get()

    def await_round(self) -> None:
        """Return when an observation has begun."""
        self.began.get(timeout=TIMEOUT_S)

    def has_leftovers(self) -> bool:
        return False

    def observe(self) -> frozenset[str]:
        assert self._at_once.acquire(blocking=False), "two rounds at once"
        try:
            self.began.put(None)
            if not self._open.is_set() and (error := self._go.get(timeout=TIMEOUT_S)):
                raise error
            return self._held
        finally:
            self._at_once.release()

    def plan(self, desired: FRRState, observed: frozenset[str], owned: Ownership) -> Plan:
        made = {o.id: o.owner for o in desired.objects()}
        create = [Action("frr", id, made[id], Verb.CREATE) for id in sorted(made.keys() - observed)]
        mine = owned.of("frr")
        delete = [
            Action("frr", id, mine[id], Verb.DELETE) for id in sorted((observed & mine.keys()) - made.keys())
        ]
        return Plan((*create, *delete))

    def apply(self, plan: Plan, observed: frozenset[str]) -> Iterator[Result]:
        for action in plan.actions:
            kept = observed if action.verb is Verb.CREATE else observed - {action.id}
            observed = kept | ({action.id} if action.verb is Verb.CREATE else set())
            self._held = observed
            yield Result(action)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def daemon(tmp_path: Path, namespace: str, slow: Slow) -> Iterator[Daemon]:
    """A loop whose FRR is ``slow``."""
    began: Future[Loop] = Future()
    running = Daemon(tmp_path, namespace, f"/sys/fs/bpf/{namespace}", began.set_result)
    replacing: Any = running.converger
    replacing.frr = slow
    try:
        yield running
    finally:
        slow.let_all()
        running.close()


def state(report: ControlReport, object: str, type: str = "Ready") -> tuple[bool, str]:
    (found,) = [c for c in report.conditions if (c.object, c.type) == (object, type)]
    return found.status, found.reason


def until(daemon: Daemon, commit: str, object: str, wanted: tuple[bool, str]) -> ControlReport:
    end = time.monotonic() + TIMEOUT_S
    while state(report := daemon.rounds(commit), object) != wanted:
        assert time.monotonic() < end, state(report, object)
        time.sleep(0.02)
    return report


def kinds(daemon: Daemon, commit: str) -> list[str]:
    return [f"{kind} {words}" for kind, words in daemon.history(commit) if kind != "CommitAccepted"]


def test_a_commit_is_ready_when_frr_has_converged_on_it_and_the_kernel_goes_first(
    daemon: Daemon, slow: Slow
) -> None:
    daemon.commit(SPEAKER, "c1")
    slow.await_round()
    assert "vx100" in daemon.ip("link", "show", "vx100")
    report = daemon.rounds("c1")
    assert state(report, "BGPRouter/a") == (False, "InProgress")
    assert state(report, "BGPRouter/a", "Reconciling") == (True, "InProgress")
    assert state(report, "Tunnel/t") == (True, "Converged")
    assert json.loads(daemon.loop.ready()) == {"box": "a", "commit": "c1", "ready": False}
    slow.let_all()
    until(daemon, "c1", "BGPRouter/a", (True, "Converged"))
    assert json.loads(daemon.loop.ready()) == {"box": "a", "commit": "c1", "ready": True}
    assert kinds(daemon, "c1")[-1].startswith("Applied create router bgp 65001")


def test_a_round_of_frr_that_hangs_keeps_no_link_from_its_repair(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(SPEAKER, "c1")
    slow.await_round()
    for _ in range(3):
        daemon.ip("link", "del", "vx100")
        daemon.loop.mark("kernel")
        report = daemon.rounds("c1")
        assert "vx100" in daemon.ip("link", "show", "vx100")
        assert state(report, "Tunnel/t", "Drifted") == (False, "Repaired")
    assert state(report, "BGPRouter/a") == (False, "InProgress")


def test_a_round_for_drift_shakes_no_condition(daemon: Daemon, slow: Slow) -> None:
    slow.let_all()
    daemon.commit(SPEAKER, "c1")
    before = until(daemon, "c1", "Box/a", (True, "Converged")).conditions
    slow.hold()
    daemon.loop.mark("frr")
    slow.await_round()
    assert daemon.rounds("c1").conditions == before


def test_what_changes_during_a_round_makes_one_more_after_it(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(SPEAKER, "c1")
    slow.await_round()
    for _ in range(3):
        daemon.loop.mark("frr")
        daemon.rounds("c1")
    assert slow.began.empty()
    slow.let()  # it applies, and looks again
    slow.await_round()
    slow.let()
    slow.await_round()  # the one more
    slow.let()
    until(daemon, "c1", "Box/a", (True, "Converged"))
    assert slow.began.empty()


def test_a_commit_during_a_round_gets_a_round_of_its_own(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(SPEAKER, "c1")
    slow.await_round()
    second = BOX.replace("65001", "65002") + TUNNEL + ROUTER
    daemon.commit(second, "c2")
    slow.let()
    slow.await_round()
    assert state(daemon.rounds("c2"), "BGPRouter/a") == (False, "InProgress")
    slow.let_all()
    until(daemon, "c2", "Box/a", (True, "Converged"))
    assert any(line.startswith("Applied create router bgp 65001") for line in kinds(daemon, "c1"))
    done = [line for line in kinds(daemon, "c2") if "router" in line]
    assert done == ["Applied create router bgp 65002", "Applied delete router bgp 65001"]
    assert "Drift" not in [line.split()[0] for line in kinds(daemon, "c2")]


def test_a_commit_without_frr_waits_for_no_round(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(BOX + TUNNEL, "c1")
    assert state(daemon.rounds("c1"), "Box/a") == (True, "Converged")
    assert slow.began.empty()


def test_while_a_retry_is_under_way_the_loop_waits_for_it(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(SPEAKER, "c1")
    slow.let(PlaneError("FRRDaemonDown", "bgpd does not answer"))
    until(daemon, "c1", "BGPRouter/a", (False, "FRRDaemonDown"))
    slow.await_round()
    slow.await_round()  # the retry
    assert daemon.converger.retries()["frr"] < time.monotonic()
    assert daemon.loop._deadline() > time.monotonic() + 60
    assert state(daemon.rounds("c1"), "BGPRouter/a") == (False, "FRRDaemonDown")
    slow.let_all()
    until(daemon, "c1", "Box/a", (True, "Converged"))


def test_what_the_machine_refuses_is_told_and_ends_nothing(daemon: Daemon, slow: Slow) -> None:
    """No room for a file, no program to start: the lane's thread must live on, and a plan has its answer."""
    daemon.commit(SPEAKER, "c1")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/smartxd-frr")
    slow.let(full)
    until(daemon, "c1", "BGPRouter/a", (False, "MachineRefused"))
    slow.let_all()
    until(daemon, "c1", "Box/a", (True, "Converged"))
    slow.hold()
    with ThreadPoolExecutor(1) as asking:
        plan = asking.submit(daemon.plan, SPEAKER + SECOND_TUNNEL)
        slow.let(full)
        (problem,) = {p.message for p in plan.result(TIMEOUT_S).problems if p.owner == "BGPRouter/a"}
    assert "No space left on device: '/tmp/smartxd-frr'; make room" in problem


def test_a_daemon_that_comes_back_during_a_round_is_tried_at_once(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(SPEAKER, "c1")
    slow.await_round()
    daemon.loop.mark("frr")
    daemon.rounds("c1")
    for _ in range(8):  # no wait grows over what was heard while it went on
        slow.let(PlaneError("FRRDaemonDown", "bgpd does not answer"))
        slow.await_round()
        daemon.loop.mark("frr")
        daemon.rounds("c1")
    slow.let_all()
    until(daemon, "c1", "Box/a", (True, "Converged"))


def test_a_plan_waits_for_frr_and_the_loop_does_not(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(BOX + TUNNEL, "c1")
    with ThreadPoolExecutor(1) as asking:
        plan = asking.submit(daemon.plan, SPEAKER + SECOND_TUNNEL)
        slow.await_round()
        daemon.ip("link", "del", "vx100")
        daemon.loop.mark("kernel")
        daemon.rounds("c1")
        assert "vx100" in daemon.ip("link", "show", "vx100")
        slow.let()
        found = steps(plan.result(TIMEOUT_S))
    assert "create link vx200" in found
    assert "create router bgp 65001" in found
    assert "create link vx100" not in found, "planned from what was there when FRR had answered"


def test_a_plan_to_a_target_that_changed_meanwhile_is_one_to_the_newest(daemon: Daemon, slow: Slow) -> None:
    slow.let_all()
    daemon.commit(SPEAKER, "c1")
    until(daemon, "c1", "Box/a", (True, "Converged"))
    slow.hold()
    with ThreadPoolExecutor(1) as asking:
        plan = asking.submit(daemon.plan)
        slow.await_round()
        daemon.commit(SPEAKER + SECOND_TUNNEL, "c2")
        slow.let_all()
        assert plan.result(TIMEOUT_S).commit == "c2"


def test_the_end_does_not_wait_for_frr(daemon: Daemon, slow: Slow) -> None:
    daemon.commit(SPEAKER, "c1")
    slow.await_round()
    daemon.close()
    assert slow.began.empty()


def test_what_happens_to_sessions_is_history_and_a_storm_is_cut_short(daemon: Daemon, slow: Slow) -> None:
    slow.let_all()
    daemon.commit(SPEAKER, "c1")
    until(daemon, "c1", "Box/a", (True, "Converged"))
    peer = ObjectRef("BGPPeer", "p")
    daemon.loop.looked(Look({}, changes=(Change(peer, "SessionDown", "192.0.2.2: down after 0:00:07"),)))
    daemon.rounds("c1")
    assert daemon.history("c1")[-1] == ("SessionDown", "192.0.2.2: down after 0:00:07")
    many = tuple(Change(peer, "SessionUp", f"192.0.2.{n}: established") for n in range(150))
    daemon.loop.looked(Look({}, changes=many))
    daemon.rounds("c1")
    assert daemon.history("c1")[-1] == ("SessionsChanged", "50 more changes of sessions at once")
    assert len([kind for kind, _ in daemon.history("c1") if kind == "SessionUp"]) == 100
