"""The drains of one policy: each counted packet reaches the store exactly once, whenever it is killed.

The kernel holds a generation g and writes to the map of bit 0 of g; the other, idle map holds g - 1 until it
is emptied. A generation is settled: stored in one transaction together with its number, then added to the
totals, then removed from the kernel. A drain settles g - 1 if it is still there, stores g + 1, waits until no
program writes to the old map, and settles g.

Killed before the transaction: nothing of it is stored, the next drain reads the same map again. Killed after:
the store says that it has this generation, and what is left to do is done. The ledger goes last, because a
ledger that is not empty is what says that a generation is not settled.

Packets have no generations: a ring says how far it was read. What it holds is stored in one transaction
together with the position behind it, and then the ring is told. Killed in between: the store says how far.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from smartxd.capture.conceal import Conceal
from smartxd.capture.decode import (
    Origin,
    Records,
    decode_connections,
    decode_drops,
    decode_flows,
    decode_losses,
    decode_packets,
    packet_records,
)
from smartxd.capture.flowkeys import FlowKeys
from smartxd.capture.kernelnames import KernelNames
from smartxd.capture.layout import DIRECTIONS, TCP
from smartxd.capture.maps import CONNECTIONS, DROPS, Entries, GracePeriod, PolicyMaps
from smartxd.capture.ring import Ring
from smartxd.manifest import TracedPolicy
from smartxd.store.batch import MAX_ROWS
from smartxd.store.openflows import TimeOuts


class Store(Protocol):
    """What a drain needs of the capture store."""

    def committed(self, incarnation: str) -> int | None:
        """The highest generation stored; None before the first."""
        ...

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
        """Store a generation in one transaction; ``told`` are further rows, by stream.

        Flows go on: rows that have one of the ``keys`` add up, until the time-outs say that they have ended.
        """
        ...

    def end_flows(self, incarnation: str, time_outs: TimeOuts) -> None:
        """Store the flows of an incarnation that have ended as flows."""
        ...

    def end_flows_except(self, incarnations: Collection[str]) -> None:
        """Store all flows that go on of other incarnations as flows."""
        ...

    def append_packets(self, ring: str, position: int, packets: pa.Table) -> None:
        """Store what a ring held up to a position, which ``committed`` then gives for its name."""
        ...


NS = 1_000_000_000

RowCounts = Counter[tuple[int, str]]
"""Rows by ifindex and direction."""


def _names(policy: TracedPolicy) -> dict[int, str]:
    """Interfaces by ifindex: programs count as soon as they are attached, the manifest says so later."""
    return dict(socket.if_nameindex()) | {i.ifindex: i.name for i in policy.interfaces}


def _origin(policy: TracedPolicy, sampled_one_in: int = 1, conceal: Conceal | None = None) -> Origin:
    now_ns = time.time_ns()
    tai_s = round((now_ns - time.clock_gettime_ns(time.CLOCK_TAI)) / NS)
    return Origin(
        *(policy.name, policy.commit_id, _names(policy)),
        unix_offset_ns=_unix_offset_ns(),
        tai_offset_ns=tai_s * NS,
        sampled_one_in=sampled_one_in,
        conceal=conceal,
    )


def _unix_offset_ns() -> int:
    """Unix time less the monotonic clock: of a few readings the one with the least time in it."""
    readings = []
    for _ in range(3):
        before_ns, now_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after_ns - before_ns, now_ns - (before_ns + after_ns) // 2))
    return min(readings)[1]


def _rows(keys: Records) -> RowCounts:
    places = keys["ifindex"].astype("u8") << 2 | keys["direction"]
    found = pc.value_counts(pa.array(places)).to_pylist()
    return RowCounts({(one["values"] >> 2, DIRECTIONS[one["values"] & 3]): one["counts"] for one in found})


def _connection_rows(keys: Records) -> RowCounts:
    return RowCounts((ifindex, TCP) for ifindex in keys["ifindex"].tolist())


def flow_time_outs(maps: PolicyMaps, policy: TracedPolicy, one_in: int) -> TimeOuts:
    """When flows of a policy have ended that are sampled at this interval."""
    terms = maps.terms()
    return TimeOuts(
        idle_s=terms.idle_timeout_s,
        active_s=terms.active_timeout_s,
        flows_max=2 * maps.flows_max,
        commit_id=policy.commit_id,
        sampled_one_in=one_in,
    )


class Drain:
    """Drains the flows, what the kernel told, and the ledger of one policy."""

    def __init__(
        self,
        maps: PolicyMaps,
        store: Store,
        grace: GracePeriod,
        *,
        conceal: Conceal | None = None,
        reached: Callable[[str], None] = lambda _: None,
        names: KernelNames | None = None,
        flow_keys: FlowKeys | None = None,
    ) -> None:
        """``conceal`` says what is stored for an address, if not itself.

        ``reached`` is told each point at which a crash could strike, so that tests can let it. ``names`` are
        those of the kernel, as far as others have asked for them. Flows go on from drain to drain with
        the same ``flow_keys``.
        """
        self._names = names or KernelNames()
        self._flow_keys = flow_keys or FlowKeys()
        self._maps = maps
        self._store = store
        self._grace = grace
        self._conceal = conceal
        self._reached = reached
        self.told_s = 0.0
        """Of a CPU, that it took to make rows of what the kernel told."""

    def run(self, policy: TracedPolicy, one_in: int | None = None) -> RowCounts:
        """Store all that was counted up to now; the number of flow rows. A quiet policy costs little.

        From then on one skb in ``one_in`` is recorded; as before where that is not given.
        """
        generation = self._maps.generation
        counts: RowCounts = Counter()
        if len(self._maps.ledger(generation - 1)):
            self._grace.wait()  # the process before may have been killed between flip and wait
            counts += self._settle(policy, generation - 1)
        before = self._maps.sampled_one_in(generation)
        if one_in in (None, before) and not len(self._maps.ledger(generation)):
            return counts
        self._maps.sample_one_in(generation + 1, one_in or before)
        self._reached("before flip")
        self._maps.generation = generation + 1
        self._reached("flipped")
        self._grace.wait()
        self._reached("idle")
        if not len(self._maps.ledger(generation)):
            return counts  # flipped for the interval alone
        return counts + self._settle(policy, generation)

    def _settle(self, policy: TracedPolicy, generation: int) -> RowCounts:
        maps, counts = self._maps, RowCounts()
        ledger = maps.ledger(generation)
        stored = self._store.committed(policy.incarnation)
        if stored is None or stored < generation:
            one_in = maps.sampled_one_in(generation)
            origin = _origin(policy, one_in, self._conceal)
            found = maps.flows(generation)
            begun_s = time.thread_time()
            dropped, connections = maps.told(DROPS, generation), maps.told(CONNECTIONS, generation)
            self._reached("read")
            told = {
                "drops": self._decode_drops(dropped, origin),
                "tcp": decode_connections(connections.keys, connections.values, origin),
            }
            self.told_s += time.thread_time() - begun_s
            flows = decode_flows(found.keys, found.values, origin)
            losses = decode_losses(ledger.keys, ledger.values, origin, time.time_ns())
            keys, time_outs = self._flow_keys.of(found.keys, origin), flow_time_outs(maps, policy, one_in)
            self._store.append(
                *(policy.incarnation, generation, flows, losses, told), keys=keys, time_outs=time_outs
            )
            counts = _rows(found.keys) + _rows(dropped.keys["flow"]) + _connection_rows(connections.keys)
        self._reached("committed")
        maps.add_to_totals(generation, ledger)
        self._reached("totalled")
        maps.empty_flows(generation)
        maps.empty_told(generation)
        self._reached("flows emptied")
        maps.empty_ledger(generation)
        self._reached("settled")
        return counts

    def _decode_drops(self, found: Entries, origin: Origin) -> pa.Table:
        reasons = self._names.reasons(found.keys["reason"])
        return decode_drops(
            found.keys, found.values, origin, reasons, self._names.locations(found.keys["location"])
        )


class PacketDrain:
    """Drains the ring of one policy."""

    def __init__(
        self,
        ring: Ring,
        store: Store,
        *,
        conceal: Conceal | None = None,
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``conceal`` and ``reached`` as in ``Drain``."""
        self._ring = ring
        self._store = store
        self._conceal = conceal
        self._reached = reached

    def run(self, policy: TracedPolicy) -> RowCounts:
        """Store the packets that are in the ring now, a batch at a time; the number of rows."""
        ring, name, counts = self._ring, f"{policy.incarnation}:packets", RowCounts()
        stored = self._store.committed(name)
        if stored is not None and stored > ring.position:
            ring.position = stored  # the process before was killed in between
        until = ring.produced  # what comes meanwhile is left to the next time: others wait
        while ring.position < until:
            taken = ring.take(until, MAX_ROWS)
            if taken.end == ring.position:
                break
            records = packet_records(taken.words, taken.starts)
            table = decode_packets(records, taken.words, taken.starts, _origin(policy, conceal=self._conceal))
            self._reached("packets read")
            self._store.append_packets(name, taken.end, table)
            self._reached("packets committed")
            ring.position = taken.end
            counts += _rows(records["key"])
        return counts
