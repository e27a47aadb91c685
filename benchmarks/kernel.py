"""The kernel plane with many tunnels, against iproute2 for the same objects, each in a namespace of its own.

A tunnel is a VXLAN link, its bridge and an address. iproute2 reads its lines from standard input.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import ifstate
from benchmarks.table import Row
from smartxd.errors import LabError
from smartxd.lab import namespace
from smartxd.objects import ObjectRef
from smartxd.planes.kernel.plane import KernelPlane
from smartxd.planes.kernel.state import Address, Bridge, KernelState, Vxlan, mark
from smartxd.reconcile.plan import Ownership

TUNNELS = 1_000
MORE = 4_000
FEW = 100
"""For what costs iproute2 a minute: deleting one by one."""
SEVERAL = 300
IFSTATE = 200

SHOW = "ip -d -j link show"


def run() -> list[Row]:
    """The rows."""
    # No namespace goes before all is measured: the kernel holds its locks for minutes while it clears one.
    with ExitStack() as boxes:
        rows = [*_at_size(boxes), *_deleted(boxes), *_against_ifstate(boxes), *_growth(boxes)]
    _settle()
    return rows


def tunnels(count: int, mtu: int = 1450) -> KernelState:
    """So many tunnels, each flooding to one other VTEP; ``mtu`` is that of the first."""
    owners = [ObjectRef("Tunnel", f"t{i}") for i in range(count)]
    sizes = [mtu, *[1450] * (count - 1)]
    bridges = [Bridge(o, f"br{i}", size) for i, (o, size) in enumerate(zip(owners, sizes, strict=True), 1)]
    vxlans = [
        Vxlan(o, f"vx{i}", i, "192.0.2.1", f"br{i}", size, remotes=frozenset({"192.0.2.2"}))
        for i, (o, size) in enumerate(zip(owners, sizes, strict=True), 1)
    ]
    addresses = [Address(o, f"br{i}", f"10.{i >> 8}.{i & 255}.1/24") for i, o in enumerate(owners, 1)]
    return KernelState((*bridges, *vxlans), addresses=tuple(addresses))


def shared(count: int) -> KernelState:
    """So many VXLAN links in one bridge."""
    owner = ObjectRef("Bridge", "all")
    vxlans = [
        Vxlan(ObjectRef("Tunnel", f"t{i}"), f"vx{i}", i, "192.0.2.1", "br0", 1450)
        for i in range(1, count + 1)
    ]
    return KernelState((Bridge(owner, "br0", 1450), *vxlans))


def lines(state: KernelState) -> list[str]:
    """The same for ``ip -batch``."""
    made = []
    for link in state.links:
        if isinstance(link, Bridge):
            made.append(f"link add {link.name} mtu {link.mtu} type bridge")
        elif isinstance(link, Vxlan):
            remote = f"remote {next(iter(link.remotes))} " if link.remotes else ""
            made.append(
                f"link add {link.name} mtu {link.mtu} type vxlan id {link.vni} {remote}"
                f"local {link.local} dstport {link.port} ttl {link.ttl}"
            )
            made.append(f"link set {link.name} master {link.bridge}")
        made.append(f"link set {link.name} alias {mark(link.owner)} up")
    return [*made, *(f"address add {a.address} dev {a.link}" for a in state.addresses)]


class Box:
    """A namespace with an underlay, and a plane in it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.plane = namespace.call_inside(name, KernelPlane)

    def ip(self, batch: Sequence[str]) -> float:
        """Seconds that ``ip -batch`` takes."""
        return self.timed(["ip", "-batch", "-"], "\n".join(batch))

    def timed(self, command: Sequence[str], text: str = "") -> float:
        """Seconds that a command takes in the namespace, its own start included."""
        argv = namespace.enter(self._name, command)
        began = time.perf_counter()
        done = subprocess.run(argv, input=text, text=True, capture_output=True, timeout=300, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
        return time.perf_counter() - began

    def converge(self, state: KernelState, owned: KernelState) -> float:
        """Seconds to observe, plan and apply; LabError when something is refused."""
        began = time.perf_counter()
        observed = self.plane.observe()
        plan = self.plane.plan(state, observed, Ownership(owned.objects()))
        problems = [*plan.problems, *(r.problem for r in self.plane.apply(plan, observed) if r.problem)]
        if problems:
            raise LabError(problems[0].message)
        return time.perf_counter() - began

    def look(self) -> None:
        """Read everything anew."""
        self.plane.resync()
        self.plane.observe()


@contextmanager
def box() -> Iterator[Box]:
    """A box for a while."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    namespace.create(name)
    try:
        made = Box(name)
        made.ip(
            [
                "link add wan0 type veth peer name wan1",
                "address add 192.0.2.1/24 dev wan0",
                "link set wan0 up",
            ]
        )
        yield made
        made.plane.close()
    finally:
        namespace.delete(name)


def _settle() -> None:
    """Wait until the kernel has cleared the namespaces: it makes no other before."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=900)
    subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)


