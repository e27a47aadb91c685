"""Packets as the blocks of a pcapng file (draft-ietf-opsawg-pcapng), for Wireshark and its like.

An interface is described when its first packet comes. What the ring could not take stands at the next packet
of the same policy, interface and direction, as a count (epb_dropcount) and as a comment; behind the last
packet, in the interface's statistics.
"""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from smartxd import __version__

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1
_END, _COMMENT = 0, 1
_USER_APPLICATION = 4
_NAME, _RESOLUTION = 2, 9
_FLAGS, _DROPPED = 2, 4
_STATISTICS_DROPPED = 5
_NANOSECONDS = b"\x09"
_WAYS = {"ingress": 1, "egress": 2}
_COLUMNS = ("policy", "interface", "direction", "time_ns", "length", "data")

Place = tuple[str, str, str]
"""Policy, interface and direction."""
Option = tuple[int, bytes]


@dataclass(slots=True)
class Blocks:
    """Writes the blocks of one section, little-endian."""

    box: str
    losses: Iterable[dict[str, Any]]
    """Rows of ``records.LOSS``, in the order of time: what is lost up to ``at_ns`` of each."""
    _lost: dict[Place, deque[tuple[int, int]]] = field(default_factory=lambda: defaultdict(deque))
    _numbers: dict[str, int] = field(default_factory=dict)
    _last_ns: int = 0

    def __post_init__(self) -> None:
        """Sort the losses by place."""
        for row in self.losses:
            self._lost[row["policy"], row["interface"], row["direction"]].append(
                (row["at_ns"], row["packets"])
            )

    def begin(self) -> bytes:
        """The section's header, which names the box."""
        options = [
            (_COMMENT, f"box {self.box}".encode()),
            (_USER_APPLICATION, f"smartxd {__version__}".encode()),
        ]
        return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1), options)

    def packets(self, table: pa.Table) -> Iterator[bytes]:
        """A block for each row of ``records.PACKET``, behind those of interfaces that are new."""
        columns = [table[name].to_pylist() for name in _COLUMNS]
        for policy, interface, direction, time_ns, length, data in zip(*columns, strict=True):
            if interface not in self._numbers:
                yield self._describe(interface)
            options = [(_FLAGS, struct.pack("<I", _WAYS[direction]))]
            if lost := self._lost_before((policy, interface, direction), time_ns):
                options += [(_DROPPED, struct.pack("<Q", lost)), _comment(lost, policy, direction)]
            self._last_ns = max(self._last_ns, time_ns)
            head = struct.pack("<5I", self._numbers[interface], *_halves(time_ns), len(data), length)
            yield _block(_PACKET, head + _padded(data), options)

    def end(self) -> Iterator[bytes]:
        """The statistics of interfaces that have lost packets after the last one that is there."""
        left = defaultdict(list)
        for (policy, interface, direction), losses in self._lost.items():
            if losses:
                left[interface].append((sum(n for _, n in losses), policy, direction))
        for interface, found in left.items():
            if interface not in self._numbers:
                yield self._describe(interface)
            dropped = sum(lost for lost, _, _ in found)
            options = [(_STATISTICS_DROPPED, struct.pack("<Q", dropped)), *(_comment(*one) for one in found)]
            head = struct.pack("<3I", self._numbers[interface], *_halves(self._last_ns))
            yield _block(_STATISTICS, head, options)

    def _describe(self, interface: str) -> bytes:
        self._numbers[interface] = len(self._numbers)
        options = [(_NAME, interface.encode()), (_RESOLUTION, _NANOSECONDS)]
        return _block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, 0), options)

    def _lost_before(self, place: Place, time_ns: int) -> int:
        losses, lost = self._lost.get(place), 0
        while losses and losses[0][0] <= time_ns:
            lost += losses.popleft()[1]
        return lost


def _comment(lost: int, policy: str, direction: str) -> Option:
    text = f"ring-full: policy {policy} did not record {lost} packets ({direction}) before this"
    return _COMMENT, text.encode()


def _halves(time_ns: int) -> tuple[int, int]:
    return time_ns >> 32, time_ns & 0xFFFFFFFF


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes, options: Iterable[Option]) -> bytes:
    words = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    body += words + struct.pack("<HH", _END, 0)
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)
