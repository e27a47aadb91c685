"""A whole spec repo on this machine: a namespace for each Box, one wide-area network, centre and repo."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from smartxd.errors import DaemonError, LabError
from smartxd.lab import box as daemons
from smartxd.lab import center, container, frr, namespace, network, process, secrets
from smartxd.lab.box import Pace
from smartxd.lab.layout import ROOT, Layout, default_name
from smartxd.lab.network import Node
from smartxd.lab.repo import Repo, digest
from smartxd.lab.state import BoxRecord, ContainerRecord, LabState
from smartxd.lab.status import BoxStatus, LabStatus, ProcessStatus
from smartxd.lab.teardown import take_down
from smartxd.report import ControlReport
from smartxd.socketclient import fetch_status
from smartxd.source import folder
from smartxd.spec.load import load

_LOOK_AGAIN_S = 0.2
_ANSWER_TIMEOUT_S = 5.0


def _nodes(spec_dir: Path) -> tuple[Node, ...]:
    return network.nodes_of(load(folder.read(spec_dir)))


def _needs_root() -> None:
    if os.geteuid() != 0:
        raise LabError("a lab needs root: it lives in network namespaces", "run it with sudo")


def _silent(_: str) -> None:
    pass


class Lab:
    """The lab of a spec folder. Holds nothing in memory: any process may act on it, one at a time."""

    def __init__(
        self,
        spec_dir: Path,
        name: str | None = None,
        progress: Callable[[str], None] = _silent,
        nodes: Callable[[Path], tuple[Node, ...]] = _nodes,
    ) -> None:
        self.spec_dir = spec_dir.resolve()
        self.layout = Layout(name or default_name(spec_dir))
        self.repo = Repo(self.layout.repo)
        self._progress = progress
        self._nodes = nodes

    @property
    def state(self) -> LabState:
        """What was made; LabError when the lab is not up."""
        state = LabState.read(self.layout.state)
        if state is None:
            raise LabError(f"lab {self.layout.name} is not up", f"smartxctl lab up {self.spec_dir} boots it")
        return state

    @property
    def center_url(self) -> str:
        """The centre's page, for a browser on this machine."""
        return f"http://127.0.0.1:{self.state.center_port}/"

    def up(self, pace: Pace | None = None, *, bare: bool = False) -> None:
        """Build what is missing of the lab, start what does not run; ``bare`` leaves out all of smartxd."""
        _needs_root()
        frr.check_installed()
        nodes = self._nodes(self.spec_dir)
        for node in nodes:
            self.layout.box(node.name)
        with self._alone(create=True):
            state = self._recorded()
            if state.spec_dir != self.spec_dir:
                raise LabError(
                    f"lab {state.name} is of {state.spec_dir}, not of {self.spec_dir}",
                    "give --name another name",
                )
            self._save(_with_boxes(state, nodes))
            self._build_network(nodes)
            self._follow_specs()
            for node in nodes:
                self._start_frr(node.name)
            if not bare:
                secrets.make(self.layout.secrets, secrets.names_of(self.spec_dir))
                for node in nodes:
                    self._start_daemon(node.name, "smartxd", pace or Pace())
                # Boxes converge while the centre, which only capture needs, is still starting.
                self._start_center(nodes)
                for node in nodes:
                    self._start_daemon(node.name, "capture", pace or Pace())

    def wait_ready(self, timeout_s: float) -> None:
        """Return when every box is Ready at the repo's newest commit; LabError says which is not, and why."""
        deadline = time.monotonic() + timeout_s
        head, told = self.repo.head(), dict[str, str]()
        while True:
            state = self.state
            waits = {name: self._why_not_ready(name, head) for name in state.boxes}
            for name, why in waits.items():
                if told.get(name) != why:
                    self._progress(f"{name}: {why or 'Ready'}")
            told = waits
            if not any(waits.values()):
                return
            for key, one in state.processes.items():
                if not one.alive:
                    log = self._log(key)
                    raise LabError(f"{key} has ended: {center.last_line(log)}", f"see {log}")
            if time.monotonic() > deadline:
                raise LabError(
                    "; ".join(f"{name} is not Ready: {why}" for name, why in waits.items() if why),
                    f"smartxctl lab status {self.spec_dir}",
                )
            process.wait_for_an_end(state.processes.values(), _LOOK_AGAIN_S)

    def report(self, box: str) -> ControlReport:
        """What a box's daemon says of itself; DaemonError when it does not answer."""
        return fetch_status(self.layout.box(box).socket, _ANSWER_TIMEOUT_S)

    def commit(self, files: Mapping[str, str | None], message: str) -> str:
        """Write files (None removes one) into the repo that the boxes follow, and commit; the commit."""
        return self.repo.commit(files, message)

    def plug(
        self,
        box: str,
        bridge: str,
        name: str,
        address: IPv4Interface,
        gateway: IPv4Address | None = None,
        *,
        port: str = "",
    ) -> None:
        """Plug a container into a bridge of a box, or mend the one that is there.

        With ``port``, the name of its link on the box, it is left to a Port spec to plug that in.
        """
        _needs_root()
        with self._alone():
            state = self.state
            self._check_box(state, box)
            container.check_name(name, state.boxes)
            way_out = str(gateway) if gateway else None
            record = ContainerRecord(box=box, bridge=bridge, address=str(address), gateway=way_out, port=port)
            there = state.containers.get(name)
            if there is not None and (there.box, there.bridge, there.port) != (box, bridge, port):
                raise LabError(
                    f"container {name} is plugged into {there.bridge} of {there.box}", "unplug it first"
                )
            if port and there is None:
                container.check_port(self.layout, box, port)
            mtu = container.bridge_mtu(self.layout, box, bridge)
            self._save(state.model_copy(update={"containers": {**state.containers, name: record}}))
            container.plug(self.layout, name, record, mtu)

    def unplug(self, name: str) -> bool:
        """Remove a container and all that runs inside; False when there was none."""
        _needs_root()
        with self._alone():
            state = self.state
            if name not in state.containers:
                return False
            process.end(process.inside([namespace.path(self.layout.namespace(name))]))
            container.unplug(self.layout, name, state.containers[name])
            rest = {n: c for n, c in state.containers.items() if n != name}
            self._save(state.model_copy(update={"containers": rest}))
            return True

    def command_in(self, member: str, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` in the namespace of a box or container, to be executed as it is."""
        _needs_root()
        state = self.state
        if member not in state.boxes and member not in state.containers:
            known = ", ".join([*state.boxes, *state.containers])
            raise LabError(f"lab {state.name} has no {member}", f"it has {known}")
        return namespace.enter(self.layout.namespace(member), argv)

    def status(self) -> LabStatus:
        """What is there and what runs."""
        _needs_root()
        state = self.state
        head = self.repo.head() if self.layout.repo.exists() else ""
        center_process = state.processes.get("center")
        return LabStatus(
            name=state.name,
            folder=self.layout.folder,
            repo=self.layout.repo,
            head=head,
            center=self.center_url if center_process else None,
            center_process=ProcessStatus.of(center_process) if center_process else None,
            boxes=tuple(self._box_status(state, name) for name in state.boxes),
            containers=state.containers,
        )

    def down(self) -> bool:
        """Remove all of the lab; False when there was none."""
        _needs_root()
        if not self.layout.folder.exists():
            return False
        with self._alone():
            # Without a state nothing beyond the folder was made yet.
            state = self._recorded()
            take_down(self.layout, state)
        return True

    def _build_network(self, nodes: Sequence[Node]) -> None:
        self._progress(f"network: {len(nodes)} boxes on one wide-area network")
        numbers = {name: record.number for name, record in self.state.boxes.items()}
        wan = self.layout.wan
        namespace.create(wan)
        namespace.batch(wan, network.wan_lines(namespace.links(wan)))
        for node in nodes:
            own = self.layout.namespace(node.name)
            namespace.create(own)
            namespace.batch(wan, network.uplink_lines(node, numbers[node.name], own, namespace.links(wan)))
            namespace.batch(own, network.box_lines(node, numbers, nodes))

    def _follow_specs(self) -> None:
        """Commit the spec folder when it has changed; else what was committed to the lab's repo stays."""
        state, now = self.state, digest(self.spec_dir)
        self.repo.create()
        if state.specs_digest != now:
            commit = self.repo.copy_from(self.spec_dir)
            self._save(state.model_copy(update={"specs_digest": now}))
            self._progress(f"repo: {self.layout.repo} at {commit[:12]}")

    def _start_center(self, nodes: Sequence[Node]) -> None:
        self.layout.center.mkdir(mode=0o700, exist_ok=True)
        for node in nodes:
            self.layout.box(node.name).folder.mkdir(parents=True, exist_ok=True)
            center.enroll(self.layout, node.name)
        state = self.state
        running = state.processes.get("center")
        if running is not None and running.alive:
            return
        port = state.center_port or center.free_port()
        self._save(state.model_copy(update={"center_port": port}))
        self._progress("centre: starting")
        self._record("center", center.start(self.layout, port, process.environment(state.name)))
        center.wait_until_up(self.layout, port)
        self._progress(f"centre: {self.center_url}")

    def _start_frr(self, name: str) -> None:
        box, env = self.layout.box(name), process.environment(self.layout.name)
        box.folder.mkdir(parents=True, exist_ok=True)
        frr.prepare(box)
        for daemon in frr.DAEMONS:
            key, known = f"{name}/{daemon}", self.state.processes
            if key in known and known[key].alive:
                continue
            if key in known:
                frr.clear_scratch(daemon, known[key])
            self._record(key, frr.start(daemon, box, env))
            self._progress(f"{name}: {daemon} is up")

    def _start_daemon(self, name: str, daemon: str, pace: Pace) -> None:
        box, env = self.layout.box(name), process.environment(self.layout.name)
        key, known = f"{name}/{daemon}", self.state.processes
        if key not in known or not known[key].alive:
            box.config.write_text(daemons.config_text(self.layout, box, pace))
            self._record(key, daemons.start(daemon, box, env))
            self._progress(f"{name}: {daemon} started")

    def _box_status(self, state: LabState, name: str) -> BoxStatus:
        ready, commit = False, ""
        if f"{name}/smartxd" in state.processes:
            with contextlib.suppress(DaemonError):
                report = self.report(name)
                ready, commit = report.ready, report.commit
        own = {key: one for key, one in state.processes.items() if key.startswith(f"{name}/")}
        return BoxStatus(
            box=name,
            namespace=self.layout.namespace(name),
            ready=ready,
            commit=commit,
            processes={key.partition("/")[2]: ProcessStatus.of(one) for key, one in own.items()},
        )

    def _why_not_ready(self, name: str, head: str) -> str:
        """Empty when the box is Ready at ``head``."""
        try:
            report = self.report(name)
        except DaemonError as err:
            return err.message
        if report.source.findings:
            return report.source.findings[0]
        if report.commit != head:
            return f"at commit {report.commit[:12] or 'none'}, {head[:12]} is the newest"
        if report.ready:
            return ""
        missing = [c for c in report.conditions if c.type == "Ready" and not c.status]
        first = next((c for c in missing if not c.object.startswith("Box/")), missing[0] if missing else None)
        return (
            f"{first.object}: {first.reason}: {first.message}" if first else "says nothing of its objects yet"
        )

    def _recorded(self) -> LabState:
        """What was made; of a lab that is not up, or was stopped before its first record, nothing."""
        return LabState.read(self.layout.state) or LabState(name=self.layout.name, spec_dir=self.spec_dir)

    def _check_box(self, state: LabState, box: str) -> None:
        if box not in state.boxes:
            raise LabError(f"lab {state.name} has no box {box}", f"its boxes: {', '.join(state.boxes)}")

    def _log(self, key: str) -> Path:
        box, _, daemon = key.rpartition("/")
        return (self.layout.box(box).folder if box else self.layout.folder) / f"{daemon}.log"

    def _record(self, key: str, started: process.Process) -> None:
        state = self.state
        self._save(state.model_copy(update={"processes": {**state.processes, key: started}}))

    def _save(self, state: LabState) -> None:
        state.write(self.layout.state)

    @contextlib.contextmanager
    def _alone(self, *, create: bool = False) -> Iterator[None]:
        """Hold the lab's folder, so that no two commands build and remove the same lab at once."""
        if create:
            ROOT.mkdir(mode=0o755, exist_ok=True)
            self.layout.folder.mkdir(mode=0o711, exist_ok=True)
        try:
            fd = os.open(self.layout.folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as err:
            raise LabError(
                f"lab {self.layout.name} is not up", f"smartxctl lab up {self.spec_dir} boots it"
            ) from err
        try:
            busy = LabError(f"another command is at work on lab {self.layout.name}", "wait until it is done")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise busy from err
            if os.fstat(fd).st_nlink == 0:  # It was removed between the open and the lock.
                raise busy
            yield
        finally:
            os.close(fd)


def _with_boxes(state: LabState, nodes: Sequence[Node]) -> LabState:
    """The state that knows all of ``nodes``; a box keeps its number for the life of the lab."""
    boxes = dict(state.boxes)
    for node in nodes:
        taken = {record.number for record in boxes.values()}
        if node.name not in boxes:
            boxes[node.name] = BoxRecord(number=min(set(range(len(taken) + 1)) - taken))
    return state.model_copy(update={"boxes": boxes})
