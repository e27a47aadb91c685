"""Commit to converged, against ``git fetch`` and ``ip -batch`` for the same objects; and what rest costs.

Twenty commits of one tunnel each go to a local repo that one box follows. A commit's time runs from before
``git update-ref`` moves the branch to the moment when the box says that it is Ready on that commit. The
reference does the same work by hand, right after, in a namespace of its own: fetch the commit into a mirror,
make the objects.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.table import Row
from smartxd.errors import LabError
from smartxd.lab.box import Pace
from smartxd.lab.lab import Lab
from smartxd.store.captures import read_report

COMMITS = 20
IDLE_S = 60.0
TIMEOUT_S = 30.0
EXAMPLE = Path(__file__).parents[1] / "examples" / "koren-two-site"

BOX = """
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: bench}
spec: {underlay: {interface: wan0, address: 203.0.113.1/24}, loopback: 10.255.0.1}
"""

TUNNEL = """
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {{name: t{n}}}
spec:
  boxes: {{names: [bench]}}
  vni: {vni}
  flood: {{mode: multicast, group: 239.1.1.{n}}}
  gateways: {{bench: 10.20.{n}.1/24}}
"""

UNDERLAY = """link add wan0 type veth peer name wan1
addr add 203.0.113.1/24 dev wan0
link set wan0 up
"""

BATCH = """link add br{vni} mtu 1450 type bridge
link set br{vni} alias smartxd:Tunnel/t{n}
link add vx{vni} mtu 1450 type vxlan id {vni} group 239.1.1.{n} local 203.0.113.1 dev wan0 dstport 4789 ttl 16
link set vx{vni} alias smartxd:Tunnel/t{n}
link set vx{vni} master br{vni}
link set br{vni} up
link set vx{vni} up
addr add 10.20.{n}.1/24 dev br{vni}
"""


def run() -> list[Row]:
    """The rows of both parts."""
    return [*commit_to_converged(), *at_rest()]


def commit_to_converged() -> list[Row]:
    """How long a commit takes, and how long the same takes by hand."""
    ours: list[float] = []
    by_hand: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench") as folder, _reference(Path(folder)) as reference:
        specs = Path(folder) / "specs"
        specs.mkdir()
        (specs / "box.yaml").write_text(BOX)
        with booted(specs, "bench-conv", Pace()) as lab:
            ready = _Ready(lab.layout.box("bench").socket)
            for n in range(1, COMMITS + 1):
                commit = _prepare(lab.layout.repo, f"t{n}.yaml", TUNNEL.format(n=n, vni=1000 + n))
                start = time.perf_counter()
                _git(lab.layout.repo, "update-ref", "refs/heads/main", commit)
                ready.wait(commit)
                ours.append(time.perf_counter() - start)
                by_hand.append(reference.apply(lab.layout.repo, n))
    ratio = statistics.median(ours) / statistics.median(by_hand)
    peer = "git fetch + ip -batch"
    return [
        Row("commit to converged, p50, against by hand", ratio, "x", 6, peer, 1),
        Row("commit to converged, p50", _ms(ours, 50), "ms", None, peer, _ms(by_hand, 50)),
        Row("commit to converged, p95", _ms(ours, 95), "ms", None, peer, _ms(by_hand, 95)),
        Row("commit to converged, least", min(ours) * 1e3, "ms", None, peer, min(by_hand) * 1e3),
        Row("commit to converged, most", max(ours) * 1e3, "ms", None, peer, max(by_hand) * 1e3),
    ]


def at_rest() -> list[Row]:
    """What a converged box of the example costs while nothing happens, at a real box's pace."""
    with booted(EXAMPLE, "bench-idle", Pace(drain_s=5, status_s=10)) as lab:
        _settle(lab)
        pids = {name: lab.state.processes[f"gist1/{name}"].pid for name in ("smartxd", "capture")}
        before = {name: _cpu_s(pid) for name, pid in pids.items()}
        start = time.monotonic()
        time.sleep(IDLE_S)  # the thing measured is that nothing happens
        elapsed = time.monotonic() - start
        shares = {name: (_cpu_s(pid) - before[name]) / elapsed * 100 for name, pid in pids.items()}
        rss = {name: _rss_mb(pid) for name, pid in pids.items()}
    return [
        Row("idle CPU of smartxd + capture", sum(shares.values()), "% of a core", 1),
        Row("idle CPU of smartxd", shares["smartxd"], "% of a core"),
        Row("idle CPU of capture", shares["capture"], "% of a core"),
        Row("RSS of smartxd", rss["smartxd"], "MB", 120),
        Row("RSS of capture", rss["capture"], "MB"),
    ]


