"""A loop in a network namespace of its own, and the specs that its tests speak of."""

from __future__ import annotations

import contextlib
import ctypes
import json
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from smartxd.config import Config
from smartxd.daemon.converger import Converger
from smartxd.daemon.loop import Loop
from smartxd.daemon.planning import Planner
from smartxd.daemon.server import StatusServer
from smartxd.reconcile.planned import PlanReport
from smartxd.report import ControlReport
from smartxd.socketclient import get, post
from smartxd.source.follow import Seen
from smartxd.spec.load import load
from smartxd.store.control import ControlStore

CLONE_NEWNET = 0x40000000
TIMEOUT_S = 60.0

BOX = """
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: a}
spec: {underlay: {interface: wan0, address: 192.0.2.1/24}, loopback: 10.255.0.1, asn: 65001}
"""
TUNNEL = """
---
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {name: t}
spec:
  boxes: {names: [a]}
  vni: 100
  flood: {mode: multicast, group: 239.1.1.1}
"""
SECOND_TUNNEL = TUNNEL.replace("name: t", "name: u").replace("100", "200").replace("239.1.1.1", "239.1.1.2")
TRACED = """
---
apiVersion: smartx.io/v1alpha1
kind: TracePolicy
metadata: {name: p}
spec: {boxes: {names: [a]}, interfaces: [{tunnel: t}]}
"""
ROUTER = """
---
apiVersion: smartx.io/v1alpha1
kind: BGPRouter
metadata: {name: a}
spec: {box: a}
"""


def setns(path: str) -> None:
    with Path(path).open() as namespace:
        assert ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0


def inside(namespace: str) -> list[str]:
    """What runs a command there; `ip -n` would need a mount namespace, which a chroot may not have."""
    return ["nsenter", f"--net=/run/netns/{namespace}"]


class Daemon:
    """The loop in a namespace and its socket, without the watches: it repairs when it is told to."""

    def __init__(
        self, folder: Path, namespace: str, bpffs_dir: str, first: Callable[[Loop], None] = lambda _: None
    ) -> None:
        """``first`` puts into the loop what waits for it when it begins."""
        self.namespace = namespace
        self._first = first
        self.config = Config.model_validate(
            {
                "box": "a",
                "state_dir": folder / "state",
                "run_dir": folder / "run",
                "bpffs_dir": bpffs_dir,
                "resync_interval_s": 3600,
                "source": {"url": "/none"},
                "frr": {"pathspace": f"none-{namespace}", "check_interval_s": 3600},
            }
        )
        self._up = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        if not self._up.wait(TIMEOUT_S):
            raise AssertionError(f"the loop does not run: {self._fault!r}")

    def _run(self) -> None:
        try:
            setns(f"/run/netns/{self.namespace}")
            store = ControlStore(self.config.control_db)
            self.converger = Converger(self.config, store)
            self.loop = Loop(self.config, self.converger)
            planner = Planner("a", self.loop.ask, self.loop.findings)
            server = StatusServer(
                self.config.socket, None, {"/plan": planner.for_target}, {"/plan": planner.for_specs}
            )
            server.start()
            self._first(self.loop)
            self._up.set()
            try:
                self.loop.run()
            finally:
                server.stop()
                self.converger.trace.remove_all()
                self.converger.close()
                store.close()
        except BaseException as err:  # noqa: BLE001 (told by close, in the test's own thread)
            self._fault = err

    def close(self) -> None:
        self.loop.stop()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        if self._fault is not None:
            raise self._fault

    def commit(self, specs: str, commit: str) -> None:
        """As if the repo had this commit; returns after the round."""
        self.loop.seen(seen(specs, commit))
        self.rounds(commit)

    def rounds(self, commit: str) -> ControlReport:
        """The status after all that the loop has been told so far."""
        until_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until_s:  # each waits for the loop a while; a tracer takes longer to build
            asked = datetime.now(UTC)
            report = ControlReport.model_validate_json(self.loop.status())
            if report.at >= asked and report.commit == commit:
                return report
        raise AssertionError(f"no round for {commit}")

    def plan(self, specs: str | None = None) -> PlanReport:
        if specs is None:
            status, text = get(self.config.socket, "/plan", TIMEOUT_S)
        else:
            status, text = self.post(json.dumps({"files": {"a.yaml": specs}}))
        assert status == 200, text
        return PlanReport.model_validate_json(text)

    def post(self, body: str) -> tuple[int, str]:
        return post(self.config.socket, "/plan", body, TIMEOUT_S)

    def ip(self, *argv: str) -> str:
        command = [*inside(self.namespace), "ip", *argv]
        return subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout

    def network(self) -> object:
        return steady([json.loads(self.ip("-j", "-d", what)) for what in ("link", "addr")])

    def written(self) -> list[str]:
        """All that stands in the control store."""
        with contextlib.closing(sqlite3.connect(f"file:{self.config.control_db}?mode=ro", uri=True)) as db:
            return list(db.iterdump())

    def history(self, commit: str) -> list[tuple[str, str]]:
        return history(self.config.control_db, commit)


def seen(specs: str, commit: str) -> Seen:
    return Seen(commit, datetime.now(UTC), load({"a.yaml": specs.encode()}))


def steady(value: Any) -> Any:
    """Less what the kernel does in its own time: timers, carriers, states of ports, link-local addresses."""
    if isinstance(value, list):
        return [steady(v) for v in value if not _comes_by_itself(v)]
    if isinstance(value, dict):
        late = ("tentative", "operstate", "state")
        return {k: steady(v) for k, v in value.items() if not k.endswith("_timer") and k not in late}
    return value


def _comes_by_itself(value: Any) -> bool:
    if isinstance(value, dict):
        return str(value.get("local", "")).startswith("fe80:")
    return isinstance(value, str) and value in ("NO-CARRIER", "LOWER_UP")


def history(path: Path, commit: str) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found = db.execute("select kind, message from events where commit_id = ? order by seq", (commit,))
        return list(found)


def steps(report: PlanReport) -> list[str]:
    return [f"{action.verb} {action.id}" for action in report.actions]


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"plan-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=60)
    try:
        for line in (
            "link set lo up",
            "link add wan0 type veth peer name wan1",
            "link set wan1 up",
            "addr add 192.0.2.1/24 dev wan0",
            "link set wan0 up",
        ):
            subprocess.run([*inside(name), "ip", *line.split()], check=True, timeout=60)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)


@pytest.fixture
def daemon(tmp_path: Path, namespace: str) -> Iterator[Daemon]:
    running = Daemon(tmp_path, namespace, f"/sys/fs/bpf/{namespace}")
    try:
        yield running
    finally:
        running.close()
