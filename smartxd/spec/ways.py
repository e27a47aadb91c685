"""Where the packets of a box go: its main routing table, as far as the specs tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Generic, TypeVar

from smartxd.spec.addresses import Address, Network
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.route import NextHop
from smartxd.spec.places import Path

MAIN_TABLE = 254
_V = TypeVar("_V")


class Prefixes(Generic[_V]):
    """Values by prefix; what holds an address is a look-up for each length, the longest first."""

    def __init__(self) -> None:
        self._values: dict[Network, _V] = {}
        self._lengths: dict[int, set[int]] = {4: set(), 6: set()}

    def add(self, prefix: Network, value: _V) -> None:
        """Set the value of a prefix that has none."""
        self._values.setdefault(prefix, value)
        self._lengths[prefix.version].add(prefix.prefixlen)

    def at(self, prefix: Network) -> _V | None:
        """The value of a prefix itself."""
        return self._values.get(prefix)

    def holding(self, target: Network | Address) -> _V | None:
        """The value of the longest prefix that holds the whole of another one, or an address."""
        prefix = ip_network(target)
        for length in sorted(self._lengths[prefix.version], reverse=True):
            if length <= prefix.prefixlen:
                value = self._values.get(prefix.supernet(new_prefix=length))
                if value is not None:
                    return value
        return None

    def __iter__(self) -> Iterator[_V]:
        return iter(self._values.values())


@dataclass(frozen=True, slots=True)
class Way:
    """A route of a box: to the subnet of a link, or a Route."""

    to: Network
    by: Object[Any]
    path: Path
    out: frozenset[str]
    """The interfaces that packets leave by, empty where they are dropped; one that is not told is ``""``."""
    overlay: bool
    """Whether some of the packets enter a tunnel or a virtual switch."""


def ways(fleet: Fleet, box: str) -> Prefixes[Way]:
    """The ways of a box, as far as the specs tell; of two to one prefix the one that wins."""
    found: Prefixes[Way] = Prefixes()
    for link in fleet.links_of(box):
        if link.segment != "loopback":
            network, out = link.address.network, frozenset({link.interface})
            found.add(network, Way(network, link.by, link.path, out, link.overlay))
    switches = fleet.made_on(box).keys()
    static = []
    routes = (route for route in fleet.on("Route", box) if route.spec.table == MAIN_TABLE)
    for route in sorted(routes, key=lambda route: route.spec.metric):
        out = frozenset(_leaves_by(found, hop) for hop in route.spec.via)
        overlay = not out.isdisjoint(switches)
        static.append(Way(route.spec.destination, route, ("destination",), out, overlay))
    for way in static:  # a next hop is on a link, not behind another router
        found.add(way.to, way)
    return found


def _leaves_by(links: Prefixes[Way], hop: NextHop) -> str:
    if hop.interface is not None or hop.address is None:
        return hop.interface or ""
    way = links.holding(hop.address)
    return next(iter(way.out)) if way is not None else ""
