"""A flood of the smallest datagrams over a veth, packet by packet: how many are stored, and what is lost.

The sender makes a call for each datagram, to a socket that is there. A capture process runs as a box runs it,
into files on this machine's disk. The flood is sent unobserved first; then, with the tracer, at a part of
that rate for some seconds, and as fast as it goes. What a core can store of what a core can send is of the
processor time of both: by the clock it would tell of the machine's other users.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.table import Row
from smartxd.errors import LabError
from smartxd.lab import namespace
from smartxd.objects import ObjectRef
from smartxd.planes.trace import bpffs
from smartxd.planes.trace.plane import TracePlane
from smartxd.planes.trace.state import Tracer, TraceState
from smartxd.reconcile.plan import Ownership
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.ledger import read_report, read_totals
from smartxd.store.queries import scan

ROUNDS = 3
SECONDS = 2.0
PART = 0.6
BURST = 256
PAYLOAD = bytes(22)
"""With its headers a frame of 64 bytes."""
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the datagrams of one flood."""

    sent: int
    seconds: float
    received: int
    """As the interface has counted."""
    stored: int
    ring_full: int
    ns: float
    """Of the capture process, in all."""

    @property
    def per_s(self) -> float:
        """Datagrams in a second."""
        return self.sent / self.seconds


class _Road:
    """Two namespaces with a veth between them, and a socket at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.near = f"bench-{uuid.uuid4().hex[:8]}"
        self.far = f"{self.near}-f"
        self.root, self.manifest = bpffs.MOUNT_POINT / self.near, folder / "trace.json"
        self.config = folder / "smartxd.toml"
        self.captures = folder / "captures"
        self.config.write_text(
            f'box = "bench"\nstate_dir = "{folder}"\nrun_dir = "{folder}"\nbpffs_dir = "{self.root}"\n'
            '[source]\nurl = "/nowhere"\n'
        )

    def make(self) -> None:
        """Make the namespaces."""
        for name in (self.near, self.far):
            namespace.create(name)
        link = f"link add far type veth peer name near netns {self.near}"
        namespace.batch(self.far, [link, "link set far up", "addr add 192.0.2.1/24 dev far"])
        namespace.batch(self.near, ["link set near up", "addr add 192.0.2.2/24 dev near"])
        self.flood()  # addresses are resolved

    def delete(self) -> None:
        """Remove them."""
        for name in (self.near, self.far):
            namespace.delete(name)

    def flood(self, per_s: float | None = None) -> tuple[int, float, float]:
        """Send for SECONDS, at most so many in a second; how many, in what time, by how much of it."""

        def opened() -> socket.socket:
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        with (
            namespace.call_inside(self.near, opened) as sink,
            namespace.call_inside(self.far, opened) as source,
        ):
            sink.bind(("192.0.2.2", 9))
            source.connect(("192.0.2.2", 9))
            send, sent, began, cpu_ns = source.send, 0, time.perf_counter(), time.thread_time_ns()
            while (now := time.perf_counter()) - began < SECONDS:
                ahead_s = sent / per_s - (now - began) if per_s else 0
                if ahead_s > 0:
                    time.sleep(ahead_s)  # the pace is the point
                for _ in range(BURST):
                    send(PAYLOAD)
                sent += BURST
            return sent, time.perf_counter() - began, time.thread_time_ns() - cpu_ns

    @contextmanager
    def traced(self) -> Iterator[None]:
        """The tracer at the receiving end, which records packets and no flows."""
        plane = TracePlane(self.root, self.manifest, self.manifest.parent)
        policy = ObjectRef("TracePolicy", "flood")
        tracer = Tracer(policy, ("near",), ("ingress",), flows_max=None, snap_length="headers")
        state = TraceState((tracer,))

        def begin() -> None:
            observed = plane.observe()
            for result in plane.apply(plane.plan(state, observed, Ownership(state.objects())), observed):
                if result.problem:
                    raise LabError(result.problem.message)
            plane.publish("bench")

        namespace.call_inside(self.near, begin)
        try:
            yield
        finally:
            namespace.call_inside(self.near, plane.remove_all)

    def recorded(self, per_s: float | None = None) -> Told:
        """A flood under the tracer, from which the capture process takes until it is stopped."""
        before = self._counted()
        argv = [sys.executable, "-m", "smartxd", "capture", "--config", str(self.config)]
        with subprocess.Popen(namespace.enter(self.near, argv)) as capture:
            try:
                self._await_start()
                began_ns = _processor_ns(capture.pid)
                sent, seconds, _ = self.flood(per_s)
            finally:
                capture.send_signal(signal.SIGTERM)
                used = os.wait4(capture.pid, 0)[2]
        ns = (used.ru_utime + used.ru_stime) * 1e9 - began_ns
        received, stored, full = (a - b for a, b in zip(self._counted(), before, strict=True))
        return Told(sent, seconds, received, stored, full, ns)

    def _await_start(self) -> None:
        began, ends = datetime.now(UTC), time.monotonic() + TIMEOUT_S
        while (report := read_report(self.captures)) is None or not report.at or report.at < began:
            if time.monotonic() > ends:
                raise LabError("smartxd capture did not start")
            time.sleep(0.1)  # a report in SQLite is told by nothing

    def _counted(self) -> tuple[int, int, int]:
        """Packets that the interface has received, the store has, and its losses say were not recorded."""
        text = namespace.run(namespace.enter(self.near, ["cat", "/proc/net/dev"]))
        (line,) = [words for words in text.splitlines() if words.strip().startswith("near:")]
        received, found = int(line.split()[2]), read_totals(self.captures)
        if found is None:
            return received, 0, 0
        (packets,) = [t.captured.packets for t in found[1] if t.stream == "packets"]
        tables = scan(self.captures, FlowFilter(), _fail, stream="losses")
        return received, packets, sum(row["packets"] for table in tables for row in table.to_pylist())


def _processor_ns(pid: int) -> float:
    """The processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e9 / os.sysconf("SC_CLK_TCK")


