from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(fd)


_CARRIER = frozenset({"NO-CARRIER", "LOWER_UP"})
_STATES = frozenset({"disabled", "listening", "learning", "forwarding", "blocking"})


def _steady(value: Any) -> Any:
    """Less what the kernel does in its own time: timers, carriers, states of ports, link-local addresses."""
    if isinstance(value, list):
        return [_steady(v) for v in value if not _comes_by_itself(v)]
    if isinstance(value, dict):
        return {k: _steady(v) for k, v in value.items() if not _changes_by_itself(k, v)}
    return value


def _changes_by_itself(key: str, value: Any) -> bool:
    late = key.endswith("_timer") or key in ("tentative", "operstate")
    return late or (key == "state" and isinstance(value, str) and value in _STATES)


def _comes_by_itself(value: Any) -> bool:
    if isinstance(value, dict):
        return str(value.get("local", "")).startswith("fe80:")
    return isinstance(value, str) and value in _CARRIER


class Namespace:
    """A network namespace of the test's own."""

    def __init__(self) -> None:
        self.name = f"smxk-{uuid.uuid4().hex[:10]}"
        self.path = f"/run/netns/{self.name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=60)

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True, timeout=60)

    def run(
        self, command: str, *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        argv = ["nsenter", f"--net={self.path}", *command.split()]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def ip(self, arguments: str) -> str:
        return self.run(f"ip {arguments}").stdout

    def batch(self, lines: list[str], *, force: bool = False) -> None:
        """Stops at what the kernel refuses, unless by force."""
        argv = ["nsenter", f"--net={self.path}", "ip", *["-force"] * force, "-batch", "-"]
        done = subprocess.run(
            argv, input="\n".join(lines), capture_output=True, text=True, timeout=60, check=False
        )
        assert force or done.returncode == 0, done.stderr

    def json(self, arguments: str) -> list[dict[str, Any]]:
        return json.loads(self.ip(f"-j -d {arguments}") or "[]")

    def bridge(self, arguments: str) -> list[dict[str, Any]]:
        done = self.run(f"bridge -j -d {arguments}", check=False)
        if "Operation not supported" in done.stderr:  # A kernel without VLAN filtering has no VLANs to show.
            return []
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "[]")

    def conf(self, family: str, link: str, name: str) -> int:
        """A setting of a link, as /proc/sys shows it."""
        return int(self.run(f"cat /proc/sys/net/{family}/conf/{link}/{name}").stdout)

    def set_conf(self, family: str, link: str, name: str, value: int) -> None:
        knob = f"/proc/sys/net/{family}/conf/{link}/{name}"
        argv = ["nsenter", f"--net={self.path}", "sh", "-c", f"echo {value} > {knob}"]
        subprocess.run(argv, check=True, timeout=60, capture_output=True)

    def link(self, name: str) -> dict[str, Any]:
        """Less what changes by itself."""
        (link,) = _steady(self.json(f"link show dev {name}"))
        return link

    def links(self) -> list[dict[str, Any]]:
        """All links, without what changes by itself."""
        return _steady(self.json("link"))

    def quiet(self) -> None:
        """Without IPv6, whose addresses come, and are told of, whenever they are ready."""
        for where in ("all", "default"):
            self.set_conf("ipv6", where, "disable_ipv6", 1)

    def snapshot(self) -> list[dict[str, Any]]:
        """All links and addresses as `ip` sees them, without what changes by itself."""
        return _steady([self.json("link"), self.json("addr")])

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread in the namespace; sockets opened meanwhile stay in it."""
        assert Path(self.path).exists()
        home = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        back = os.open(home, os.O_RDONLY)
        _enter(self.path)
        try:
            yield
        finally:
            if _libc.setns(back, CLONE_NEWNET) != 0:
                os._exit(70)  # No other test may run in the wrong namespace.
            os.close(back)


@pytest.fixture
def namespace() -> Iterator[Callable[[], Namespace]]:
    """Makes namespaces, which vanish after the test."""
    made: list[Namespace] = []

    def make() -> Namespace:
        made.append(Namespace())
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.delete()


@pytest.fixture
def box(namespace: Callable[[], Namespace]) -> Namespace:
    """A namespace with an underlay: veth `wan` with 192.0.2.1/24."""
    made = namespace()
    made.batch(
        [
            "link add wan type veth peer name wan-peer",
            "address add 192.0.2.1/24 dev wan",
            "link set wan up",
            "link set wan-peer up",
        ]
    )
    return made
