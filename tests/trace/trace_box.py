"""A box to trace on, and what drains it."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from trace_frames import ethernet

from smartxd import bpfsys
from smartxd.capture.conceal import Conceal
from smartxd.capture.drain import Drain, PacketDrain
from smartxd.capture.maps import GracePeriod, PolicyMaps
from smartxd.capture.ring import Ring
from smartxd.manifest import Manifest, TracedPolicy
from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.trace import bpffs
from smartxd.planes.trace.plane import TracePlane
from smartxd.planes.trace.state import Tracer, TraceState
from smartxd.reconcile.plan import Ownership, Plan, Problem
from smartxd.records import DROP, FLOW, LOSS, PACKET, TCP
from smartxd.store import openflows
from smartxd.store.openflows import TimeOuts

CLONE_NEWNET = 0x40000000
BPF_PROG_LOAD = 5
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Collected:
    """A store that only remembers."""

    generations: dict[str, int] = field(default_factory=dict)
    flow_tables: list[pa.Table] = field(default_factory=list)
    loss_tables: list[pa.Table] = field(default_factory=list)
    packet_tables: list[pa.Table] = field(default_factory=list)
    drop_tables: list[pa.Table] = field(default_factory=list)
    connection_tables: list[pa.Table] = field(default_factory=list)

    def committed(self, incarnation: str) -> int | None:
        return self.generations.get(incarnation)

    def append(
        self,
        incarnation: str,
        generation: int,
        flows: pa.Table,
        losses: pa.Table,
        told: Mapping[str, pa.Table],
        *,
        keys: pa.Array,
        time_outs: TimeOuts,
    ) -> None:
        assert len(set(keys.to_pylist())) == flows.num_rows
        self.drop_tables.append(told["drops"])
        self.connection_tables.append(told["tcp"])
        self.flow_tables.append(flows)
        self.loss_tables.append(losses)
        self.generations[incarnation] = generation

    def end_flows(self, incarnation: str, time_outs: TimeOuts) -> None:
        """Rows are remembered as they were drained."""

    def end_flows_except(self, incarnations: Collection[str]) -> None:
        """As ``end_flows``."""

    def append_packets(self, ring: str, position: int, packets: pa.Table) -> None:
        self.packet_tables.append(packets)
        self.generations[ring] = position

    @property
    def packets(self) -> list[dict[str, Any]]:
        return pa.concat_tables([PACKET.empty_table(), *self.packet_tables]).to_pylist()

    @property
    def drops(self) -> list[dict[str, Any]]:
        return pa.concat_tables([DROP.empty_table(), *self.drop_tables]).to_pylist()

    @property
    def connections(self) -> list[dict[str, Any]]:
        return pa.concat_tables([TCP.empty_table(), *self.connection_tables]).to_pylist()

    @property
    def flows(self) -> list[dict[str, Any]]:
        return pa.concat_tables([FLOW.empty_table(), *self.flow_tables]).to_pylist()

    @property
    def losses(self) -> list[dict[str, Any]]:
        return pa.concat_tables([LOSS.empty_table(), *self.loss_tables]).to_pylist()


class Box:
    """A namespace with a veth pair `wan`-`peer`, silent but for what a test sends, and a trace plane."""

    def __init__(self, directory: Path) -> None:
        self.name = f"smxt-{uuid.uuid4().hex[:10]}"
        self.path = f"/run/netns/{self.name}"
        self.bpffs_dir = bpffs.MOUNT_POINT / self.name
        self.manifest_path = directory / "trace.json"
        self.secrets_dir = directory / "secrets"
        self.plane = TracePlane(self.bpffs_dir, self.manifest_path, self.secrets_dir)
        self.owned: set[OwnedObject] = set()
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=60)
        with self.inside():
            for which in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
        self.add_veth("wan", "peer")

    def delete(self) -> None:
        try:
            with self.inside():
                self.plane.remove_all()
        finally:
            subprocess.run(["ip", "netns", "del", self.name], check=True, timeout=60)
        assert not self.bpffs_dir.exists()

    def run(self, command: str) -> str:
        argv = ["nsenter", f"--net={self.path}", *command.split()]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def add_veth(self, name: str, peer: str) -> None:
        self.run(f"ip link add {name} type veth peer name {peer}")
        self.run(f"ip link set {name} up")
        self.run(f"ip link set {peer} up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread in the namespace."""
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        assert _libc.setns(there, CLONE_NEWNET) == 0
        try:
            yield
        finally:
            if _libc.setns(home, CLONE_NEWNET) != 0:
                os._exit(70)  # no other test may run in the wrong namespace
            os.close(there)
            os.close(home)

    def plan(self, *tracers: Tracer) -> Plan:
        with self.inside():
            owned = Ownership(frozenset(self.owned))
            return self.plane.plan(TraceState(tracers), self.plane.observe(), owned)

    def converge(self, *tracers: Tracer, commit: str = "c1") -> list[Problem]:
        """One round as the daemon does it; all problems."""
        plan = self.plan(*tracers)
        problems = list(plan.problems)
        with self.inside():
            self.owned |= {action.owned for action in plan.actions}
            for result in self.plane.apply(plan, self.plane.observe()):
                if result.problem:
                    problems.append(result.problem)
            self.plane.publish(commit)
        return problems

    @property
    def manifest(self) -> Manifest:
        return Manifest.read(self.manifest_path)

    def policy(self, name: str = "wan") -> TracedPolicy:
        (found,) = [p for p in self.manifest.policies if p.name == name and not p.retired]
        return found

    def drain(
        self,
        store: Any,
        name: str = "wan",
        reached: Callable[[str], None] = lambda _: None,
        conceal: Conceal | None = None,
    ) -> None:
        policy = self.policy(name)
        maps, ring, grace = PolicyMaps(policy.pin_dir), Ring(policy.pin_dir), GracePeriod()
        try:
            Drain(maps, store, grace, conceal=conceal, reached=reached).run(policy)
            PacketDrain(ring, store, conceal=conceal, reached=reached).run(policy)
        finally:
            maps.close()
            ring.close()
            grace.close()

    @contextmanager
    def packet_socket(self, interface: str) -> Iterator[socket.socket]:
        with self.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as made:
            made.bind((interface, 0))
            yield made

    def send(self, *frames: bytes, out: str = "peer") -> None:
        with self.packet_socket(out) as sending:
            for frame in frames:
                sending.send(frame)

    def frame(self, interface: str, ethertype: int, payload: bytes, *tags: tuple[int, int]) -> bytes:
        """A frame to an interface's own address."""
        (link,) = json.loads(self.run(f"ip -j link show dev {interface}"))
        address = bytes.fromhex(link["address"].replace(":", ""))
        return address + ethernet(ethertype, payload, *tags)[len(address) :]

    def counter(self, interface: str, name: str) -> int:
        """A counter of the interface, as `ip -s link` shows it."""
        for line in self.run("cat /proc/net/dev").splitlines():
            device, _, numbers = line.partition(":")
            if device.strip() == interface:
                columns = ("rx_bytes", "rx_packets", *["_"] * 6, "tx_bytes", "tx_packets")
                return int(numbers.split()[columns.index(name)])
        raise AssertionError(f"no interface {interface}")


