"""``smartxctl plan``: what smartxd would do to a box, from specs alone or against what is there."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartxd.ctl import live, plantext
from smartxd.ctl.offline import NOTHING, plans
from smartxd.ctl.verb import add_config, add_output, add_verb, said_to_go_on, say
from smartxd.desired import desire
from smartxd.errors import SmartxError, SpecError
from smartxd.objects import ObjectRef
from smartxd.reconcile.plan import Plan, Problem
from smartxd.reconcile.planned import PlanReport, report
from smartxd.source import folder
from smartxd.spec.document import Content
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import load
from smartxd.tables import print_data

EXAMPLES = """\
Without --from the box is taken to have nothing of smartxd's yet; with it, all that the specs of that commit
ask for. Either way the links and addresses that its Box names are taken to be there. Without PATH, or with
--live, the daemon of this box plans from what it observes.

exit code: 0 when nothing stands in the way, 1 when something does or the specs are not valid, 2 wrong usage;
           with --detailed-exitcode 0 nothing to do, 1 as before, 2 there is something to do

examples:
  smartxctl plan . --box gist1                             every action, in the order of applying
  smartxctl plan . --box gist1 --from origin/main          what the files of this checkout would change
  smartxctl plan specs --box gist1 --from v1.4 --to v1.5   between two commits
  smartxctl plan . --box gist1 -o json | jq '.actions[] | .id'
  smartxctl plan                                           on a box: what it has still to do
  smartxctl plan . --live                                  on a box: what these files would do to it
"""


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "plan", "what smartxd would do to a box", EXAMPLES)
    parser.add_argument("path", type=Path, nargs="?", metavar="PATH", help="the folder that holds the specs")
    parser.add_argument("--box", metavar="NAME", help="the name of a Box of these specs")
    parser.add_argument("--from", dest="base", metavar="REV", help="plan from the specs of this commit")
    parser.add_argument("--to", metavar="REV", help="plan to the specs of this commit, not the files of PATH")
    parser.add_argument("--live", action="store_true", help="plan from what this box's daemon observes")
    parser.add_argument(
        "--detailed-exitcode", action="store_true", help="exit 2 when there is something to do"
    )
    add_config(parser)
    add_output(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Print the plan; 1 when something stands in its way, 2 when asked to say that there is one."""
    if wrong := _misuse(args):
        args.refuse(wrong)
    if args.live or args.path is None:
        found = live.fetch(args.config, args.path)
    else:
        with said_to_go_on():
            found = _offline(args.path, args.box, args.base, args.to)
    if args.output != "table":
        print_data(found, args.output)
    else:
        plantext.show(found)
    if found.problems:
        return 1
    return 2 if args.detailed_exitcode and found.actions else 0


def _misuse(args: argparse.Namespace) -> str:
    """What is wrong with how the options go together, and what to do; empty when nothing is."""
    options = {"box": args.box, "from": args.base, "to": args.to}
    given = [option for option, value in options.items() if value is not None]
    if empty := [option for option in given if not options[option]]:
        return f"--{empty[0]} is empty: leave it out, or give its value"
    if given and args.path is None:
        return f"--{given[0]} needs PATH: name the folder that holds the specs"
    if given and args.live:
        knows = "knows its box" if given[0] == "box" else "starts from what is"
        return f"--{given[0]} and --live exclude each other: the daemon {knows}"
    if args.path is not None and not args.live and args.box is None:
        return "PATH needs --box NAME, or --live to ask the daemon of this box"
    if args.to is not None and args.base is None:
        return "--to needs --from REV: the commit to plan from"
    return ""


def _offline(path: Path, box: str, base: str | None, to: str | None) -> PlanReport:
    """The plan from nothing or from a commit; SmartxError when specs cannot be read or have no such Box."""
    if base is None:
        return report(box, _from_nothing(load(folder.read(path)), box), basis="nothing")
    from smartxd.source.checkout import Checkout  # noqa: PLC0415 (Git is slow to import)

    with Checkout.around(path) as checkout:
        start, end = checkout.resolve(base), "" if to is None else checkout.resolve(to)
        before = _side(checkout.files(start), f"the specs at {base}, which the plan starts from,")
        files = checkout.files(end) if end else folder.read(path)
        after = _side(files, f"the specs {f'at {to}' if to else f'in {path}'}, which the plan leads to,")
    if box not in before.boxes and box in after.boxes:
        say(f"there is no Box {box} at {base}: this is a plan from nothing")
    return between(before, after, box, base=start, commit=end)


def between(before: Fleet, after: Fleet, box: str, *, base: str = "", commit: str = "") -> PlanReport:
    """The plan from one fleet to another; SmartxError where neither has the Box.

    A Box that is new starts from nothing; one that is gone is a problem.
    """
    old, new = before.boxes.get(box), after.boxes.get(box)
    if old is None:
        return report(box, _from_nothing(after, box), basis="nothing", commit=commit)
    if new is None:
        return report(box, [_removed(box)], basis="commit", base=base, commit=commit)
    steps = plans(desire(before, box), desire(after, box), [old.spec, new.spec])
    return report(box, steps, basis="commit", base=base, commit=commit)


def _from_nothing(fleet: Fleet, box: str) -> tuple[Plan, ...]:
    if box not in fleet.boxes:
        names = ", ".join(fleet.boxes)
        raise SmartxError(
            f"no Box is named {box}", f"there are {names}" if names else "there is no Box at all"
        )
    return plans(NOTHING, desire(fleet, box), [fleet.boxes[box].spec])


def _side(files: Mapping[str, Content], side: str) -> Fleet:
    """The fleet of one side of a plan; SpecError says which side is wrong."""
    try:
        return load(files)
    except SpecError as err:
        raise SpecError(f"{side} are not valid: {err.message}", err.findings, err.hint) from err


def _removed(box: str) -> Plan:
    """What becomes of a box whose Box is gone: its daemon refuses such a commit whole."""
    message = (
        f"no Box is named {box} any more: its daemon refuses the commit, changes nothing and stays at the "
        "last good one. To retire the box, stop smartxd there and run `smartxd teardown`, then remove its Box"
    )
    return Plan(problems=(Problem(ObjectRef("Box", box), "BoxRemoved", message, permanent=True),))