def _fail(err: Exception) -> None:
    raise err


def run() -> list[Row]:
    """The rows."""
    with tempfile.TemporaryDirectory() as folder:
        road = _Road(Path(folder))
        road.make()
        try:
            return _rows(road)
        finally:
            road.delete()


def _rows(road: _Road) -> list[Row]:
    nobody: list[float] = []
    ns: list[float] = []
    part: list[Told] = []
    whole: list[Told] = []
    for _ in range(ROUNDS):
        sent, seconds, used_ns = road.flood()
        nobody.append(sent / seconds)
        ns.append(used_ns / sent)
        with road.traced():
            part.append(road.recorded(PART * nobody[-1]))
            whole.append(road.recorded())
    told = [*part, *whole]
    received = sum(t.received for t in told)
    wrong = sum(abs(t.received - t.stored - t.ring_full) for t in told)
    send_ns = statistics.median(ns)
    store_ns = statistics.median(t.ns / t.stored for t in whole)
    reached = statistics.median(t.per_s / n for t, n in zip(part, nobody, strict=True))
    return [
        Row(f"not accounted for, of {received:,} frames of 64 bytes", wrong, "packets", 0),
        Row(
            "processor time to store one, against sending it", store_ns / send_ns, "x", 1 / PART, "sender", 1
        ),
        Row("processor time to store one", store_ns, "ns", None, "sender", send_ns),
        Row(f"lost at {reached:.2f} of the unobserved flood's rate", _lost(part), "%"),
        Row("lost at the whole of it", _lost(whole), "%"),
        Row("unobserved flood, by the clock", statistics.median(nobody), "packets/s"),
        Row("stored of the whole, by the clock", _stored_per_s(whole), "packets/s"),
    ]


def _lost(floods: Sequence[Told]) -> float:
    return 100 * sum(t.ring_full for t in floods) / sum(t.received for t in floods)


def _stored_per_s(floods: Sequence[Told]) -> float:
    return statistics.median(t.stored / t.seconds for t in floods)