def tracer(
    *interfaces: str, name: str = "wan", directions: tuple[str, ...] = ("ingress",), **more: Any
) -> Tracer:
    return Tracer(
        ObjectRef("TracePolicy", name), tuple(sorted(interfaces)), tuple(sorted(directions)), **more
    )


def unloaded(*programs: int) -> bool:
    """Whether the kernel lets go of programs that nothing holds any more: a while after, without a word."""
    until_s = time.monotonic() + 60
    while any(map(bpfsys.is_loaded, programs)):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


TC_ACT_OK, TC_ACT_SHOT = 0, 2


def load_foreign_program(verdict: int = TC_ACT_OK) -> int:
    """A descriptor of another tool's classifier, behind whose verdict no other sees a packet."""
    instructions = struct.pack("<BBhi", 0xB7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    code, words = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("=IIQQ", 3, 2, ctypes.addressof(code), ctypes.addressof(words))
    return bpfsys._bpf(BPF_PROG_LOAD, bytearray(attr))  # type: ignore[arg-type]


def stored_flows(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    """A query over the flows of all segments of a closed store, also those that go on."""
    found: list[tuple[Any, ...]] = []
    both = " UNION ALL ".join(f"SELECT {openflows.NAMES} FROM main.{t}" for t in ("flows", openflows.TABLE))
    for segment in sorted(directory.glob("flows-*.sqlite")):
        db = sqlite3.connect(segment)
        db.execute(f"CREATE TEMP VIEW flows AS {both}")
        found += db.execute(sql).fetchall()
        db.close()
    return found
