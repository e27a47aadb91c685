"""On what terms a trace policy records: the plane writes them beside its maps, and capture keeps to them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

PIN = "terms"
"""The name under which they are pinned: an array of one record."""
_RECORD = struct.Struct("=IdQBBB64sHIHH")
RECORD_BYTES = _RECORD.size
_ADDRESSES = ("keep", "truncate", "pseudonym")
"""By number, as in the record."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the policy may cost on one box; None: unbounded."""

    cpu_percent: float | None = None
    """Of one CPU: the policy's programs and its drains."""
    records_per_s: int | None = None
    """Packets that are stored, and flows once in each drain in which they grow."""

    def __str__(self) -> str:
        parts = []
        if self.cpu_percent is not None:
            parts.append(f"{self.cpu_percent:g} % of a CPU")
        if self.records_per_s is not None:
            parts.append(f"{self.records_per_s} records/s")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Privacy:
    """What is recorded in place of IP addresses."""

    addresses: Literal["truncate", "pseudonym"]
    ipv4_prefix: int = 24
    ipv6_prefix: int = 48
    """Lengths in bits of what ``truncate`` leaves."""
    key: str = ""
    """The name of the secret with which pseudonyms are made."""

    def __str__(self) -> str:
        if self.addresses == "truncate":
            return f"addresses cut to /{self.ipv4_prefix} and /{self.ipv6_prefix}"
        return f"pseudonyms by key {self.key}"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a box keeps what the policy has captured; None: no such bound."""

    hours: int | None = None
    """The greatest age."""
    megabytes: int | None = None
    """The greatest size on disk, in 10^6 bytes."""

    def __str__(self) -> str:
        parts = []
        if self.hours is not None:
            parts.append(f"{self.hours} h")
        if self.megabytes is not None:
            parts.append(f"{self.megabytes} MB")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Terms:
    """A sampling interval, a budget for which it may be made coarser, what is hidden, what is kept, and when
    flows end.
    """

    one_in: int = 1
    budget: Budget | None = None
    privacy: Privacy | None = None
    retention: Retention | None = None
    active_timeout_s: int = 60
    idle_timeout_s: int = 15

    def packed(self) -> bytes:
        """The record in the map."""
        budget, kept, hidden = self.budget or Budget(), self.retention or Retention(), self.privacy
        addresses: tuple[int, int, int, bytes] = (0, 0, 0, b"")
        if hidden is not None:
            how = _ADDRESSES.index(hidden.addresses)
            addresses = (how, hidden.ipv4_prefix, hidden.ipv6_prefix, hidden.key.encode())
        return _RECORD.pack(
            *(self.one_in, budget.cpu_percent or 0, budget.records_per_s or 0),
            *addresses,
            *(kept.hours or 0, kept.megabytes or 0),
            *(self.active_timeout_s, self.idle_timeout_s),
        )

    @classmethod
    def unpacked(cls, record: bytes) -> Terms:
        """What ``packed`` made; of a map that nothing was written to, the least."""
        one_in, cpu_percent, records_per_s, *addresses, hours, megabytes, active_s, idle_s = _RECORD.unpack(
            record
        )
        how, ipv4_prefix, ipv6_prefix, key = addresses
        budget, privacy = Budget(cpu_percent or None, records_per_s or None), None
        retention = Retention(hours or None, megabytes or None)
        if how == _ADDRESSES.index("truncate"):
            privacy = Privacy("truncate", ipv4_prefix, ipv6_prefix)
        elif how == _ADDRESSES.index("pseudonym"):
            privacy = Privacy("pseudonym", ipv4_prefix, ipv6_prefix, key.rstrip(b"\0").decode())
        default = cls()
        return cls(
            *(one_in or default.one_in, budget if budget != Budget() else None, privacy),
            retention if retention != Retention() else None,
            active_s or default.active_timeout_s,
            idle_s or default.idle_timeout_s,
        )
