"""What a change of specs does to which boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smartxd.ctl.plan import between
from smartxd.desired import desire
from smartxd.errors import SourceError
from smartxd.reconcile.planned import PlanReport
from smartxd.source import folder
from smartxd.source.checkout import Checkout
from smartxd.spec.document import Content
from smartxd.spec.finding import shown
from smartxd.spec.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Sides:
    """The files of a change before and after, and their commits; without one: the files as they are."""

    before: dict[str, Content]
    after: dict[str, Content]
    base: str
    head: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A change, box by box."""

    touched: tuple[PlanReport, ...]
    """The plan of each box that is not as before, new ones too."""
    removed: tuple[PlanReport, ...]
    """Of each box that is gone; such a plan has a problem and no action."""
    untouched: int

    def lines(self) -> Iterator[str]:
        """A line for each box that the change touches, and one for the others."""
        for plan in self.touched:
            new = "new: " * (plan.basis == "nothing")
            objects = ", ".join(dict.fromkeys(action.owner for action in plan.actions)) or "nothing to do"
            yield f"{plan.box}: {new}{_numbers(plan)}; {objects}"
        for plan in self.removed:
            yield f"{plan.box}: removed; its daemon refuses the commit and keeps what it has"
        yield f"{self.untouched} box{'es' * (self.untouched != 1)} untouched"


def sides(path: Path, revisions: str) -> Sides:
    """The files of ``BASE..HEAD``, or of ``BASE`` and the working tree; ``BASE..`` is to HEAD, as in Git.

    SourceError when git has no such commit, or there are no specs after the change.
    """
    base, range_, head = revisions.partition("..")
    with Checkout.around(path) as checkout:
        start = checkout.resolve(base)
        end = checkout.resolve(head or "HEAD") if range_ else ""
        after = checkout.files(end) if end else folder.read(path)
        if not after:
            raise SourceError(
                f"{path}: no spec files at {shown(head or 'HEAD')}", "name the folder that holds the specs"
            )
        return Sides(checkout.files(start), after, start, end)


def change(before: Fleet, after: Fleet, base: str, head: str) -> Change:
    """What a change between two valid fleets does; boxes that are to be as before are not planned."""
    plans = [
        between(before, after, box, base=base, commit=head)
        for box in after.boxes
        if box not in before.boxes or not _as_before(before, after, box)
    ]
    touched = tuple(plan for plan in plans if plan.basis == "nothing" or plan.actions or plan.problems)
    gone = (box for box in before.boxes if box not in after.boxes)
    removed = tuple(between(before, after, box, base=base, commit=head) for box in gone)
    return Change(touched, removed, len(after.boxes) - len(touched))


def _as_before(before: Fleet, after: Fleet, box: str) -> bool:
    if before.boxes[box].spec != after.boxes[box].spec:
        return False
    old, new = desire(before, box), desire(after, box)
    return (old.kernel, old.frr, old.trace) == (new.kernel, new.frr, new.trace)


def _numbers(plan: PlanReport) -> str:
    s = plan.summary
    counts = (("create", s.create), ("update", s.update), ("recreate", s.recreate), ("delete", s.delete))
    verbs = ", ".join(f"{count} to {verb}" for verb, count in counts if count) or "nothing to do"
    notices = {"flap": s.disruption.flap, "recreate": s.disruption.recreate}
    disruption = ", ".join(f"{count} {kind}" for kind, count in notices.items() if count)
    return f"{verbs}; disruption: {disruption or 'none'}"
