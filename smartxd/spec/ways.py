"""Where the packets of a box go: its main routing table, as far as the specs tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from smartxd.spec.addresses import Address, Network
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.route import NextHop
from smartxd.spec.places import Path

MAIN_TABLE = 254


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


class Ways:
    """The main table of a box, as far as the specs tell; of two routes to one prefix the one that wins."""

    def __init__(self, fleet: Fleet, box: str) -> None:
        self._ways: dict[Network, Way] = {}
        links = [link for link in fleet.links_of(box) if link.segment != "loopback"]
        for link in links:
            network, out = link.address.network, frozenset({link.interface})
            self._ways.setdefault(network, Way(network, link.by, link.path, out, link.overlay))
        self._lengths = self._by_version()
        switches = {
            name
            for kind in ("Tunnel", "Bridge")
            for obj in fleet.on(kind, box)
            for name in fleet.made_by(obj)
        }
        routes = [route for route in fleet.on("Route", box) if route.spec.table == MAIN_TABLE]
        static = []
        for route in sorted(routes, key=lambda route: route.spec.metric):
            out = frozenset(map(self._leaves_by, route.spec.via))
            to = route.spec.destination
            static.append(Way(to, route, ("destination",), out, not out.isdisjoint(switches)))
        for way in static:
            self._ways.setdefault(way.to, way)
        self._lengths = self._by_version()

    def __iter__(self) -> Iterator[Way]:
        return iter(self._ways.values())

    def _by_version(self) -> dict[int, list[int]]:
        lengths: dict[int, set[int]] = {4: set(), 6: set()}
        for network in self._ways:
            lengths[network.version].add(network.prefixlen)
        return {version: sorted(found, reverse=True) for version, found in lengths.items()}

    def to(self, target: Network | Address) -> Way | None:
        """The most specific way that holds a whole prefix or an address; None where the specs tell none."""
        prefix = ip_network(target)
        for length in self._lengths[prefix.version]:
            if length <= prefix.prefixlen:
                way = self._ways.get(prefix.supernet(new_prefix=length))
                if way is not None:
                    return way
        return None

    def _leaves_by(self, hop: NextHop) -> str:
        if hop.interface is not None or hop.address is None:
            return hop.interface or ""
        way = self.to(hop.address)
        return next(iter(way.out)) if way is not None else ""
