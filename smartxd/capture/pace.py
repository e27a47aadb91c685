"""How coarsely a policy must sample to keep to its budget: pure.

The interval is the one that the policy asks for, times a power of two, so that hash sampling chooses of the
packets that it chose before. It grows by what the load is too much, and is halved when half of it is sure to
fit, because to halve it doubles the load at most. So it comes to rest, whatever part of the load is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from smartxd.terms import Budget, Terms

ONE_IN_MAX = 1 << 24
STEPS_MAX = 4
"""Doublings at once: what a burst cost says little of what follows."""
CPU_COARSER_MAX = 1 << 10
"""For the CPU's sake no coarser than this many times: what is left then is the cost to look at packets."""
ROOM = 0.4
"""The part of a budget that may be used for the interval to be halved."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a policy has cost in a span of time."""

    elapsed_s: float
    cpu_s: float
    records: int

    def __str__(self) -> str:
        if self.elapsed_s <= 0:
            return "nothing"
        cpu_percent, records_per_s = 100 * self.cpu_s / self.elapsed_s, self.records / self.elapsed_s
        return f"{cpu_percent:.1f} % of a CPU and {records_per_s:.0f} records/s"

    def of(self, budget: Budget) -> tuple[float, float]:
        """The parts used of the budget's CPU and of its records: 1 is all of it."""
        cpu = records = 0.0
        if self.elapsed_s <= 0:
            return cpu, records
        if budget.cpu_percent is not None:
            cpu = 100 * self.cpu_s / self.elapsed_s / budget.cpu_percent
        if budget.records_per_s is not None:
            records = self.records / self.elapsed_s / budget.records_per_s
        return cpu, records


def next_one_in(terms: Terms, one_in: int, load: Load) -> int:
    """The sampling interval to go on with, after ``load`` under ``one_in``."""
    if terms.budget is None:
        return terms.one_in
    cpu, records = load.of(terms.budget)
    used = max(cpu, records)
    if used > 1:
        most = min(ONE_IN_MAX, ONE_IN_MAX if records > 1 else terms.one_in * CPU_COARSER_MAX)
        steps = min(STEPS_MAX, ceil(log2(used)))
        while steps and one_in << steps > most:
            steps -= 1
        return one_in << steps
    if used < ROOM:
        return max(terms.one_in, one_in // 2)
    return one_in
