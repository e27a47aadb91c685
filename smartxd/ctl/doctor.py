"""``smartxctl doctor``: what this machine can do for its box, and what to install or change."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from smartxd.ctl.verb import add_config, add_output, add_verb
from smartxd.doctor.examine import examine
from smartxd.doctor.finding import Verdict
from smartxd.tables import print_data, print_table

EXAMPLES = """\
Everything is tried, not guessed from versions: links are made in a network namespace that goes at once, maps
and programs are given back. Nothing of the box is changed. What the box needs is read from the specs that
smartxd applied last. Run it as root.

exit code: 0 when all that the box's specs and configuration need works, also with warnings;
           1 when something of it does not

examples:
  smartxctl doctor                               all findings, what each is needed for, and what to do
  smartxctl doctor --wrong                       only what is not as it should be
  smartxctl doctor -o json | jq '.[] | select(.verdict == "fail")'
"""


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "doctor", "what this machine can do, and what to install or change", EXAMPLES)
    add_config(parser)
    parser.add_argument("--wrong", action="store_true", help="only warnings and failures")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 when one of them is a failure."""
    found = list(examine(args.config))
    shown = [f for f in found if not args.wrong or f.verdict is not Verdict.OK]
    if args.output != "table":
        print_data([asdict(finding) for finding in shown], args.output)
    else:
        print_table(
            ("CHECK", "VERDICT", "FOUND", "NEEDED FOR", "WHAT TO DO"),
            [(f.check, f.verdict, f.found, f.needed_for, f.advice) for f in shown],
        )
    return 1 if any(f.verdict is Verdict.FAIL for f in found) else 0
