"""From a change by hand, or a port that appears, to a box that is as its specs say again.

The clock starts when the kernel has done the change, and stops when a look by netlink, each millisecond or
so, finds the link in its place. Each link is changed once: one that is fought about would be repaired seldom.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.converge import booted
from benchmarks.table import Row
from smartxd.errors import LabError
from smartxd.lab import namespace
from smartxd.lab.box import Pace
from smartxd.planes.kernel import observe
from smartxd.planes.kernel.rtnl import Rtnl

ROUNDS = 20
TIMEOUT_S = 10.0
LIMIT_MS = 200.0

BOX = """
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: bench}
spec: {underlay: {interface: wan0, address: 203.0.113.1/24}, loopback: 10.255.0.1}
---
apiVersion: smartx.io/v1alpha1
kind: Port
metadata: {name: guests}
spec: {boxes: {names: [bench]}, interfaces: ["tap*"], tunnel: t0}
"""

TUNNEL = """---
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {{name: t{n}}}
spec:
  boxes: {{names: [bench]}}
  vni: {vni}
  flood: {{mode: static}}
  gateways: {{bench: 10.20.{n}.1/24}}
"""


def run() -> list[Row]:
    """The rows."""
    removed, appeared = [], []
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        tunnels = "".join(TUNNEL.format(n=n, vni=100 + n) for n in range(ROUNDS))
        (Path(folder) / "specs.yaml").write_text(BOX + tunnels)
        with booted(Path(folder), "bench-repair", Pace()) as lab:
            box = _Box(lab.layout.namespace("bench"))
            for n in range(ROUNDS):
                removed.append(box.until_plugged(f"vx{100 + n}", f"link del vx{100 + n}"))
                line = f"link add tap{n} type veth peer name far{n}"
                appeared.append(box.until_plugged(f"tap{n}", line))
    return [
        *_rows("a VXLAN link that was deleted is back", removed),
        *_rows("a port that appears is attached", appeared),
    ]


class _Box:
    def __init__(self, name: str) -> None:
        self._name = name
        self._rtnl = namespace.call_inside(name, Rtnl)

    def until_plugged(self, link: str, change: str) -> float:
        """Milliseconds from after a change by hand until a link is there and in a bridge."""
        namespace.batch(self._name, [change])
        began = time.perf_counter()
        while (found := observe.observe_link_named(self._rtnl, link)) is None or found.port is None:
            if time.perf_counter() - began > TIMEOUT_S:
                raise LabError(
                    f"{change}: not repaired within {TIMEOUT_S:.0f} s", "the box's log may say why"
                )
            time.sleep(0.001)
        return (time.perf_counter() - began) * 1e3


def _rows(what: str, samples: list[float]) -> list[Row]:
    return [
        Row(f"{what}, p50", statistics.median(samples), "ms", LIMIT_MS),
        Row(f"{what}, most", max(samples), "ms", LIMIT_MS),
    ]
