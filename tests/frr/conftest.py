"""FRR in network namespaces: each instance its own pathspace, its own daemons, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smartxd.config import FRRConfig
from smartxd.objects import OwnedObject
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import FRRState
from smartxd.reconcile.plan import Ownership, Plan, Result, Verb

FRR_BIN = Path("/usr/lib/frr")
DAEMONS = ("zebra", "bgpd", "staticd")
SCRATCH = Path("/var/tmp/frr")
"""A daemon keeps a folder here by the process id that it was launched under; one that is killed leaves it."""


def run(*argv: str) -> str:
    """A command that must succeed; what it printed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def until(what: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait for what FRR comes to by itself."""
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.1)


@dataclass
class Instance:
    """FRR in a network namespace of the same name as its pathspace."""

    name: str
    scratch: list[Path] = field(default_factory=list)

    @property
    def etc(self) -> Path:
        return Path("/etc/frr", self.name)

    @property
    def run_dir(self) -> Path:
        return Path("/var/run/frr", self.name)

    def start(self, profile: str = "traditional", daemons: tuple[str, ...] = DAEMONS) -> None:
        # A machine on which FRR's service never ran has no /var/run/frr yet.
        self.run_dir.parent.mkdir(mode=0o755, exist_ok=True)
        if self.run_dir.parent.owner() == "root":
            shutil.chown(self.run_dir.parent, "frr", "frr")
        for folder in (self.etc, self.run_dir):
            folder.mkdir(mode=0o750)
            shutil.chown(folder, "frr", "frr")
        for file, text in (
            ("vtysh.conf", "service integrated-vtysh-config\n"),
            ("frr.conf", f"frr defaults {profile}\n"),
        ):
            (self.etc / file).write_text(text)
            (self.etc / file).chmod(0o640)
            shutil.chown(self.etc / file, "frr", "frr")
        for daemon in daemons:
            self.start_daemon(daemon, profile)

    def start_daemon(self, daemon: str, profile: str = "traditional") -> None:
        # -P 0: no TCP port; the daemon answers on its socket when the launcher has ended.
        options = ("-N", self.name, "-d", "-P", "0", "-F", profile)
        argv = ["nsenter", f"--net=/run/netns/{self.name}", str(FRR_BIN / daemon), *options]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launcher:
            self.scratch.append(SCRATCH / f"{daemon}.{launcher.pid}")
            assert launcher.wait(60) == 0, f"{daemon} of {self.name} does not start"

    def pid(self, daemon: str) -> int:
        return int((self.run_dir / f"{daemon}.pid").read_text())

    def kill(self, daemon: str, how: signal.Signals = signal.SIGKILL, *, wait: bool = True) -> None:
        """Signal a daemon, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid(daemon))
            try:
                signal.pidfd_send_signal(fd, how)
                if wait:
                    assert select.select([fd], [], [], 60)[0], f"{daemon} of {self.name} does not end"
            finally:
                os.close(fd)

    def stop(self) -> None:
        for file in self.run_dir.glob("*.pid"):
            self.kill(file.stem)
        for folder in (self.etc, self.run_dir, *self.scratch):
            shutil.rmtree(folder, ignore_errors=True)

    def vtysh(self, *commands: str) -> str:
        return run("vtysh", "-N", self.name, *(w for c in commands for w in ("-c", c)))

    def vtysh_boot(self) -> None:
        """Have the daemons load frr.conf, as watchfrr does after it has started one anew."""
        run("vtysh", "-N", self.name, "-b")

    def configure(self, text: str, *, whole: bool = True) -> None:
        """By hand, as an operator would; not ``whole`` what FRR takes of it."""
        file = self.etc / "by-hand.conf"
        file.write_text(text)
        done = subprocess.run(
            ["vtysh", "-N", self.name, "-f", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        file.unlink()
        assert not whole or done.returncode == 0, done.stdout + done.stderr

    def running(self) -> str:
        return self.vtysh("show running-config")

    @property
    def config(self) -> FRRConfig:
        return FRRConfig(pathspace=self.name)


def vtysh_that(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a vtysh of our own before the real one."""
    program = folder / "vtysh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@dataclass
class Book:
    """What a box does with the plane: observe, plan, claim, apply; the inventory is a set."""

    plane: FRRPlane
    owned: frozenset[OwnedObject] = field(default_factory=frozenset)

    @property
    def ownership(self) -> Ownership:
        return Ownership(self.owned)

    def plan(self, desired: FRRState) -> Plan:
        return self.plane.plan(desired, self.plane.observe(), self.ownership)

    def converge(self, desired: FRRState) -> list[Result]:
        observed = self.plane.observe()
        plan = self.plane.plan(desired, observed, self.ownership)
        made = {a.owned for a in plan.actions if a.verb is not Verb.DELETE}
        self.owned = frozenset({o for o in self.owned if o.id not in {m.id for m in made}} | made)
        results = list(self.plane.apply(plan, observed))
        wanted = {o.id for o in desired.objects()}
        rest = self.plan(desired)
        left = {a.id for a in rest.actions} | rest.held
        self.owned = frozenset(o for o in self.owned if o.id in wanted | left)
        return results


@pytest.fixture
def instances() -> Iterator[tuple[Instance, Instance]]:
    """Two boxes on one wire, N is 1 or 2: 192.0.2.N and 198.51.100.N on it, 10.255.0.N on the loopback."""
    run_id = secrets.token_hex(3)
    pair = Instance(f"sxf{run_id}a"), Instance(f"sxf{run_id}b")
    try:
        for number, box in enumerate(pair, 1):
            run("ip", "netns", "add", box.name)
            run("nsenter", f"--net=/run/netns/{box.name}", "ip", "link", "set", "lo", "up")
            run(
                "nsenter",
                f"--net=/run/netns/{box.name}",
                "ip",
                "address",
                "add",
                f"10.255.0.{number}/32",
                "dev",
                "lo",
            )
        a, b = pair
        run(
            "nsenter",
            f"--net=/run/netns/{a.name}",
            "ip",
            "link",
            "add",
            "wan",
            "type",
            "veth",
            "peer",
            "wan",
            "netns",
            b.name,
        )
        for number, box in enumerate(pair, 1):
            for net in ("192.0.2", "198.51.100"):
                run(
                    "nsenter",
                    f"--net=/run/netns/{box.name}",
                    "ip",
                    "address",
                    "add",
                    f"{net}.{number}/24",
                    "dev",
                    "wan",
                )
            run("nsenter", f"--net=/run/netns/{box.name}", "ip", "link", "set", "wan", "up")
        for box in pair:
            box.start()
        yield pair
    finally:
        for box in pair:
            box.stop()
            subprocess.run(["ip", "netns", "del", box.name], capture_output=True, timeout=60, check=False)


@pytest.fixture
def bare() -> Iterator[Instance]:
    """A namespace with no wire, in which FRR is still to be started."""
    box = Instance(f"sxf{secrets.token_hex(3)}")
    try:
        run("ip", "netns", "add", box.name)
        run("nsenter", f"--net=/run/netns/{box.name}", "ip", "link", "set", "lo", "up")
        yield box
    finally:
        box.stop()
        subprocess.run(["ip", "netns", "del", box.name], capture_output=True, timeout=60, check=False)


@pytest.fixture
def lone(bare: Instance) -> Instance:
    """One FRR with no wire."""
    bare.start()
    return bare
