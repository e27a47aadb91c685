"""The planes of one box, the book of what they made, and the conditions that follow."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from smartxd.config import Config
from smartxd.daemon.errand import Errand, Outcome, Target, refused
from smartxd.daemon.foresight import after
from smartxd.desired import Desired
from smartxd.errors import PlaneError, SmartxError, StoreError
from smartxd.objects import Condition, ConditionType, Event, ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.kernel.plane import KernelPlane
from smartxd.planes.trace.plane import TracePlane
from smartxd.reconcile.backoff import Backoff
from smartxd.reconcile.conditions import Judge, Key
from smartxd.reconcile.contest import Contests, drift, drifted
from smartxd.reconcile.converge import Round, State
from smartxd.reconcile.plan import Action, Ownership, Plan, Problem, Result
from smartxd.store.control import ControlStore

PLANES = ("kernel", "frr", "trace")
"""In the order in which they are converged: FRR announces what the kernel has, tracers watch its links."""

_STORE = "store"
"""The name under which a store that cannot be written stands among the planes' problems."""


@dataclass(slots=True)
class _News:
    """What rounds found that somebody else has done."""

    repaired: dict[ObjectRef, list[Action]] = field(default_factory=dict)
    fought: set[ObjectRef] = field(default_factory=set)
    """Owners of objects about which a fight has begun."""


