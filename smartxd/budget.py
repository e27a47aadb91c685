"""What a trace policy may cost: the plane writes it beside the policy's maps, and capture keeps to it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

PIN = "budget"
"""The name under which it is pinned: an array of one record."""
_RECORD = struct.Struct("=IdQ")
RECORD_BYTES = _RECORD.size


@dataclass(frozen=True, slots=True)
class Budget:
    """Of one policy on one box; None: unbounded."""

    cpu_percent: float | None = None
    """Of one CPU: the policy's programs and its drains."""
    records_per_s: int | None = None
    """Rows that are stored."""

    def __str__(self) -> str:
        parts = []
        if self.cpu_percent is not None:
            parts.append(f"{self.cpu_percent:g} % of a CPU")
        if self.records_per_s is not None:
            parts.append(f"{self.records_per_s} records/s")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy asks for: a sampling interval, and a budget for which it may be made coarser."""

    one_in: int = 1
    budget: Budget | None = None

    def packed(self) -> bytes:
        """The record in the map."""
        budget = self.budget or Budget()
        return _RECORD.pack(self.one_in, budget.cpu_percent or 0, budget.records_per_s or 0)

    @classmethod
    def unpacked(cls, record: bytes) -> Terms:
        """What ``packed`` made; of a map that nothing was written to, the least."""
        one_in, cpu_percent, records_per_s = _RECORD.unpack(record)
        budget = Budget(cpu_percent or None, records_per_s or None)
        return cls(one_in or 1, budget if budget != Budget() else None)
