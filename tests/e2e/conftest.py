"""One lab of the example for the tests that live in it, and the words in which they speak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from smartxd.lab.lab import Lab
from smartxd.report import BoxReport

EXAMPLE = Path(__file__).parents[2] / "examples" / "koren-two-site"
PATIENCE_S = 90.0
"""A session that a machine out of breath has lost by BFD comes back within that."""
LOOK_AGAIN_S = 0.05


class Site:
    """The lab, as a test speaks of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def run(
        self, member: str, *argv: str, check: bool = True, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A command inside a box or container."""
        return subprocess.run(
            self.lab.command_in(member, argv), capture_output=True, text=True, timeout=timeout_s, check=check
        )

    def python(self, member: str, script: str, *args: str) -> str:
        """A Python script inside a box or container; what it printed."""
        return self.run(member, sys.executable, "-c", script, *args).stdout

    def json(self, member: str, *argv: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(member, *argv).stdout)

    def ctl(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``smartxctl``, as an operator runs it."""
        return subprocess.run(
            [sys.executable, "-m", "smartxd.ctl.main", *argv],
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def report(self, box: str) -> BoxReport:
        """``smartxctl status -o json`` of a box."""
        done = self.ctl("status", "--config", str(self.lab.layout.box(box).config), "-o", "json", check=False)
        assert done.stdout, done.stderr
        return BoxReport.model_validate_json(done.stdout)

    def condition(self, box: str, object: str, type: str) -> Any:
        """A condition of an object; None where it has none."""
        control = self.report(box).control
        assert control is not None
        return next((c for c in control.conditions if (c.object, c.type) == (object, type)), None)

    def wait(self, what: str, holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """The first true value of ``holds``; fails by the name of ``what``."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if value := holds():
                return value
            time.sleep(LOOK_AGAIN_S)
        raise AssertionError(f"not within {patience_s:.0f} s: {what}")

    def link(self, box: str, name: str) -> dict[str, object]:
        """A link of a box; empty where there is none."""
        return next((k for k in self.json(box, "ip", "-j", "link") if k["ifname"] == name), {})

    def reaches(self, node: str, address: str, *more: str) -> bool:
        """Whether a ping is answered."""
        return self.run(node, "ping", "-c", "1", "-W", "1", *more, address, check=False).returncode == 0

    def wait_reaches(self, node: str, address: str, *more: str) -> None:
        """Fails where a node does not reach an address in time."""
        self.wait(f"{node} reaches {address}", lambda: self.reaches(node, address, *more))

    def commit(self, files: dict[str, str | None], message: str) -> str:
        """Commit to the repo and wait until every box is Ready on it."""
        commit = self.lab.commit(files, message)
        self.lab.wait_ready(PATIENCE_S)
        return commit

    def pid(self, process: str) -> int:
        """The pid of ``gist1/smartxd``, ``gist1/capture``, ``center``, …"""
        return self.lab.state.processes[process].pid

    def end(self, process: str, signal: int) -> None:
        """Signal a process and wait until it has ended."""
        one = self.lab.state.processes[process]
        os.kill(one.pid, signal)
        self.wait(f"the end of {process}", lambda: not one.alive)

    def heal(self) -> None:
        """Start again whatever has ended, as ``smartxctl lab up`` does."""
        self.lab.up()
        self.lab.wait_ready(PATIENCE_S)


def lab_of(name: str) -> Iterator[Site]:
    """The example, up and Ready, with a container on each box; taken down whatever happens."""
    lab = Lab(EXAMPLE, name=f"{name}-{os.getpid()}")
    try:
        lab.up()
        lab.wait_ready(90)
        lab.plug("gist1", "br-koren", "c1", IPv4Interface("10.10.0.11/24"))
        lab.plug("gist2", "br-koren", "c2", IPv4Interface("10.10.0.12/24"))
        yield Site(lab)
    finally:
        lab.down()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A lab for the tests of one file, each of which leaves it Ready."""
    yield from lab_of("e2e")


@pytest.fixture
def own_site() -> Iterator[Site]:
    """A lab for one test."""
    yield from lab_of("own")
