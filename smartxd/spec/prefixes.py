"""Prefixes, to be asked who holds an address: a look-up for each length, not for each prefix."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Generic, TypeVar

from smartxd.spec.addresses import Address, Network

T = TypeVar("T")


class Prefixes(Generic[T]):
    """What stands at prefixes, each in the order in which it was given; iterated, the first of each."""

    def __init__(self, held: Iterable[tuple[Network, T]] = ()) -> None:
        self._held: dict[tuple[int, int, int], list[T]] = {}
        self._lengths: dict[int, set[int]] = {4: set(), 6: set()}
        self._sorted: list[tuple[int, int, int]] | None = None
        for prefix, what in held:
            self.add(prefix, what)

    def __iter__(self) -> Iterator[T]:
        return (held[0] for held in self._held.values())

    def add(self, prefix: Network, what: T) -> None:
        """Put something at a prefix, behind what stands there."""
        key = (prefix.version, int(prefix.network_address), prefix.prefixlen)
        self._held.setdefault(key, []).append(what)
        self._lengths[prefix.version].add(prefix.prefixlen)
        self._sorted = None

    def at(self, prefix: Network) -> T | None:
        """What stands at exactly this prefix, the first of several."""
        key = (prefix.version, int(prefix.network_address), prefix.prefixlen)
        return next(iter(self._held.get(key, ())), None)

    def holding(self, target: Network | Address) -> Iterator[T]:
        """What stands at prefixes that hold an address or a whole prefix, the most specific first."""
        width = target.max_prefixlen
        if isinstance(target, IPv4Network | IPv6Network):
            return self._above(target.version, int(target.network_address), target.prefixlen, width)
        return self._above(target.version, int(target), width, width)

    def hold(self, target: Network | Address) -> bool:
        """Whether one of them holds it."""
        return next(self.holding(target), None) is not None

    def overlapping(self, prefix: Network) -> Iterator[T]:
        """What stands at prefixes that hold this one, then what stands at those within it."""
        version, first, length = prefix.version, int(prefix.network_address), prefix.prefixlen
        yield from self._above(version, first, length, prefix.max_prefixlen)
        if self._sorted is None:
            self._sorted = sorted(self._held)
        start = bisect_left(self._sorted, (version, first, 0))
        end = bisect_right(self._sorted, (version, int(prefix.broadcast_address), prefix.max_prefixlen))
        for key in self._sorted[start:end]:
            if key[2] > length:
                yield from self._held[key]

    def _above(self, version: int, bits: int, longest: int, width: int) -> Iterator[T]:
        for n in sorted((n for n in self._lengths[version] if n <= longest), reverse=True):
            spare = width - n
            yield from self._held.get((version, bits >> spare << spare, n), ())
