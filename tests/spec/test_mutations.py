"""Specs that an operator, a merge or a program has mangled are findings, or a fleet that every box can be."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartxd.desired import desire
from smartxd.errors import SpecError
from smartxd.source import folder
from smartxd.spec.load import load

ROOT = Path(__file__).parents[2]
DOCUMENTS: list[Any] = [
    document
    for place in (ROOT / "examples" / "koren-two-site", ROOT / "specs" / "reference")
    for content in folder.read(place).values()
    for document in yaml.load_all(content, Loader=yaml.CSafeLoader)
]
EXAMPLE, REFERENCE = DOCUMENTS[: len(DOCUMENTS) // 2], DOCUMENTS[len(DOCUMENTS) // 2 :]
FINDING = re.compile(r"specs\.yaml:[1-9]\d*:[1-9]\d*: \S.*")

STRANGE: list[Any] = [
    *(None, True, -1, 0, 1, 100, 1450, 9000, 1 << 70, 1.5, float("inf"), [], {}, [[]], {"a": {}}, [None]),
    *(
        "",
        "x",
        "x" * 300,
        "a\nb",
        "a\x00b",
        "\u2028",
        "é",
        "auto",
        "100",
        "lo",
        "all",
        "wan0",
        "mgmt0",
        "vx100",
    ),
    *("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.10.0.1", "10.10.0.1/24", "10.10.0.0/24"),
    *(
        "10.10.0.1/0",
        "203.0.113.1",
        "203.0.113.2/24",
        "203.0.113.2/32",
        "10.255.0.1",
        "gist1",
        "gist2",
        "gist3",
    ),
]


def places(node: Any) -> list[tuple[Any, Any]]:
    """Each value inside, as its container and its key there."""
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in list(steps) for place in ((node, key), *places(child))]


def mutate(documents: list[Any], rng: random.Random) -> None:
    container, key = rng.choice(places(documents))
    match rng.randrange(6):
        case 0:
            del container[key]
        case 1 | 2:
            container[key] = copy.deepcopy(rng.choice(STRANGE))
        case 3:  # a value from elsewhere: often well-formed, and taken already
            other, at = rng.choice(places(documents))
            container[key] = copy.deepcopy(other[at])
        case 4:
            container[key] = str(container[key]) if rng.random() < 0.5 else [container[key]]
        case _:  # once more, under another name
            again = copy.deepcopy(container[key])
            if isinstance(container, list):
                container.append(again)
            else:
                container[str(rng.choice(STRANGE))] = again


def test_mangled_specs_are_findings_or_a_fleet_that_every_box_can_be() -> None:
    accepted, refused = [], []

    @settings(max_examples=1000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from([EXAMPLE, REFERENCE]), st.integers(1, 3), st.randoms(use_true_random=False))
    def judge(origin: list[Any], mutations: int, rng: random.Random) -> None:
        documents = copy.deepcopy(origin)
        for _ in range(mutations):
            if places(documents):
                mutate(documents, rng)
        content = yaml.dump_all(documents, Dumper=yaml.CSafeDumper, allow_unicode=False).encode()
        try:
            fleet = load({"specs.yaml": content})
        except SpecError as err:
            refused.append(err.findings)
        else:
            accepted.append(fleet)
            for box in fleet.boxes:
                desire(fleet, box)

    judge()
    assert len(accepted) > 20
    assert len(refused) > 20
    for findings in refused:
        assert findings
        assert [f for f in findings if not (f.isprintable() and FINDING.fullmatch(f))] == []
