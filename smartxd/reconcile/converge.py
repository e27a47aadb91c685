"""One round of one plane: observe, plan, claim, apply, observe again."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from smartxd.errors import StoreError
from smartxd.objects import ObjectRef, OwnedObject
from smartxd.reconcile.plan import Action, Ownership, Plan, Plane, Problem, Result, Verb


class Inventory(Protocol):
    """The book of what smartxd made."""

    def owned(self) -> frozenset[OwnedObject]:
        """All entries."""
        ...

    def claim(self, objects: Iterable[OwnedObject]) -> None:
        """Enter objects, durably."""
        ...

    def release(self, objects: Iterable[OwnedObject]) -> None:
        """Strike objects."""
        ...


class State(Protocol):
    """What a plane should be: it can name its objects."""

    def objects(self) -> frozenset[OwnedObject]:
        """Every object that it holds, as the inventory knows it."""
        ...


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did, and what still stands in the way."""

    plane: str
    results: tuple[Result, ...] = ()
    failures: tuple[Problem, ...] = ()
    """Of actions: refused, or done without lasting. They are tried again, later each time."""
    obstacles: tuple[Problem, ...] = ()
    """What nothing was tried against: the next look finds out whether it is gone."""
    deferred: frozenset[ObjectRef] = frozenset()
    """Owners with something left to do whose next try is not due: what was wrong with them still is."""
    held: tuple[Action, ...] = ()
    """What is left to do on objects that rest."""
    known: frozenset[OwnedObject] = frozenset()
    """What the inventory had before: only what smartxd had made already can have been changed by another."""


DesiredT = TypeVar("DesiredT", bound=State)
ObservedT = TypeVar("ObservedT")


def converge(
    plane: Plane[DesiredT, ObservedT],
    desired: DesiredT,
    inventory: Inventory,
    waiting: Collection[ObjectRef],
    resting: Collection[str] = (),
) -> Round:
    """Bring a plane to ``desired`` as far as it goes; PlaneError when it cannot be observed.

    Objects of the owners in ``waiting``, and those in ``resting`` by the plane's names for them, are left for
    their next try. Each object's entry in the inventory is
    written before the object is made and struck after it is gone, so that a crash at any point leaves an
    entry too many, never one too few.
    """
    observed = plane.observe()
    known = inventory.owned()
    found = plane.plan(desired, observed, Ownership(known))
    plan, results = _claim(inventory, found.without(waiting, resting))
    rest = found
    if plan:
        results += tuple(plane.apply(plan, observed))
        rest = plane.plan(desired, plane.observe(), Ownership(inventory.owned()))
    _forget(plane.name, desired, inventory, rest)
    deferred = frozenset(a.owner for a in rest.actions if a.owner in waiting)
    held = tuple(a for a in rest.actions if a.id in resting)
    obstacles = tuple(dict.fromkeys(rest.problems))
    failures = _failures(results, rest.without((), resting), deferred)
    return Round(plane.name, results, failures, obstacles, deferred, held, known)


def _claim(inventory: Inventory, plan: Plan) -> tuple[Plan, tuple[Result, ...]]:
    """The part of the plan that may be done: what could not be entered in the inventory is not made.

    What is there already and only has to be changed back or deleted needs no entry, so a full disk does not
    stop a repair.
    """
    known = inventory.owned()
    fresh = [a for a in plan.actions if a.verb is not Verb.DELETE and a.owned not in known]
    try:
        inventory.claim(a.owned for a in fresh)
    except StoreError as err:
        message = f"{err.message}: nothing is made that cannot be recorded"
        failed = tuple(Result(a, Problem(a.owner, "NotRecorded", f"{a.id}: {message}")) for a in fresh)
        return plan.without({a.owner for a in fresh}), failed
    return plan, ()


def _forget(plane: str, desired: State, inventory: Inventory, rest: Plan) -> None:
    """Strike what is neither wanted nor still to be deleted: it is gone, or its mark says it is not ours."""
    keep = {o.id for o in desired.objects()} | {a.id for a in rest.actions} | rest.held
    gone = [o for o in inventory.owned() if o.plane == plane and o.id not in keep]
    with contextlib.suppress(StoreError):  # an entry too many is struck by the next round
        inventory.release(gone)


def _failures(
    results: tuple[Result, ...], rest: Plan, deferred: Collection[ObjectRef]
) -> tuple[Problem, ...]:
    """What failed, and what was done but did not last."""
    failed = [r.problem for r in results if r.problem is not None]
    known = {p.owner for p in (*failed, *rest.problems)} | set(deferred)
    unsteady = [
        Problem(a.owner, "NotConverged", f"{a.id}: {a.verb} did not last; it is tried again")
        for a in rest.actions
        if a.owner not in known
    ]
    return tuple(dict.fromkeys((*failed, *unsteady)))
