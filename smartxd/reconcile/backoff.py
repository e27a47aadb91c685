"""When to try again: per object, exponentially later, with jitter; never for what cannot be cured by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from smartxd.objects import ObjectRef
from smartxd.reconcile.plan import Problem

FIRST_S = 1.0
MAX_S = 300.0


@dataclass(slots=True)
class _Wait:
    failures: int
    until: float


@dataclass(slots=True)
class Backoff:
    """The owners that wait for their next try. Times are seconds of any monotonic clock."""

    jitter: Callable[[], float]
    """A number from 0 to 1, each call another."""
    _waits: dict[ObjectRef, _Wait] = field(default_factory=dict)

    def note(self, tried: Iterable[ObjectRef], problems: Iterable[Problem], now: float) -> None:
        """Take in a round: owners whose actions failed wait longer, those that were done wait no more."""
        failed = {p.owner: p for p in problems}
        for owner in set(tried):
            problem = failed.get(owner)
            if problem is None:
                self._waits.pop(owner, None)
                continue
            failures = self._waits[owner].failures + 1 if owner in self._waits else 1
            delay = min(MAX_S, FIRST_S * 2 ** min(failures - 1, 20)) * (0.5 + self.jitter())
            self._waits[owner] = _Wait(failures, float("inf") if problem.permanent else now + delay)

    def waiting(self, now: float) -> frozenset[ObjectRef]:
        """Owners that are not to be tried at ``now``."""
        return frozenset(owner for owner, wait in self._waits.items() if wait.until > now)

    def next(self) -> float | None:
        """When the next try is due; None when nothing waits, or only for a change of the spec."""
        due = [w.until for w in self._waits.values() if w.until != float("inf")]
        return min(due, default=None)

    def reset(self) -> None:
        """Forget all waits: a new commit may have cured anything."""
        self._waits.clear()
