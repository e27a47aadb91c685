"""``smartxctl validate``: judge a folder of specs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from smartxd.ctl.verb import add_verb
from smartxd.errors import SpecError
from smartxd.source import folder
from smartxd.spec.load import load

EXAMPLES = """exit code: 0 when every spec is valid, 1 with one line for each finding

examples:
  smartxctl validate .                        every spec of a checkout
  smartxctl validate examples/koren-two-site
"""


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "validate", "check every spec of a folder, and all of them together", EXAMPLES)
    parser.add_argument("dir", type=Path, metavar="DIR", help="the folder that holds the specs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when all is well; 1 with one line for each finding on stdout."""
    try:
        fleet = load(folder.read(args.dir))
    except SpecError as err:
        for finding in err.findings:
            print(finding)
        print(err.message)
        return 1
    refs = fleet.refs()
    print(f"{args.dir}: {len(refs)} object{'s' * (len(refs) != 1)}, {len(fleet.boxes)} of them boxes: valid")
    return 0
