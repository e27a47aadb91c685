"""A bare lab: the network and FRR of two boxes, always taken down."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_probe import NODES

from smartxd.lab import process
from smartxd.lab.lab import Lab
from smartxd.lab.network import Node

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _no_wait_for_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some inits take seconds to note that an orphan has ended; only one test needs to see that they do."""
    monkeypatch.setattr(process, "REAPING_WAIT_S", 0.0)


@pytest.fixture
def lab_name() -> str:
    """A name that no other test and no other run has."""
    return f"t{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def new_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Makes labs of a spec folder that holds one file; each is taken down."""
    labs: list[Lab] = []
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "note.txt").write_text("specs\n")

    def new(nodes: tuple[Node, ...] = NODES, name: str = "") -> Lab:
        chosen = name or f"t{os.getpid()}-{next(_numbers)}"
        labs.append(Lab(specs, chosen, nodes=lambda _: nodes))
        return labs[-1]

    try:
        yield new
    finally:
        for one in labs:
            one.down()


@pytest.fixture
def lab(new_lab: Callable[..., Lab]) -> Lab:
    """A bare lab of two boxes, up."""
    made = new_lab()
    made.up(bare=True)
    return made