def median(work: Callable[[], float], repeats: int = 5) -> float:
    """Of several runs."""
    return statistics.median(work() for _ in range(repeats))


def _at_size(boxes: ExitStack) -> list[Row]:
    state, nothing = tunnels(TUNNELS), KernelState()
    theirs, ours = boxes.enter_context(box()), boxes.enter_context(box())
    peer = theirs.ip(lines(state))
    show = median(lambda: theirs.timed(SHOW.split()))
    made = ours.converge(state, nothing)
    seen = median(lambda: _clock(ours.look))
    rest = median(lambda: ours.converge(state, state))
    sizes = iter((1400, 1450, 1400, 1450, 1400))
    changed = median(lambda: ours.converge(tunnels(TUNNELS, next(sizes)), state))
    many = f"{TUNNELS} tunnels"
    return [
        Row(f"make {many}, against ip -batch", made / peer, "x", 3, "ip -batch", 1),
        Row(f"make {many}", made, "s", None, "ip -batch", peer),
        Row(f"observe all of {many}, against {SHOW}", seen / show, "x", 5, SHOW, 1),
        Row(f"observe all of {many}", seen * 1e3, "ms", None, SHOW, show * 1e3),
        Row(f"find no change in {many}, against {SHOW}", rest / show, "x", 1, SHOW, 1),
        Row(f"find no change in {many}", rest * 1e3, "ms", None, SHOW, show * 1e3),
        Row(f"change the MTU of one of {many}, against {SHOW}", changed / show, "x", 3, SHOW, 1),
        Row(f"change the MTU of one of {many}", changed * 1e3, "ms", None, SHOW, show * 1e3),
    ]


def _deleted(boxes: ExitStack) -> list[Row]:
    rows = []
    for what, state in (
        (f"{FEW} tunnels", tunnels(FEW)),
        (f"{SEVERAL} tunnels of one Bridge", shared(SEVERAL)),
    ):
        theirs, ours = boxes.enter_context(box()), boxes.enter_context(box())
        theirs.ip(lines(state))
        peer = theirs.ip([f"link del {link.name}" for link in reversed(state.links)])
        ours.converge(state, KernelState())
        took = ours.converge(KernelState(), state)
        rows += [
            Row(f"delete {what}, against ip -batch", took / peer, "x", 1 / 15, "ip -batch", 1),
            Row(f"delete {what}", took * 1e3, "ms", None, "ip -batch", peer * 1e3),
        ]
    # What no tool can avoid: the kernel alone, with one message for a group of nothing but bridges.
    alone = boxes.enter_context(box())
    alone.ip([f"link add b{i} group 7 type bridge" for i in range(FEW)])
    bridges = alone.ip(["link del group 7"])
    return [*rows, Row(f"the kernel deletes a group of {FEW} bridges", bridges * 1e3, "ms")]


def _against_ifstate(boxes: ExitStack) -> list[Row]:
    state = tunnels(IFSTATE)
    with tempfile.TemporaryDirectory() as folder:
        peer_made, peer_again = ifstate.times(state, Path(folder))
    ours = boxes.enter_context(box())
    made = ours.converge(state, KernelState())
    rest = median(lambda: ours.converge(state, state))
    many, name = f"{IFSTATE} tunnels", f"ifstate {ifstate.VERSION}"
    return [
        Row(f"make {many}, against ifstate", made / peer_made, "x", 1 / 50, name, 1),
        Row(f"make {many}", made * 1e3, "ms", None, name, peer_made * 1e3),
        Row(f"find no change in {many}, against ifstate", rest / peer_again, "x", 1 / 50, name, 1),
        Row(f"find no change in {many}", rest * 1e3, "ms", None, name, peer_again * 1e3),
    ]


def _growth(boxes: ExitStack) -> list[Row]:
    times = {}
    for count in (TUNNELS, MORE):
        ours = boxes.enter_context(box())
        times[count] = ours.converge(tunnels(count), KernelState())
    return [Row(f"make {MORE} tunnels, against {TUNNELS}", times[MORE] / times[TUNNELS], "x", 4.5)]


def _clock(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
