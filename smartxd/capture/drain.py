"""The drain of one policy: each counted packet reaches the store exactly once, whenever it is killed.

The kernel holds a generation g and writes to the map of bit 0 of g; the other, idle map holds g - 1 until it
is emptied. A generation is settled: stored in one transaction together with its number, then added to the
totals, then removed from the kernel. A drain settles g - 1 if it is still there, stores g + 1, waits until no
program writes to the old map, and settles g.

Killed before the transaction: nothing of it is stored, the next drain reads the same map again. Killed after:
the store says that it has this generation, and what is left to do is done. The ledger goes last, because a
ledger that is not empty is what says that a generation is not settled.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyarrow as pa

from smartxd.capture.conceal import Conceal
from smartxd.capture.decode import Origin, decode_flows, decode_losses
from smartxd.capture.layout import DIRECTIONS
from smartxd.capture.maps import GracePeriod, PolicyMaps
from smartxd.manifest import TracedPolicy


class Store(Protocol):
    """What a drain needs of the capture store."""

    def committed(self, incarnation: str) -> int | None:
        """The highest generation stored; None before the first."""
        ...

    def append(self, incarnation: str, generation: int, flows: pa.Table, losses: pa.Table) -> None:
        """Store a generation in one transaction."""
        ...


FlowCounts = Counter[tuple[int, str]]
"""Flow rows by ifindex and direction."""


def _names(policy: TracedPolicy) -> dict[int, str]:
    """Interfaces by ifindex: programs count as soon as they are attached, the manifest says so later."""
    return dict(socket.if_nameindex()) | {i.ifindex: i.name for i in policy.interfaces}


class Drain:
    """Drains one policy."""

    def __init__(
        self,
        maps: PolicyMaps,
        store: Store,
        grace: GracePeriod,
        conceal: Conceal | None = None,
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``conceal`` says what is stored for an address, if not itself.

        ``reached`` is told each point at which a crash could strike, so that tests can let it.
        """
        self._maps = maps
        self._store = store
        self._grace = grace
        self._conceal = conceal
        self._reached = reached

    def run(self, policy: TracedPolicy, one_in: int | None = None) -> FlowCounts:
        """Store all that was counted up to now; the number of flow rows. A quiet policy costs little.

        From then on one skb in ``one_in`` is recorded; as before where that is not given.
        """
        generation = self._maps.generation
        counts: FlowCounts = Counter()
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

    def _settle(self, policy: TracedPolicy, generation: int) -> FlowCounts:
        maps, counts = self._maps, FlowCounts()
        ledger = maps.ledger(generation)
        stored = self._store.committed(policy.incarnation)
        if stored is None or stored < generation:
            now_ns = time.time_ns()
            origin = Origin(
                policy.name,
                policy.commit_id,
                _names(policy),
                now_ns - time.monotonic_ns(),
                maps.sampled_one_in(generation),
                self._conceal,
            )
            found = maps.flows(generation)
            self._reached("read")
            flows = decode_flows(found.keys, found.values, origin)
            losses = decode_losses(ledger.keys, ledger.values, origin, now_ns)
            self._store.append(policy.incarnation, generation, flows, losses)
            places, rows = np.unique(found.keys[["ifindex", "direction"]], return_counts=True)
            for (ifindex, direction), n in zip(places.tolist(), rows.tolist(), strict=True):
                counts[ifindex, DIRECTIONS[direction]] = n
        self._reached("committed")
        maps.add_to_totals(generation, ledger)
        self._reached("totalled")
        maps.empty_flows(generation)
        self._reached("flows emptied")
        maps.empty_ledger(generation)
        self._reached("settled")
        return counts
