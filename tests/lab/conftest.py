"""A bare lab: the network and FRR of two boxes, always taken down."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from smartxd.lab import process
from smartxd.lab.lab import Lab
from smartxd.lab.layout import ROOT
from smartxd.lab.network import Node

_numbers = itertools.count()

NODES = (
    Node("gist1", "wan0", IPv4Interface("203.0.113.1/24")),
    Node("gist2", "wan0", IPv4Interface("203.0.113.2/24")),
)


def leftovers(name: str) -> list[str]:
    """Everything on this machine that is still of the lab with this name."""
    places = (ROOT, Path("/run/netns"), Path("/etc/frr"), Path("/var/run/frr"), Path("/sys/fs/bpf"))
    files = [str(p) for place in places if place.exists() for p in place.glob(f"{name}*")]
    return files + [f"process {p.pid}" for p in process.marked(name)]


def run_in(lab: Lab, member: str, *argv: str, timeout_s: float = 20) -> subprocess.CompletedProcess[str]:
    """Run a command in a box or container of the lab."""
    command = lab.command_in(member, argv)
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


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
