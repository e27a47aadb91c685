"""What the tests of the lab look at a machine with."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Interface
from pathlib import Path

from smartxd.lab import process
from smartxd.lab.lab import Lab
from smartxd.lab.layout import ROOT
from smartxd.lab.network import Node

NODES = (
    Node("gist1", "wan0", (IPv4Interface("203.0.113.1/24"),)),
    Node("gist2", "wan0", (IPv4Interface("203.0.113.2/24"),)),
)


def leftovers(name: str) -> list[str]:
    """Everything on this machine that is still of the lab with this name."""
    places = (ROOT, Path("/run/netns"), Path("/etc/frr"), Path("/var/run/frr"), Path("/sys/fs/bpf"))
    files = [str(p) for place in places if place.exists() for p in place.glob(f"{name}*")]
    return files + [f"process {p.pid}" for p in process.marked(name)]


def reaches(lab: Lab, member: str, address: str, *more: str) -> bool:
    """Whether one of a few pings is answered: the first wait for a link that is just coming up."""
    return run_in(lab, member, "ping", "-c", "1", "-w", "30", *more, address).returncode == 0


def run_in(lab: Lab, member: str, *argv: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command in a box or container of the lab."""
    command = lab.command_in(member, argv)
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
