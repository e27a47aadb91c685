"""``smartxctl schema``: the JSON Schema of the language and of what commands print."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pydantic import BaseModel

from smartxd.ctl.findings import ValidationReport
from smartxd.ctl.verb import add_verb
from smartxd.reconcile.planned import PlanReport
from smartxd.spec import schema
from smartxd.spec.kinds import KINDS

EXAMPLES = """Without KIND it is the schema of any document, for files that hold several kinds. In an editor
with yaml-language-server a spec file begins with "# yaml-language-server: $schema=FILE". plan and validation
are the schemas of what "smartxctl plan -o json" and "smartxctl validate --format json" print.

examples:
  smartxctl schema > smartx.schema.json
  smartxctl schema Tunnel | jq '.["$defs"].TunnelSpec.properties | keys'
"""

_PRINTED: dict[str, type[BaseModel]] = {"plan": PlanReport, "validation": ValidationReport}
"""What commands print as JSON."""


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "schema", "print the JSON Schema of specs", EXAMPLES)
    kinds = [*KINDS, *_PRINTED]
    parser.add_argument("kind", nargs="?", metavar="KIND", choices=kinds, help=", ".join(kinds))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    if args.kind is None:
        made = schema.of_any()
    else:
        printed = _PRINTED.get(args.kind)
        made = schema.of_model(printed) if printed is not None else schema.of_kind(args.kind)
    print(json.dumps(made, indent=2))
    return 0
