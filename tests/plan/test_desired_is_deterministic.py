"""The same specs make the same desired state, byte for byte, whatever their order and Python's hashes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_fleets import BOX, documents

from smartxd.desired import desire
from smartxd.source import folder
from smartxd.spec.load import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "koren-two-site"

PRINT_DESIRED = """
import sys
from pathlib import Path
from smartxd.desired import desire
from smartxd.source import folder
from smartxd.spec.load import load
fleet = load(folder.read(Path(sys.argv[1])))
for box in sorted(fleet.boxes):
    print(desire(fleet, box))
"""


@settings(max_examples=100, deadline=None)
@given(documents(), st.randoms(use_true_random=False))
def test_neither_the_order_of_files_nor_of_documents_in_them_matters(
    specs: list[object], rng: random.Random
) -> None:
    expected = repr(desire(load({"specs.yaml": yaml.safe_dump_all(specs).encode()}), BOX))
    shuffled = rng.sample(specs, len(specs))
    cut = rng.randrange(len(specs) + 1)
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    names = rng.sample(["a.yaml", "b/z.yml", "c.yaml"], len(parts))
    files = {name: yaml.safe_dump_all(part).encode() for name, part in zip(names, parts, strict=True)}
    assert repr(desire(load(files), BOX)) == expected


def test_python_s_hashes_do_not_matter() -> None:
    expected = load(folder.read(EXAMPLE))
    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DESIRED, str(EXAMPLE)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert printed == {"".join(f"{desire(expected, box)}\n" for box in sorted(expected.boxes))}
