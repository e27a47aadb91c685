"""The flow tracer's nanoseconds for a packet, against a program that does the least of its work.

By BPF_PROG_TEST_RUN, thousands of times over one packet, and over that of an empty program. The machine is
shared, so the programs take turns, some milliseconds each, for many rounds; a layout in memory can be lucky,
so each is built several times. All are entered by a tail call, from a program that can give the packet
another flow first.
"""

from __future__ import annotations

import os
import statistics
import struct
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import flood, frames, testrun
from benchmarks.table import Row, spread
from smartxd import bpfsys
from smartxd.objects import ObjectRef
from smartxd.planes.trace import bpffs, pins, program, selection, sources
from smartxd.planes.trace.filter import Filter
from smartxd.planes.trace.state import LEDGER_MAX, Tracer
from smartxd.spec.pcap import compiled

EVERYTHING = Tracer(ObjectRef("TracePolicy", "bench"), ("lo",))
FLOWS_MAX = EVERYTHING.flows_max
FLOWS = 16_384
BUILDS = 3
ROUNDS = 101
REPEAT = 20_000
WARM_UP = 30 * FLOWS
"""Runs after which every flow of many is in its map."""

EMPTY, REFERENCE, TRACER, FILTERED = "empty", "reference", "tracer", "filtered"
MANY = f"UDP, {FLOWS:,} flows"
LIMITS = ((TRACER, "UDP", 1.0), (TRACER, MANY, 1.1), (TRACER, "VXLAN", 1.6), (FILTERED, "UDP", 0.3))
FRAMES = {"UDP": frames.UDP, "VXLAN": frames.VXLAN, **frames.OTHERS}

Samples = Mapping[tuple[str, str], Sequence[int]]
"""Nanoseconds of a run, by kind of program and by what it ran over."""


def run() -> list[Row]:
    """The rows; LabError when a program to compare with is not installed."""
    flooded = flood.rows()
    with _pinned() as folder, tempfile.TemporaryDirectory() as tree, ExitStack() as stack:
        programs = [
            (name, stack.enter_context(_tracer(folder, tracer)))
            for name, tracer in ((TRACER, EVERYTHING), (FILTERED, replace(EVERYTHING, filter=_filter("arp"))))
            for _ in range(BUILDS)
        ]
        modules = [_module(Path(tree, f"headers{n}")) for n in range(BUILDS)]
        programs += [(name, _load(module, name)) for module in modules for name in (EMPTY, REFERENCE)]
        return [*_rows(_measure(programs, modules[0])), *flooded]


def _rows(samples: Samples) -> list[Row]:
    rows = []
    empty = {what: statistics.median(samples[EMPTY, what]) for what in ("UDP", MANY)}
    for kind, what, limit in LIMITS:
        like = what if what == MANY else "UDP"
        least = statistics.median(samples[REFERENCE, like]) - empty[like]
        cost = [ns - empty[like] for ns in samples[kind, what]]
        name = f"{what}, filtered out" if kind == FILTERED else what
        rows += [
            Row(f"{name}, against the reference", statistics.median(cost) / least, "x", limit, REFERENCE, 1),
            Row(f"{name}: {spread(cost)}", statistics.median(cost), "ns", None, REFERENCE, least),
        ]
    for what in frames.OTHERS:
        cost = [ns - empty["UDP"] for ns in samples[TRACER, what]]
        rows.append(Row(f"{what}: {spread(cost)}", statistics.median(cost), "ns"))
    return [*rows, Row("an empty program, which is taken off all", empty["UDP"], "ns")]


def _measure(programs: Sequence[tuple[str, int]], module: Any) -> Samples:
    measured, one, many = module["measured"].map_fd, _load(module, "one_flow"), _load(module, "many_flows")
    samples: dict[tuple[str, str], list[int]] = defaultdict(list)

    def sample(fd: int, caller: int, frame: bytes, repeat: int = REPEAT) -> int:
        bpfsys.update(measured, struct.pack("=I", 0), struct.pack("=i", fd))
        return testrun.run(caller, frame, repeat)

    for _, fd in programs:
        sample(fd, many, frames.UDP, WARM_UP)
    for _ in range(ROUNDS):
        for name, fd in programs:
            samples[name, MANY].append(sample(fd, many, frames.UDP))
            for what, frame in FRAMES.items():
                if name == TRACER or what == "UDP":
                    samples[name, what].append(sample(fd, one, frame))
    return samples


@contextmanager
def _pinned() -> Iterator[Path]:
    """A folder of a bpffs for a while."""
    root = bpffs.MOUNT_POINT / f"bench-{uuid.uuid4().hex[:8]}"
    bpffs.ensure(root)
    try:
        yield root
    finally:
        pins.remove_all(root)


def _filter(text: str) -> Filter:
    return Filter(text, tuple((i.code, i.jt, i.jf, i.k) for i in compiled(text)))


@contextmanager
def _tracer(root: Path, tracer: Tracer) -> Iterator[int]:
    """A descriptor of the tracer as it is on a box."""
    folder, text = sources.directory(), selection.c_text(tracer)
    pin_dir = pins.fresh_dir(root, "bench", sources.fingerprint(folder))
    program.build(program.Request(str(folder), str(pin_dir), tracer.flow_entries, LEDGER_MAX, text))
    with bpfsys.opened(pin_dir / "ingress") as fd:
        yield fd


def _module(tree: Path) -> Any:
    """The programs of benchmarks/trace.c."""
    from bcc import BPF  # noqa: PLC0415 (where there is none, the other benchmarks run)

    program.assemble_headers(sources.directory(), tree)
    os.environ["BCC_KERNEL_SOURCE"] = str(tree)
    flags = ["-D__LINUX_BPF_H__", f"-DFLOWS_MAX={FLOWS_MAX}", f"-DFLOWS={FLOWS}"]
    return BPF(src_file=str(Path(__file__).with_name("trace.c")), cflags=flags)


def _load(module: Any, name: str) -> int:
    return int(module.load_func(name, module.SCHED_CLS).fd)
