"""What a change of specs does to which boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smartxd.ctl.offline import NOTHING, plans
from smartxd.desired import desire
from smartxd.reconcile.plan import Plan
from smartxd.reconcile.planned import PlanReport, report
from smartxd.source import folder
from smartxd.source.checkout import Checkout
from smartxd.spec.document import Content
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
    added: frozenset[str]
    removed: tuple[str, ...]
    untouched: int

    def lines(self) -> Iterator[str]:
        """A line for each box that the change touches, and one for the others."""
        for plan in self.touched:
            new = "new: " * (plan.box in self.added)
            objects = ", ".join(dict.fromkeys(action.owner for action in plan.actions)) or "nothing to do"
            yield f"{plan.box}: {new}{_numbers(plan)}; {objects}"
        for box in self.removed:
            yield f"{box}: removed; its daemon refuses the commit and keeps what it has"
        yield f"{self.untouched} box{'es' * (self.untouched != 1)} untouched"


def sides(path: Path, revisions: str) -> Sides:
    """The files of ``BASE..HEAD``, or of ``BASE`` and the working tree; SourceError when git has no such."""
    base, _, head = revisions.partition("..")
    with Checkout.around(path) as checkout:
        start = checkout.resolve(base)
        end = checkout.resolve(head) if head else ""
        after = checkout.files(end) if end else folder.read(path)
        return Sides(checkout.files(start), after, start, end)


def change(before: Fleet, after: Fleet, base: str, head: str) -> Change:
    """What a change between two valid fleets does; boxes that are to be as before are not planned."""
    touched: list[PlanReport] = []
    untouched = 0
    for box in after.boxes:
        steps = _steps(before, after, box)
        if steps is None:
            untouched += 1
        elif box in before.boxes:
            touched.append(report(box, steps, basis="commit", base=base, commit=head))
        else:
            touched.append(report(box, steps, basis="nothing", commit=head))
    added = frozenset(after.boxes) - frozenset(before.boxes)
    removed = tuple(box for box in before.boxes if box not in after.boxes)
    return Change(tuple(touched), added, removed, untouched)


def _steps(before: Fleet, after: Fleet, box: str) -> tuple[Plan, ...] | None:
    """The plans of a box; None when it is to be as it was."""
    new, head = after.boxes[box].spec, desire(after, box)
    if box not in before.boxes:
        return plans(NOTHING, head, [new])
    old, base = before.boxes[box].spec, desire(before, box)
    if (base.kernel, base.frr, base.trace) == (head.kernel, head.frr, head.trace) and old == new:
        return None
    made = plans(base, head, [old, new])
    return made if any(plan.actions or plan.problems for plan in made) else None


def _numbers(plan: PlanReport) -> str:
    s = plan.summary
    counts = (("create", s.create), ("update", s.update), ("recreate", s.recreate), ("delete", s.delete))
    verbs = ", ".join(f"{count} to {verb}" for verb, count in counts if count) or "nothing to do"
    notices = {"flap": s.disruption.flap, "recreate": s.disruption.recreate}
    disruption = ", ".join(f"{count} {kind}" for kind, count in notices.items() if count)
    return f"{verbs}; disruption: {disruption or 'none'}"
