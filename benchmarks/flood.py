"""A flood of the smallest frames over a veth, under one observer after the other: what each costs the sender.

All frames of a round are sent by one thread, as fast as the kernel takes them, and pass the observer's part
in the kernel in the same context. So what that takes is what the sender lacks of its processor time, which is
what is measured; by the clock it would tell of the machine's other users. The observers take turns.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import frames
from benchmarks.table import Row
from smartxd.capture.drain import Drain
from smartxd.capture.maps import GracePeriod, PolicyMaps
from smartxd.config import CaptureConfig
from smartxd.errors import LabError
from smartxd.lab import namespace
from smartxd.manifest import Manifest
from smartxd.objects import ObjectRef
from smartxd.planes.trace import bpffs
from smartxd.planes.trace.plane import TracePlane
from smartxd.planes.trace.state import Tracer, TraceState
from smartxd.reconcile.plan import Ownership
from smartxd.store.captures import CaptureStore

ROUNDS = 10
SECONDS = 0.3
BURST = 1024
"""Frames handed to the kernel at once, all of one flow."""

NEAR, FAR = "near", "far"
_SOL_PACKET, _QDISC_BYPASS = 263, 20
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vectors_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_long),  # an int, and what a struct in a struct is filled up with
        ("sent", ctypes.c_ulong),
    )


class _Road:
    """A namespace with a veth that something is sent over, and a folder for what observers write."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        vector = ctypes.pointer(_Vector(frames.UDP, len(frames.UDP)))
        self._messages = (_Message * BURST)(*[_Message(vectors=vector, vectors_count=1)] * BURST)

    def flood(self) -> list[float]:
        """Send for a while; nanoseconds of the thread's processor time for a frame, one for each burst."""

        def opened() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
            made.bind((FAR, 0))
            return made

        times: list[float] = []
        with namespace.call_inside(self.name, opened) as sending:
            ends = time.perf_counter() + SECONDS
            while time.perf_counter() < ends:
                began = time.thread_time_ns()
                sent = _libc.sendmmsg(sending.fileno(), self._messages, BURST, 0)
                if sent < 0:
                    raise LabError(f"sendmmsg: errno {ctypes.get_errno()}")
                times.append((time.thread_time_ns() - began) / sent)
        return times

    def received(self) -> int:
        """What the interface itself has counted."""
        text = namespace.run(namespace.enter(self.name, ["cat", "/proc/net/dev"]))
        (line,) = [words for words in text.splitlines() if words.strip().startswith(f"{NEAR}:")]
        return int(line.split()[2])

    @contextmanager
    def running(self, argv: Sequence[str], ready: str) -> Iterator[None]:
        """A program in the namespace, which has said that it is ready."""
        command = namespace.enter(self.name, argv)
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            try:
                if not any(ready in line for line in process.stderr):
                    raise LabError(f"{argv[0]} ended before it was ready")
                yield
            finally:
                process.terminate()
                process.stderr.read()


def rows() -> list[Row]:
    """The rows; LabError when a program to compare with is not installed."""
    for program in ("tcpdump", "softflowd"):
        if shutil.which(program) is None:
            raise LabError(f"no {program}, which the tracer is compared with", f"apt-get install {program}")
    name = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        namespace.create(name)
        try:
            namespace.batch(
                name,
                [f"link add {NEAR} type veth peer name {FAR}", f"link set {NEAR} up", f"link set {FAR} up"],
            )
            return _rows(_Road(name, Path(folder)))
        finally:
            namespace.delete(name)


def _rows(road: _Road) -> list[Row]:
    observers: dict[str, Callable[[_Road], AbstractContextManager[None]]] = {
        "nobody": _nobody,
        "the tracer": _traced,
        "tcpdump -s96 -w": _tcpdump,
        "softflowd": _softflowd,
    }
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for who, watching in observers.items():
            with watching(road):
                times[who] += road.flood()
    # The quickest tenth of the bursts: the others say more of who else used the machine.
    ns = {who: statistics.quantiles(times[who], n=10)[0] for who in observers}
    loss = {who: 100 * (1 - ns["nobody"] / ns[who]) for who in observers}
    counted, seen = _accounted(road)
    return [
        Row(f"not accounted for, of {seen:,} frames of 64 bytes", abs(counted / seen - 1) * 100, "%", 0),
        *(
            Row(f"sender's loss, against {who}", loss["the tracer"] / loss[who], "x", limit, who, 1)
            for who, limit in (("tcpdump -s96 -w", 0.5), ("softflowd", 1.0))
        ),
        *(
            Row(f"sender's loss under {who}, {ns[who]:,.0f} ns for a frame", loss[who], "%")
            for who in observers
        ),
    ]


@contextmanager
def _nobody(_road: _Road) -> Iterator[None]:
    yield


@contextmanager
def _tcpdump(road: _Road) -> Iterator[None]:
    file = road.folder / "flood.pcap"
    argv = ["tcpdump", "-n", "-Z", "root", "-i", NEAR, "-s", "96", "-w", str(file)]
    with road.running(argv, "listening on"):
        yield
    file.unlink(missing_ok=True)


@contextmanager
def _softflowd(road: _Road) -> Iterator[None]:
    control, pid = road.folder / "softflowd.ctl", road.folder / "softflowd.pid"
    argv = ["softflowd", "-d", "-i", NEAR, "-n", "127.0.0.1:9995", "-c", str(control), "-p", str(pid)]
    with road.running(argv, "starting data collection"):
        yield


@contextmanager
def _traced(road: _Road) -> Iterator[None]:
    with _tracing(road):
        yield


@contextmanager
def _tracing(road: _Road) -> Iterator[Manifest]:
    """The tracer on the receiving end, as a box runs it."""
    root, manifest = bpffs.MOUNT_POINT / road.name, road.folder / "trace.json"
    plane = TracePlane(root, manifest, road.folder)
    state = TraceState((Tracer(ObjectRef("TracePolicy", "flood"), (NEAR,), ("ingress",)),))

    def begin() -> None:
        observed = plane.observe()
        for result in plane.apply(plane.plan(state, observed, Ownership(state.objects())), observed):
            if result.problem:
                raise LabError(result.problem.message)
        plane.publish("bench")

    namespace.call_inside(road.name, begin)
    try:
        yield Manifest.read(manifest)
    finally:
        namespace.call_inside(road.name, plane.remove_all)


def _accounted(road: _Road) -> tuple[int, int]:
    """Frames in the ledger after drains in the middle of a flood, and frames by the interface's counter."""
    with _tracing(road) as manifest, CaptureStore(road.folder / "captures", CaptureConfig()) as store:
        (policy,) = manifest.policies
        maps, grace = PolicyMaps(policy.pin_dir), GracePeriod()
        drain, before = Drain(maps, store, grace), road.received()
        for _ in range(ROUNDS):
            road.flood()
            drain.run(policy)
        after = road.received()
        totals = maps.totals().values["sum"]
        flows = int(totals["seen_packets"].sum()) - int(totals["overflow_packets"].sum())
        maps.close()
        grace.close()
    return flows, after - before
