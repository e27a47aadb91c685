"""The planes of one box, the book of what they made, and the conditions that follow."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from smartxd.config import Config
from smartxd.desired import Desired
from smartxd.errors import PlaneError
from smartxd.objects import Condition, ConditionType, Event, ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.kernel.plane import KernelPlane
from smartxd.planes.trace.plane import TracePlane
from smartxd.reconcile.backoff import Backoff
from smartxd.reconcile.conditions import Judge, Key
from smartxd.reconcile.converge import Round, State, converge
from smartxd.reconcile.plan import Action, Problem
from smartxd.store.control import ControlStore

PLANES = ("kernel", "frr", "trace")
"""In the order in which they are converged: FRR announces what the kernel has, tracers watch its links."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the box is to be, and the commit that says so."""

    commit: str
    desired: Desired
    taken_at: datetime


@dataclass(slots=True)
class Converger:
    """Converges the planes of a box; not thread-safe: the daemon's loop is its only caller."""

    config: Config
    store: ControlStore
    kernel: KernelPlane = field(init=False)
    frr: FRRPlane = field(init=False)
    trace: TracePlane = field(init=False)
    _backoff: Backoff = field(init=False)
    _problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    _conditions: dict[Key, Condition] = field(init=False)
    _saved: tuple[tuple[Condition, ...], str] | None = None

    def __post_init__(self) -> None:
        self.kernel = KernelPlane()
        self.frr = FRRPlane(self.config.frr)
        self.trace = TracePlane(self.config.bpffs_dir, self.config.manifest)
        self._backoff = Backoff(random.random)
        self._conditions = {(c.object, c.type): c for c in self.store.conditions()}

    @property
    def box(self) -> ObjectRef:
        """The box itself, on which what concerns no single object is said."""
        return ObjectRef("Box", self.config.box)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of this moment, sorted by object and type."""
        return tuple(self._conditions[key] for key in sorted(self._conditions))

    def retry_at(self) -> float | None:
        """When the next try of a failed object is due, on the monotonic clock."""
        return self._backoff.next()

    def adopt(self) -> None:
        """A new commit: whatever failed before may be cured."""
        self._backoff.reset()

    def converge(self, target: Target, dirty: Collection[str], events: list[Event]) -> None:
        """Converge the dirty planes on the target; ``events`` and the conditions say what came of it."""
        unchanged = self.store.commit() == target.commit
        repaired: dict[ObjectRef, list[str]] = {}
        for plane in PLANES:
            if plane not in dirty:
                continue
            done = self._round(plane, target.desired)
            self._problems[plane] = done.problems
            for result in done.results:
                events.append(_event(result.action, result.problem, target.commit))
                if unchanged and self._was_ready(result.action.owner):
                    repaired.setdefault(result.action.owner, []).append(result.action.id)
        self._publish(dirty, target.commit)
        now = datetime.now(UTC)
        events += [
            Event(now, target.commit, owner, "Drift", f"changed by someone else: {', '.join(ids)}")
            for owner, ids in repaired.items()
        ]
        self._judge(target, repaired, now)

    def source(self, verified: bool, reason: str, message: str, commit: str) -> None:
        """Say what the newest commit was judged."""
        judge = Judge(commit, datetime.now(UTC), self._conditions)
        made = judge.condition(self.box, ConditionType.SOURCE_VERIFIED, verified, reason, message)
        self._conditions[(made.object, made.type)] = made

    def save(self, events: Sequence[Event], commit: str) -> None:
        """Write conditions, history and the applied commit down; a round without news writes nothing."""
        news = (self.conditions, commit)
        if events or news != self._saved:
            self.store.save(self.conditions, events, commit)
            self._saved = news

    def teardown(self) -> tuple[Problem, ...]:
        """Remove everything that is owned, in reverse order; the problems that were left."""
        problems: list[Problem] = []
        for plane in reversed(PLANES):
            problems += self._round(plane, Desired()).problems
        self.trace.remove_all()
        return tuple(problems)

    def close(self) -> None:
        """Let go of the kernel's sockets."""
        self.kernel.close()

    def _round(self, plane: str, desired: Desired) -> Round:
        """One round of one plane; a plane out of reach is a problem of everything it should hold."""
        driver: Any = getattr(self, plane)
        state: State = getattr(desired, plane)
        wanted = state.objects()
        if not wanted and not any(o.plane == plane for o in self.store.owned()):
            return Round(plane)
        now = time.monotonic()
        whole = ObjectRef("Plane", plane)  # waits for its next try as a whole, apart from its objects
        try:
            done = converge(driver, state, self.store, self._backoff.waiting(now))
        except PlaneError as err:
            text = f"{err.message}; {err.hint}" if err.hint else err.message
            owners = sorted({o.owner for o in wanted}) or [self.box]
            self._backoff.note([whole], [Problem(whole, err.reason, text)], now)
            return Round(plane, (), tuple(Problem(owner, err.reason, text) for owner in owners))
        self._backoff.note({whole, *(r.action.owner for r in done.results)}, done.problems, now)
        still = tuple(p for p in self._problems.get(plane, ()) if p.owner in done.deferred)
        return replace(done, problems=(*done.problems, *still))

    def _publish(self, dirty: Collection[str], commit: str) -> None:
        """Tell the capture process what is traced; where that fails, the round has said why."""
        if "trace" in dirty:
            with contextlib.suppress(PlaneError):
                self.trace.publish(commit)

    def _was_ready(self, owner: ObjectRef) -> bool:
        before = self._conditions.get((owner, ConditionType.READY))
        return before is not None and before.status

    def _judge(self, target: Target, repaired: Mapping[ObjectRef, list[str]], now: datetime) -> None:
        judge = Judge(target.commit, now, self._conditions)
        by_owner: dict[ObjectRef, list[Problem]] = {}
        for problem in (p for problems in self._problems.values() for p in problems):
            by_owner.setdefault(problem.owner, []).append(problem)
        objects = dict.fromkeys((*target.desired.objects, *sorted(by_owner)))
        made = {ref: judge.object(ref, by_owner.get(ref, ()), repaired.get(ref, ())) for ref in objects}
        own = made.pop(self.box, [])
        others = [c for conditions in made.values() for c in conditions]
        ready = judge.box(self.box, others, own)
        kept = [c for (ref, type_), c in self._conditions.items() if type_ is ConditionType.SOURCE_VERIFIED]
        whole = [*kept, *(c for c in own if c.type is not ConditionType.READY), *others, ready]
        self._conditions = {(c.object, c.type): c for c in whole}


def _event(action: Action, problem: Problem | None, commit: str) -> Event:
    what = f"{action.verb} {action.id}"
    kind, message = ("Applied", what) if problem is None else ("Failed", f"{what}: {problem.message}")
    return Event(datetime.now(UTC), commit, action.owner, kind, message)
