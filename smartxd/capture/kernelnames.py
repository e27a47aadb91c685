"""What the running kernel calls numbers in records of drops: reasons by BTF, places by /proc/kallsyms."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartxd.btf import NoType, Types

KALLSYMS = Path("/proc/kallsyms")
_PREFIX = "SKB_DROP_REASON_"
_SUBSYSTEM_SHIFT = 16
_CODE = frozenset("tTwW")


class KernelNames:
    """Looks up what it has not been asked before; a kernel that does not tell is no error."""

    def __init__(self, kallsyms: Path = KALLSYMS) -> None:
        """``kallsyms`` is the kernel's list of its symbols."""
        self._kallsyms = kallsyms
        self._reasons: dict[int, str] | None = None
        self._locations: dict[int, str] = {}

    def reasons(self, numbers: npt.NDArray[Any]) -> Mapping[int, str]:
        """Names of reasons by number, as the kernel prints them.

        A reason of a subsystem with numbers of its own (a module's) is ``subsystem N: M``.
        """
        asked = [int(number) for number in np.unique(numbers)]
        if asked and self._reasons is None:
            self._reasons = _reasons()
        known = self._reasons or {}
        return {number: known.get(number) or _unnamed(number) for number in asked}

    def locations(self, addresses: npt.NDArray[Any]) -> Mapping[int, str]:
        """Symbol and offset by address; the address, in hex, where the kernel hides its symbols."""
        asked = [int(address) for address in np.unique(addresses)]
        new = [address for address in asked if address not in self._locations]
        if new:
            self._locations |= _located(new, self._kallsyms)
        return {address: self._locations[address] for address in asked}


def _reasons() -> dict[int, str]:
    try:
        named = Types.of_kernel().enum("skb_drop_reason")
    except (OSError, ValueError, NoType):
        return {}
    return {number: name.removeprefix(_PREFIX) for name, number in named.items()}


def _unnamed(number: int) -> str:
    subsystem, reason = number >> _SUBSYSTEM_SHIFT, number & ((1 << _SUBSYSTEM_SHIFT) - 1)
    return f"subsystem {subsystem}: {reason}" if subsystem else f"reason {number}"


def _located(addresses: Iterable[int], kallsyms: Path) -> dict[int, str]:
    """Each address by the function that it is in, or in hex: names are no reason to lose what has them."""
    symbols: list[tuple[int, str]] = []
    with suppress(OSError, ValueError), kallsyms.open() as lines:
        for line in lines:
            word, kind, name = line.rstrip("\n").split(" ", 2)
            if kind in _CODE and (start := int(word, 16)):  # hidden if it is zero
                symbols.append((start, name.replace("\t", " ")))
    symbols.sort()  # the list is in no order
    return {address: _place(address, symbols) for address in addresses}


def _place(address: int, symbols: Sequence[tuple[int, str]]) -> str:
    behind = bisect_right(symbols, (address, chr(sys.maxunicode)))
    if not behind:
        return f"{address:#x}"
    start, name = symbols[behind - 1]
    return f"{name}+{address - start:#x}"