def _settle(lab: Lab) -> None:
    """Wait until start-up is over: the session is established, and the centre has the box's first batches."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        sessions = lab.report("gist1").sessions
        capture = read_report(lab.layout.box("gist1").state_dir / "captures")
        synced = capture is not None and any(s.received_rows for s in capture.streams)
        if synced and all(s.state == "Established" for s in sessions):
            return
        time.sleep(0.5)
    raise LabError("the example did not settle within 60 s")


@contextmanager
def booted(specs: Path, name: str, pace: Pace) -> Iterator[Lab]:
    """A lab of some specs, converged, for a while."""
    lab = Lab(specs, name=name)
    try:
        lab.up(pace)
        lab.wait_ready(90)
        yield lab
    finally:
        lab.down()


class _Ready:
    """Asks a box's socket whether it is Ready, as often as makes the wait exact to about 2 ms."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def wait(self, commit: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            answer = self._ask()
            if answer["ready"] and answer["commit"] == commit:
                return
            time.sleep(0.002)
        raise LabError(f"not converged on {commit[:10]} within {TIMEOUT_S:.0f} s")

    def _ask(self) -> dict[str, object]:
        connection = http.client.HTTPConnection("box", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self._path))
        connection.request("GET", "/ready")
        answer: dict[str, object] = json.loads(connection.getresponse().read())
        connection.close()
        return answer


class _Reference:
    """The same work by hand."""

    def __init__(self, namespace: str, mirror: Path) -> None:
        self._namespace, self._mirror = namespace, mirror

    def apply(self, repo: Path, n: int) -> float:
        """Seconds that one commit takes."""
        start = time.perf_counter()
        _call("git", "-C", str(self._mirror), "fetch", "--quiet", str(repo), "+main:refs/heads/main")
        batch = BATCH.format(n=n, vni=1000 + n)
        _call(*_ip(self._namespace), text=batch)
        return time.perf_counter() - start


@contextmanager
def _reference(folder: Path) -> Iterator[_Reference]:
    name, mirror = f"bench-ref-{os.getpid()}", folder / "mirror.git"
    _call("git", "init", "--quiet", "--bare", str(mirror))
    _call("ip", "netns", "add", name)
    try:
        _call(*_ip(name), text=UNDERLAY)
        yield _Reference(name, mirror)
    finally:
        _call("ip", "netns", "del", name)


def _prepare(repo: Path, name: str, text: str) -> str:
    """A commit on top of the branch that adds one file; the branch does not move yet."""
    (repo / name).write_text(text)
    _git(repo, "add", name)
    tree = _git(repo, "write-tree")
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.net")
    return _git(repo, *identity, "commit-tree", "-p", "refs/heads/main", "-m", name, tree)


def _git(repo: Path, *argv: str) -> str:
    return _call("git", "-C", str(repo), *argv).strip()


def _ip(namespace: str) -> tuple[str, ...]:
    """``ip -batch`` in a namespace."""
    return ("nsenter", f"--net=/run/netns/{namespace}", "ip", "-batch", "-")


def _call(*argv: str, text: str = "") -> str:
    done = subprocess.run(argv, input=text, text=True, capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _ms(samples: list[float], percent: int) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1] * 1e3


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process, its threads and the children that it has waited for (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LabError(f"process {pid} has ended")
