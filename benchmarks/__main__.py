"""``python -m benchmarks [NAME…]``: run benchmarks, print their tables, exit 1 when a limit is not kept."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks import table
from smartxd.errors import SmartxError

NAMES = ("converge", "repair", "specs", "hostile", "fuzz", "kernel", "frr", "trace", "packets")
OUTPUT = Path("build/bench")


def main(wanted: list[str]) -> int:
    """Run the benchmarks named, or all."""
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        print(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    kept = True
    for name in wanted or NAMES:
        try:
            rows = importlib.import_module(f"benchmarks.{name}").run()
        except SmartxError as err:
            print(f"error: {name}: {err.message}\nhint: {err.hint}", file=sys.stderr)
            return 1
        table.write(OUTPUT, name, rows)
        print(table.show(name, rows))
        kept = kept and all(row.holds for row in rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
