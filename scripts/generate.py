"""Make what is made from the language: specs/schema/*.json, docs/specs.md, docs/rules.md.

``--check`` writes nothing and fails when a file differs from what would be made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from smartxd.ctl.findings import ValidationReport
from smartxd.reconcile.planned import PlanReport
from smartxd.spec import describe, schema
from smartxd.spec.kinds import KINDS
from smartxd.spec.load import RULES

TOP = Path(__file__).resolve().parent.parent
SCHEMAS = TOP / "specs" / "schema"


def made() -> dict[Path, str]:
    """The content of every generated file by its path."""
    schemas = {kind.lower(): schema.of_kind(kind) for kind in KINDS}
    schemas |= {
        "smartx": schema.of_any(),
        "plan": schema.of_model(PlanReport),
        "validation": schema.of_model(ValidationReport),
    }
    files = {SCHEMAS / f"{name}.json": json.dumps(s, indent=2) + "\n" for name, s in schemas.items()}
    files[TOP / "docs" / "specs.md"] = describe.specs()
    files[TOP / "docs" / "rules.md"] = describe.rules(RULES.values())
    return files


def main() -> int:
    """Write the files, or say which differ."""
    files = made()
    stray = sorted(set(SCHEMAS.glob("*.json")) - files.keys())
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in (*stale, *stray):
            print(f"{path.relative_to(TOP)}: not what the language says; run `make gen`", file=sys.stderr)
        return 1 if stale or stray else 0
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(files[path])
        print(f"wrote {path.relative_to(TOP)}")
    for path in stray:
        path.unlink()
        print(f"removed {path.relative_to(TOP)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
