"""Again and again: killed under load, reloaded. Everything is counted once, and nothing is left behind.

CI does it a few times; SMARTXD_CAPTURE_KILLS=50 and SMARTXD_TRACE_RELOADS=100 are what is asked of a release.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from capture_process import Capture
from trace_box import Box, Collected, stored_flows, tracer, unloaded
from trace_traffic import Traffic, flow

from smartxd import bpfsys
from smartxd.capture.maps import PolicyMaps
from smartxd.capture.tracing import Tracing
from smartxd.manifest import Manifest
from smartxd.planes.trace.state import Tracer

KILLS = int(os.environ.get("SMARTXD_CAPTURE_KILLS", "5"))
RELOADS = int(os.environ.get("SMARTXD_TRACE_RELOADS", "6"))
POLICIES, INTERFACES = 10, 20
pytestmark = [pytest.mark.kernel, pytest.mark.timeout(400 + 5 * KILLS + 20 * RELOADS)]


def test_killed_again_and_again_under_load_it_loses_and_doubles_nothing(capture: Capture) -> None:
    box, chance = capture.box, random.Random(1)
    box.converge(tracer("wan"))
    before = {name: box.counter("wan", name) for name in ("rx_packets", "rx_bytes")}
    traffic = Traffic(box)
    traffic.start()
    try:
        drained = 0
        for _ in range(KILLS):
            capture.start()
            report = capture.wait_for(lambda r: sum(t.packets for t in r.tracers) > drained)  # noqa: B023
            drained = sum(t.packets for t in report.tracers)
            time.sleep(0.3 * chance.random())  # the moment to be killed at, anywhere in a drain
            capture.stop(signal.SIGKILL)
    finally:
        traffic.end()
    capture.start()
    capture.wait_for_packets(traffic.sent)
    assert capture.stop() == ""
    packets, size = stored_flows(capture.captures, "select sum(packets), sum(bytes) from flows")[0]
    assert packets == box.counter("wan", "rx_packets") - before["rx_packets"] == traffic.sent
    assert size == box.counter("wan", "rx_bytes") - before["rx_bytes"]
    assert stored_flows(capture.captures, "select * from losses") == []
    maps = PolicyMaps(box.policy().pin_dir)
    total = maps.totals().values["sum"]
    maps.close()
    assert (total["seen_packets"].sum(), total["seen_bytes"].sum()) == (packets, size)


class Counted(Collected):
    """A store that remembers no row, but how many packets each policy has recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: Counter[str] = Counter()

    def append(self, incarnation: str, generation: int, flows: pa.Table, *rest: Any, **more: Any) -> None:
        for row in flows.to_pylist():
            self.recorded[row["policy"]] += row["packets"]
        self.generations[incarnation] = generation


def resident_bytes() -> int:
    """Of what is in use: less what Python and Arrow keep for the next who asks."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def program_ids(folder: Path) -> set[int]:
    ids = set()
    for direction in ("ingress", "egress"):
        with bpfsys.opened(folder / direction) as fd:
            ids.add(bpfsys.program_id(fd))
    return ids


def test_ten_policies_on_twenty_interfaces_reloaded_again_and_again_leak_nothing(box: Box) -> None:
    """Every second reload changes where a policy watches, the others what it is built of."""
    names = ["wan", *(f"lan{n}" for n in range(INTERFACES - 1))]
    for name in names[1:]:
        box.add_veth(name, f"{name}p")
    policies = {n: tracer(*names, name=f"p{n}", flows_max=64) for n in range(POLICIES)}
    store, said, builds, sent, resident = Counted(), list[str](), dict[str, set[int]](), 0, []
    tracing = Tracing(store, said.append, box.secrets_dir)
    for reload, n in zip(range(RELOADS + 1), cycle(range(POLICIES)), strict=False):
        if reload:
            policies[n] = changed(policies[n], names, built=reload % 2 == 0)
        assert box.converge(*policies.values()) == []
        assert box.plan(*policies.values()).actions == ()
        live = [policy for policy in box.manifest.policies if not policy.retired]
        builds |= {policy.incarnation: program_ids(policy.pin_dir) for policy in live}
        assert len(live) == POLICIES
        box.send(flow(1))
        sent += 1
        with box.inside():
            reports = tracing.drain(Manifest.read(box.manifest_path))
        if reload == 1:
            resident.append(resident_bytes())
    resident.append(resident_bytes())
    tracing.close()
    # A policy that was not built anew has counted each packet; the others what came since, and before.
    assert {policy.name for policy in live} == {f"p{n}" for n in range(POLICIES)}
    assert store.recorded == dict.fromkeys((policy.name for policy in live), sent)
    assert len(reports) == sum(len(i.directions) for policy in live for i in policy.interfaces)
    assert said == []
    assert resident[-1] < 1.1 * resident[0]
    for policy in live:
        del builds[policy.incarnation]
    assert builds
    assert unloaded(*(program for ids in builds.values() for program in ids))


def changed(policy: Tracer, names: list[str], *, built: bool) -> Tracer:
    where = policy.interfaces if built else tuple(sorted(names[: 20 - len(policy.interfaces) % 3]))
    flows_max = policy.flows_max + (16 if built else 0)
    return tracer(*where, name=policy.owner.name, flows_max=flows_max)
