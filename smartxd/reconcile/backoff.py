"""When to try again: per object, exponentially later, with jitter; never for what cannot be cured by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from smartxd.objects import ObjectRef
from smartxd.reconcile.plan import Problem

FIRST_S = 1.0
MAX_S = 300.0
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class _Wait:
    failures: int
    until: float
    problem: Problem


@dataclass(slots=True)
class Backoff:
    """The owners of one plane that wait for their next try. Times are seconds of any monotonic clock."""

    jitter: Callable[[], float]
    """A number from 0 to 1, each call another."""
    _waits: dict[ObjectRef, _Wait] = field(default_factory=dict)

    def note(
        self,
        tried: Collection[ObjectRef],
        problems: Iterable[Problem],
        deferred: Collection[ObjectRef],
        now: float,
    ) -> None:
        """Take in a round that began at ``now``.

        Owners whose actions failed wait longer; ``deferred`` ones, who were not tried, go on waiting. All
        others wait no more: they were done, or there was nothing left to do for them.
        """
        failed = {p.owner: p for p in problems}
        before = self._waits
        self._waits = {o: w for o, w in before.items() if o in deferred and o not in tried}
        for owner in tried:
            problem = failed.get(owner)
            if problem is None:
                continue
            failures = before[owner].failures + 1 if owner in before else 1
            delay = min(MAX_S, FIRST_S * 2 ** min(failures - 1, 20)) * (0.5 + self.jitter())
            self._waits[owner] = _Wait(failures, _NEVER if problem.permanent else now + delay, problem)

    def waiting(self, now: float) -> frozenset[ObjectRef]:
        """Owners that are not to be tried at ``now``."""
        return frozenset(owner for owner, wait in self._waits.items() if wait.until > now)

    def problems(self, owners: Collection[ObjectRef]) -> tuple[Problem, ...]:
        """What was wrong with each of ``owners`` when it was tried last."""
        return tuple(w.problem for o, w in self._waits.items() if o in owners)

    def next(self) -> float:
        """When the next try is due; infinity when nothing waits, or only for a change of the spec."""
        return min((w.until for w in self._waits.values()), default=_NEVER)

    def forget(self, owner: ObjectRef) -> None:
        """Try this owner at once."""
        self._waits.pop(owner, None)

    def reset(self) -> None:
        """Forget all waits: a new commit may have cured anything."""
        self._waits.clear()
