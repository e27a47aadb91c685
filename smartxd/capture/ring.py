"""The ring of one policy, mapped into this process: what is in it is read where the kernel has written it.

A record is a header of eight bytes and what a program has written, padded to eight (the kernel's
documentation, bpf/ringbuf.rst). The data are mapped twice in a row, so that no record is torn at the end.
Positions count bytes since the ring was made, and never wrap; the consumer's is the reader's to move, and
survives it.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartxd import bpfsys

HEADER_BYTES = 8
_BUSY = 1 << 31
_PAGE = mmap.PAGESIZE

ALIKE, RUN_MAX = 16, 8192
"""After so many records of one length at most so many are looked for at once."""

Words = npt.NDArray[np.uint64]
Starts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Taken:
    """Records that were read, and the position behind them."""

    words: Words
    """The whole ring, twice, in words of eight bytes: changes once the position is moved."""
    starts: Starts
    """The word at which each record begins, behind its header."""
    end: int


class Ring:
    """One reader of a ring; a second one at a time would take its records away."""

    def __init__(self, pin_dir: Path) -> None:
        """Open and map the ring of a policy; FileNotFoundError when it is not pinned."""
        self.fd = bpfsys.open_pin(pin_dir / "packets")
        size = bpfsys.map_info(self.fd).max_entries
        self._mask = size - 1
        self._consumer = mmap.mmap(self.fd, _PAGE)
        self._producer = mmap.mmap(self.fd, _PAGE + 2 * size, prot=mmap.PROT_READ, offset=_PAGE)
        self._consumed = np.frombuffer(self._consumer, "u8", 1)
        self._produced = np.frombuffer(self._producer, "u8", 1)
        self._words = np.frombuffer(self._producer, "u8", offset=_PAGE)
        self._heads = memoryview(self._producer)[_PAGE : _PAGE + size].cast("I")

    def close(self) -> None:
        """Let go of it; it lives on where it is pinned."""
        self._heads.release()
        del self._consumed, self._produced, self._words
        self._consumer.close()
        self._producer.close()
        os.close(self.fd)

    @property
    def produced(self) -> int:
        """The position up to which there are records, or will be in a moment."""
        return int(self._produced[0])

    @property
    def position(self) -> int:
        """The position up to which records are done with; moving it makes room for others."""
        return int(self._consumed[0])

    @position.setter
    def position(self, value: int) -> None:
        self._consumed[0] = value

    def take(self, until: int, limit: int) -> Taken:
        """At most ``limit`` records between the position and ``until``, which stay where they are."""
        heads, mask, at = self._heads, self._mask, self.position
        parts: list[Starts] = []
        starts: list[int] = []
        last, alike = 0, 0
        while at < until and limit > 0:
            head = heads[(at & mask) >> 2]
            if head & _BUSY:
                break  # a program is writing it
            starts.append(at & mask)
            step = (head + HEADER_BYTES + 7) & ~7
            at += step
            limit -= 1
            alike = alike + 1 if head == last else 0
            last = head
            if alike == ALIKE:
                more = self._alike(at, head, step, min(limit, (until - at) // step))
                parts += [np.array(starts, "i8"), more]
                starts, alike = [], 0
                at += len(more) * step
                limit -= len(more)
        places = np.concatenate([*parts, np.array(starts, "i8")])
        return Taken(self._words, (places + HEADER_BYTES) >> 3, at)

    def _alike(self, at: int, head: int, step: int, count: int) -> Starts:
        """Where the records begin that follow with the same header, at most ``count``."""
        places = (at & self._mask) + step * np.arange(min(count, RUN_MAX))
        differ = np.flatnonzero((self._words[places >> 3] & 0xFFFFFFFF) != head)
        return places[: differ[0]] if len(differ) else places
