"""The same specs make the same desired state, byte for byte, whatever their order and Python's hashes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_fleets import BOX, documents

from smartxd.desired import desire
from smartxd.reconcile.planned import plain
from smartxd.source import folder
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import load

EXAMPLES = Path(__file__).parents[2] / "examples"

PRINT_DESIRED = """
import json
import sys
from pathlib import Path
from smartxd.desired import desire
from smartxd.reconcile.planned import plain
from smartxd.source import folder
from smartxd.spec.load import load
fleet = load(folder.read(Path(sys.argv[1])))
for box in sorted(fleet.boxes):
    print(json.dumps(plain(desire(fleet, box))))
"""


def told(fleet: Fleet, box: str) -> str:
    """What a box should be, as text; a set has no order, so that its members are sorted."""
    return json.dumps(plain(desire(fleet, box)))


@settings(max_examples=100, deadline=None)
@given(documents(), st.randoms(use_true_random=False))
def test_neither_the_order_of_files_nor_of_documents_in_them_matters(
    specs: list[object], rng: random.Random
) -> None:
    expected = told(load({"specs.yaml": yaml.safe_dump_all(specs).encode()}), BOX)
    shuffled = rng.sample(specs, len(specs))
    cut = rng.randrange(len(specs) + 1)
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    names = rng.sample(["a.yaml", "b/z.yml", "c.yaml"], len(parts))
    files = {name: yaml.safe_dump_all(part).encode() for name, part in zip(names, parts, strict=True)}
    assert told(load(files), BOX) == expected


@pytest.mark.parametrize("example", ["koren-two-site", "koren-campus"])
def test_python_s_hashes_do_not_matter(example: str) -> None:
    expected = load(folder.read(EXAMPLES / example))
    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DESIRED, str(EXAMPLES / example)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert printed == {"".join(f"{told(expected, box)}\n" for box in sorted(expected.boxes))}