@dataclass(slots=True)
class Converger:
    """Converges the planes of a box; not thread-safe: the daemon's loop is its only caller.

    Others may read ``conditions``, which is replaced whole, and call ``draft``; FRR's rounds may be done in
    another thread, between ``converge`` and ``finish``.
    """

    config: Config
    store: ControlStore
    conditions: tuple[Condition, ...] = ()
    """Of this moment, sorted by object and type."""
    kernel: KernelPlane = field(init=False)
    frr: FRRPlane = field(init=False)
    trace: TracePlane = field(init=False)
    _backoff: dict[str, Backoff] = field(init=False)
    _problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    _looked_at: dict[str, Target] = field(default_factory=dict)
    """For what each plane had its last round: its problems are those of another target until then."""
    _previous: dict[Key, Condition] = field(init=False)
    _contests: Contests = field(default_factory=Contests)
    _seen_whole: set[ObjectRef] = field(default_factory=set)
    """Objects that this process has seen as the spec says: what changes on them now is someone's doing."""
    _saved: tuple[tuple[Condition, ...], str] | None = None

    def __post_init__(self) -> None:
        self.kernel = KernelPlane()
        self.frr = FRRPlane(self.config.frr, self.config.secrets_dir)
        self.trace = TracePlane(self.config.bpffs_dir, self.config.manifest, self.config.secrets_dir)
        self._backoff = {plane: Backoff(random.random) for plane in PLANES}
        self._previous = {(c.object, c.type): c for c in self.store.conditions()}
        # What a former life has seen serves for "since" only: nothing has been looked at yet.
        unknown = Judge("", datetime.now(UTC), {}).condition(
            self.box, ConditionType.READY, False, "NotObserved", "smartxd has just started"
        )
        self.conditions = (unknown,)

    @property
    def box(self) -> ObjectRef:
        """The box itself, on which what concerns no single object is said."""
        return ObjectRef("Box", self.config.box)

    def retries(self) -> dict[str, float]:
        """When the next try of something that failed is due, by plane, on the monotonic clock."""
        return {
            plane: min(backoff.next(), self._contests.next(plane) if self.reachable(plane) else math.inf)
            for plane, backoff in self._backoff.items()
        }

    def adopt(self) -> None:
        """A new commit: whatever failed before may be cured, and whatever differs now is our own doing."""
        for backoff in self._backoff.values():
            backoff.reset()
        self._contests.reset()
        self._seen_whole.clear()

    def hasten(self, plane: str) -> None:
        """Something happened to a plane: if it was out of reach, it may be back."""
        self._backoff[plane].forget(_whole(plane))

    def reachable(self, plane: str) -> bool:
        """Whether the plane answered when it was last looked at."""
        return _whole(plane) not in self._backoff[plane].waiting(time.monotonic())

    def converge(
        self,
        target: Target,
        dirty: Collection[str],
        events: list[Event],
        hand_over: Callable[[Errand], None] | None = None,
    ) -> None:
        """Converge the dirty planes on the target; ``events`` and the conditions say what came of it.

        FRR's round goes to ``hand_over``, where there is one, to be done elsewhere while the others go on;
        what came of it goes to ``finish``.
        """
        news = _News()
        links_remade = False
        for plane in PLANES:
            if plane not in dirty:
                continue
            errand = self._errand(plane, target)
            if isinstance(errand, Errand) and plane == "frr" and hand_over is not None:
                hand_over(errand)
                continue
            done = self._done(errand) if isinstance(errand, Errand) else errand
            # A tracer that follows a link made anew was not changed by anyone.
            self._note(target, done, events, news, drifts=not (plane == "trace" and links_remade))
            links_remade = links_remade or (plane == "kernel" and bool(done.results))
        if "trace" in dirty:
            self._publish(target.commit)
        self._conclude(target, events, news)

    def finish(self, errand: Errand, outcome: Outcome, target: Target, events: list[Event]) -> None:
        """Take in a round that was done elsewhere; of one for another target only what it did is said."""
        if errand.target is not target:
            results = outcome.results if isinstance(outcome, Round) else ()
            events += [_event(result, errand.target.commit) for result in results]
            return
        news = _News()
        self._note(target, self._taken(errand, outcome), events, news)
        self._conclude(target, events, news)

    def _note(
        self, target: Target, done: Round, events: list[Event], news: _News, *, drifts: bool = True
    ) -> None:
        """Take in what a round found and did."""
        self._looked_at[done.plane] = target
        self._problems[done.plane] = (*done.failures, *done.obstacles, *map(_resting, done.held))
        events += [_event(result, target.commit) for result in done.results]
        changed = self._drift(done) if drifts else []
        for action in changed:
            news.repaired.setdefault(action.owner, []).append(action)
        news.fought |= self._contests.note(done.plane, changed, done.held, time.monotonic())

    def _conclude(self, target: Target, events: list[Event], news: _News) -> None:
        """Say what others have done, and how every object is now."""
        now = datetime.now(UTC)
        events += [
            Event(now, target.commit, owner, "Drift", drifted(actions))
            for owner, actions in news.repaired.items()
        ]
        said = self._contests.messages()
        events += [
            Event(now, target.commit, owner, "Contested", "; ".join(said.get(owner, ())))
            for owner in sorted(news.fought)
        ]
        self._judge(target, news.repaired, now)

    def _drift(self, done: Round) -> list[Action]:
        """What of a round's actions puts right what somebody else has changed.

        Not what was not made before, as the port of a VM that has just started, nor what only the inventory
        lacked; and nothing on an owner that has not been whole yet, unless the object is fought about.
        """
        return [
            action
            for action in (result.action for result in done.results)
            if action.owned in done.known
            and not action.follows
            and (action.owner in self._seen_whole or self._contests.contested(action.plane, action.id))
        ]

    def plan(self, desired: Desired, *, again: bool, frr: Plan | None = None) -> tuple[Plan, ...]:
        """What a round would do now to become ``desired``, plane by plane; nothing is done or noted.

        Tracers are planned for the links that the kernel's plan makes; ``frr`` is FRR's plan, where that was
        made elsewhere. With ``again``, rounds have worked on ``desired`` before, and what they could not do
        is said beside what is left to do.
        """
        plans: dict[str, Plan] = {}
        for plane in PLANES:
            found = frr if plane == "frr" else None
            if found is None:
                found = self.known(plane, desired)
            if found is None:
                found = self.draft(plane, desired, plans.get("kernel"))
            if again:
                owners = {action.owner for action in found.actions}
                failed = self._backoff[plane].problems(owners)
                found = replace(found, problems=tuple(dict.fromkeys((*found.problems, *failed))))
            plans[plane] = found
        return tuple(plans.values())

    def source(self, verified: bool, reason: str, message: str, commit: str) -> bool:
        """Say what the newest commit was judged; True when that is news."""
        judge = Judge(commit, datetime.now(UTC), self._previous)
        made = judge.condition(self.box, ConditionType.SOURCE_VERIFIED, verified, reason, message)
        others = [c for c in self.conditions if (c.object, c.type) != (made.object, made.type)]
        before = self._previous.get((made.object, made.type))
        self._replace([*others, made])
        return before is None or (before.status, before.message) != (made.status, made.message)

    def save(self, events: Sequence[Event], commit: str) -> None:
        """Write conditions, history and the applied commit down; a round without news writes nothing.

        Where that fails the box goes on converging, is not Ready, and says why; it is tried with each round.
        """
        news = (self.conditions, commit)
        if not events and news == self._saved:
            return
        try:
            self.store.save(self.conditions, events, commit)
        except StoreError as err:
            self._problems[_STORE] = (Problem(self.box, "StoreFailed", f"{err.message}; {err.hint}"),)
            return
        self._problems.pop(_STORE, None)
        self._saved = news

    def teardown(self) -> tuple[list[Result], tuple[Problem, ...]]:
        """Remove everything that is owned, in reverse order: what became of it, and what is in the way.

        Tracers are retired, and told to the capture process, which drains them a last time and then drops
        their maps; ``trace.remove_all`` does not wait for that.
        """
        results: list[Result] = []
        problems: list[Problem] = []
        self._contests.reset()
        nothing = Target("", Desired(), datetime.now(UTC))
        for plane in reversed(PLANES):
            errand = self._errand(plane, nothing)
            done = self._done(errand) if isinstance(errand, Errand) else errand
            results += done.results
            problems += (*done.failures, *done.obstacles)
        self._problems.clear()
        self._publish(self.store.commit())
        problems += [p for found in self._problems.values() for p in found]
        self.store.save((), (), "")
        return results, tuple(problems)

    def close(self) -> None:
        """Let go of the kernel's sockets."""
        self.kernel.close()

    def _errand(self, plane: str, target: Target) -> Errand | Round:
        """A round of one plane to be done, or what came of it where there is nothing to do now."""
        backoff, now = self._backoff[plane], time.monotonic()
        waiting = backoff.waiting(now)
        if _whole(plane) in waiting:
            return Round(plane, obstacles=self._problems.get(plane, ()))
        errand = Errand(target, getattr(self, plane), waiting, self._contests.resting(plane, now), now)
        try:
            if not self._concerned(plane, target.desired):
                backoff.reset()
                return Round(plane)
        except StoreError as err:
            return self._taken(errand, err)
        return errand

    def _done(self, errand: Errand) -> Round:
        """Do a round here and now."""
        return self._taken(errand, errand.do(self.store))

    def _taken(self, errand: Errand, outcome: Outcome) -> Round:
        """What came of a round; a plane out of reach is a problem of everything it should hold."""
        backoff = self._backoff[errand.plane]
        if not isinstance(outcome, Round):
            problem = _unreachable(errand.plane, outcome)
            backoff.note([_whole(errand.plane)], [problem], errand.waiting, errand.began)
            return Round(errand.plane, obstacles=self._everywhere(problem, errand.state))
        tried = {r.action.owner for r in outcome.results}
        backoff.note(tried, outcome.failures, outcome.deferred, errand.began)
        return replace(outcome, failures=(*outcome.failures, *backoff.problems(outcome.deferred)))

    def known(self, plane: str, desired: Desired) -> Plan | None:
        """What can be planned without a look at the plane; None where it has to be looked at.

        As in a round, a plane that hangs is not asked again before its time.
        """
        try:
            if not self._concerned(plane, desired):
                return Plan()
        except StoreError as err:
            return self._hopeless(plane, desired, err)
        known = self._backoff[plane].problems(
            {_whole(plane)} & self._backoff[plane].waiting(time.monotonic())
        )
        return Plan(problems=self._everywhere(known[0], getattr(desired, plane))) if known else None

    def draft(self, plane: str, desired: Desired, kernel: Plan | None = None) -> Plan:
        """The plan of one plane from what is observed now, and once ``kernel`` has been done."""
        driver: Any = getattr(self, plane)
        try:
            observed = driver.observe()
            if plane == "trace" and kernel is not None:
                observed = after(kernel, observed)
            found: Plan = driver.plan(getattr(desired, plane), observed, Ownership(self.store.owned()))
        except (PlaneError, StoreError) as err:
            return self._hopeless(plane, desired, err)
        except OSError as err:
            return self._hopeless(plane, desired, refused(err))
        return found

    def _hopeless(self, plane: str, desired: Desired, err: PlaneError | StoreError) -> Plan:
        return Plan(problems=self._everywhere(_unreachable(plane, err), getattr(desired, plane)))

    def _concerned(self, plane: str, desired: Desired) -> bool:
        """Whether there is anything to do or to look after: a box without BGP needs no FRR."""
        driver: Any = getattr(self, plane)
        state: State = getattr(desired, plane)
        owned = any(o.plane == plane for o in self.store.owned())
        return bool(state != type(state)() or owned or driver.has_leftovers())

    def _everywhere(self, problem: Problem, state: State) -> tuple[Problem, ...]:
        """A whole plane's problem, said of every owner that it should hold something for."""
        owners = sorted({o.owner for o in state.objects()}) or [self.box]
        return tuple(replace(problem, owner=owner) for owner in owners)

    def _publish(self, commit: str) -> None:
        """Tell the capture process what is traced."""
        try:
            self.trace.publish(commit)
        except (SmartxError, OSError) as err:
            problem = Problem(self.box, "ManifestFailed", f"{self.config.manifest}: {err}")
            self._problems["trace"] = (*self._problems.get("trace", ()), problem)

    def _judge(self, target: Target, repaired: Mapping[ObjectRef, list[Action]], now: datetime) -> None:
        judge = Judge(target.commit, now, self._previous)
        by_owner: dict[ObjectRef, list[Problem]] = {}
        for problem in self._all_problems(target):
            by_owner.setdefault(problem.owner, []).append(problem)
        objects = dict.fromkeys((*target.desired.objects, *sorted(by_owner)))
        contested = self._contests.messages()
        made = {
            ref: judge.object(ref, by_owner.get(ref, ()), repaired.get(ref, ()), contested.get(ref, ()))
            for ref in objects
        }
        self._seen_whole = set(target.desired.objects) - by_owner.keys()
        own = made.pop(self.box, [])
        others = [c for conditions in made.values() for c in conditions]
        ready = judge.box(self.box, others, own)
        kept = [c for c in self.conditions if c.type is ConditionType.SOURCE_VERIFIED]
        self._replace([*kept, *(c for c in own if c.type is not ConditionType.READY), *others, ready])

    def _all_problems(self, target: Target) -> Iterator[Problem]:
        """What stands in the way of the target, plane by plane; of one at work on it, that it is."""
        for plane, problems in self._problems.items():
            if plane == _STORE or self._looked_at.get(plane) is target:
                yield from problems
        for plane in PLANES:
            if self._looked_at.get(plane) is not target:
                at_work = Problem(self.box, "InProgress", f"{plane}: converging on this commit")
                yield from self._everywhere(at_work, getattr(target.desired, plane))

    def _replace(self, conditions: Sequence[Condition]) -> None:
        self.conditions = tuple(sorted(conditions, key=lambda c: (c.object, c.type)))
        self._previous = {(c.object, c.type): c for c in self.conditions}


def _whole(plane: str) -> ObjectRef:
    """The plane itself, which waits for its next try apart from its objects."""
    return ObjectRef("Plane", plane)


def _unreachable(plane: str, err: PlaneError | StoreError) -> Problem:
    """Why nothing can be done on a whole plane."""
    reason = err.reason if isinstance(err, PlaneError) else "StoreFailed"
    return Problem(_whole(plane), reason, f"{err.message}; {err.hint}" if err.hint else err.message)


def _resting(action: Action) -> Problem:
    """What is said of an object that someone keeps changing back, until its next repair."""
    return Problem(action.owner, "Contested", f"{drift(action)}: someone keeps changing it back")


def _event(result: Result, commit: str) -> Event:
    action: Action = result.action
    what = f"{action.verb} {action.id}"
    problem = result.problem
    kind, message = ("Applied", what) if problem is None else ("Failed", f"{what}: {problem.message}")
    return Event(datetime.now(UTC), commit, action.owner, kind, message)
