"""``smartxctl plan``: what a box would be made of, from its specs alone."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from smartxd.ctl.verb import add_output, add_verb
from smartxd.desired import Desired, desire
from smartxd.errors import SmartxError
from smartxd.planes.frr import diff as frr
from smartxd.planes.frr.running import parse
from smartxd.planes.kernel import diff as kernel
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink
from smartxd.planes.trace import diff as trace
from smartxd.planes.trace.state import Interface, TraceObserved
from smartxd.reconcile.plan import Action, Ownership, Plan, Problem
from smartxd.source import folder
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.load import load
from smartxd.tables import print_json, print_table

EXAMPLES = """The box is taken to have the links that its Box spec names, and nothing of smartxd yet.

exit code: 0 when nothing stands in the way, 1 when something does or the specs are not valid

examples:
  smartxctl plan . --box gist1                     every action, in the order of applying
  smartxctl plan . --box gist1 -o json | jq '.actions[] | .id'
"""


class PlannedAction(BaseModel):
    """An action as ``-o json`` prints it."""

    plane: str
    id: str
    owner: str
    verb: str
    disruption: str
    fields: dict[str, tuple[object, object]]
    """Old and new value of each field that changes; old is null for what is made."""


class PlannedProblem(BaseModel):
    """What stands in the way."""

    owner: str
    reason: str
    message: str


class PlanReport(BaseModel):
    """A plan as ``-o json`` prints it."""

    box: str
    actions: tuple[PlannedAction, ...]
    problems: tuple[PlannedProblem, ...]


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "plan", "what smartxd would do to a box that has nothing yet", EXAMPLES)
    parser.add_argument("dir", type=Path, metavar="DIR", help="the folder that holds the specs")
    parser.add_argument("--box", required=True, metavar="NAME", help="the name of a Box of these specs")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan; 1 when something stands in its way."""
    fleet = load(folder.read(args.dir))
    if args.box not in fleet.boxes:
        raise SmartxError(f"{args.dir}: no Box is named {args.box}", f"there are {', '.join(fleet.boxes)}")
    plans = from_nothing(desire(fleet, args.box), fleet.boxes[args.box].spec)
    actions = [action for plan in plans for action in plan.actions]
    problems = [problem for plan in plans for problem in plan.problems]
    if args.output == "json":
        print_json(report(args.box, actions, problems))
    else:
        _show(args.box, actions, problems)
    return 1 if problems else 0


def from_nothing(desired: Desired, box: BoxSpec) -> tuple[Plan, ...]:
    """The plans of all planes for a box as its spec describes it; those of tracers come after the links."""
    links = {"lo": ObservedLink("lo", 1, mtu=65536)}
    if box.management is not None:
        links[box.management.interface] = ObservedLink(box.management.interface, 2)
    links[box.underlay.interface] = ObservedLink(box.underlay.interface, 3, mtu=box.underlay.mtu)
    address = ObservedAddress(box.underlay.interface, str(box.underlay.address))
    observed = KernelObserved(links, {(address.link, address.address): address})
    names = dict.fromkeys((*links, *(link.name for link in desired.kernel.links)))
    interfaces = {name: Interface(index, ethernet=True) for index, name in enumerate(names, 1)}
    nobody = Ownership()
    return (
        kernel.plan(desired.kernel, observed, nobody),
        frr.plan(desired.frr, parse(""), nobody),
        trace.plan(desired.trace, TraceObserved("", interfaces=interfaces), nobody),
    )


def report(box: str, actions: list[Action], problems: list[Problem]) -> PlanReport:
    """The plan in the words of ``-o json``."""
    return PlanReport(
        box=box,
        actions=tuple(
            PlannedAction(
                plane=a.plane,
                id=a.id,
                owner=str(a.owner),
                verb=a.verb,
                disruption=a.disruption,
                fields=dict(_fields(a)),
            )
            for a in actions
        ),
        problems=tuple(
            PlannedProblem(owner=str(p.owner), reason=p.reason, message=p.message) for p in problems
        ),
    )


def _fields(action: Action) -> Iterator[tuple[str, tuple[object, object]]]:
    """Old and new values: the changes, or every field of what is made."""
    if action.changes:
        yield from ((c.field, (c.old, c.new)) for c in action.changes)
    elif action.new is not None:
        for f in fields(action.new):
            value = getattr(action.new, f.name)
            if f.name != "owner" and value not in ("", (), None):
                yield f.name, (None, value)


def _show(box: str, actions: list[Action], problems: list[Problem]) -> None:
    rows = [
        (
            *(a.verb, a.plane, a.id, a.owner, a.disruption),
            " ".join(f"{name}={_text(new)}" for name, (_, new) in _fields(a)),
        )
        for a in actions
    ]
    if rows:
        print_table(("ACTION", "PLANE", "OBJECT", "FOR", "DISRUPTION", "FIELDS"), rows)
    for problem in problems:
        print(f"{problem.owner}: {problem.reason}: {problem.message}")
    counts = [f"{sum(a.verb == verb for a in actions)} to {verb}" for verb in ("create", "update", "delete")]
    print(f"\n{box}: {', '.join(counts)}; {len(problems)} problem{'s' * (len(problems) != 1)}")


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
