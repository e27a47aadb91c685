"""Conditions of objects from what the planes found: pure, with the time handed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from smartxd.objects import Condition, ConditionType, ObjectRef
from smartxd.reconcile.contest import drifted
from smartxd.reconcile.plan import Action, Problem

Key = tuple[ObjectRef, ConditionType]


@dataclass(frozen=True, slots=True)
class Judge:
    """Makes conditions at one moment; ``since`` is kept while the status stays the same."""

    commit: str
    now: datetime
    previous: Mapping[Key, Condition]

    def condition(
        self, object: ObjectRef, type: ConditionType, status: bool, reason: str, message: str
    ) -> Condition:
        """A condition of this moment."""
        before = self.previous.get((object, type))
        since = before.since if before is not None and before.status == status else self.now
        return Condition(object, type, status, reason, message, self.commit, since)

    def object(
        self,
        ref: ObjectRef,
        problems: Iterable[Problem],
        repaired: Sequence[Action],
        contested: Sequence[str] = (),
    ) -> list[Condition]:
        """Ready, Reconciling, Stalled, Drifted and Contested of one object.

        Stalled means that trying again cannot help; Drifted stays true until the repair has been seen, and
        Contested until nobody has changed the object for a while.
        """
        found = list(problems)
        first = next((p for p in found if p.permanent), found[0] if found else None)
        if first is None:
            ready = self.condition(ref, ConditionType.READY, True, "Converged", "is as the spec says")
        else:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            ready = self.condition(ref, ConditionType.READY, False, first.reason, first.message + more)
        reason, message = (first.reason, first.message) if first else ("Converged", "")
        stalled = first is not None and first.permanent
        retrying = first is not None and not first.permanent
        conditions = [
            ready,
            self.condition(ref, ConditionType.RECONCILING, retrying, reason, message if retrying else ""),
            self.condition(ref, ConditionType.STALLED, stalled, reason, message if stalled else ""),
        ]
        before = self.previous.get((ref, ConditionType.DRIFTED))
        if repaired:
            text = drifted(repaired)
            done = first is None
            reason = "Repaired" if done else "Drifted"
            # Repaired within the round: the condition says so, and since when it has been whole again.
            conditions.append(
                Condition(ref, ConditionType.DRIFTED, not done, reason, text, self.commit, self.now)
            )
        elif before is not None and first is None:
            conditions.append(self.condition(ref, ConditionType.DRIFTED, False, "Repaired", before.message))
        elif before is not None:
            conditions.append(before)
        return [*conditions, *self._contested(ref, contested)]

    def _contested(self, ref: ObjectRef, fights: Sequence[str]) -> list[Condition]:
        before = self.previous.get((ref, ConditionType.CONTESTED))
        if fights:
            return [self.condition(ref, ConditionType.CONTESTED, True, "ChangedAgain", "; ".join(fights))]
        if before is not None:
            return [self.condition(ref, ConditionType.CONTESTED, False, "Quiet", before.message)]
        return []

    def box(self, ref: ObjectRef, objects: Iterable[Condition], own: Iterable[Condition]) -> Condition:
        """Ready of the whole box: its own objects in the planes, and every object on it."""
        unready = [
            *(c for c in own if c.type is ConditionType.READY and not c.status),
            *(c for c in objects if c.type is ConditionType.READY and not c.status),
        ]
        if not unready:
            return self.condition(ref, ConditionType.READY, True, "Converged", "every object is Ready")
        first = unready[0]
        if first.object == ref:
            return self.condition(ref, ConditionType.READY, False, first.reason, first.message)
        names = ", ".join(str(c.object) for c in unready)
        return self.condition(ref, ConditionType.READY, False, "ObjectsNotReady", f"not Ready: {names}")
