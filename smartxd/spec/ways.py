"""Where the packets of a box go: its main routing table, as far as the specs tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smartxd.spec.addresses import Network
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.route import NextHop
from smartxd.spec.places import Path
from smartxd.spec.prefixes import Prefixes

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
    way = next(links.holding(hop.address), None)
    return next(iter(way.out)) if way is not None else ""
