"""Static routes lead somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smartxd.objects import ObjectRef
from smartxd.spec.addresses import Network
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Location, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.route import NextHop, RouteSpec
from smartxd.spec.places import Path
from smartxd.spec.prefixes import Prefixes

NEXT_HOP_SELF = Rule(
    "SX711",
    "next-hop-self",
    "The next hop of a Route is not the box itself.",
    "The kernel refuses a gateway that is its own address. A Route for several boxes needs a next hop"
    " that is none of them; give each box its own Route otherwise.",
)
NEXT_HOP_OFF_LINK = Rule(
    "SX712",
    "next-hop-off-link",
    "The next hop of a Route is in a subnet of the link that it is reached by.",
    "The kernel refuses a gateway that no connected subnet holds. Where the Route names the link, its"
    " subnets are known here.",
)
NEXT_HOP_UNKNOWN = Rule(
    "SX713",
    "next-hop-unknown",
    "The next hop of a Route is in a subnet that the specs give the box.",
    "The box may have links of which its specs do not tell; if the next hop is on one of them name it by"
    " `interface`, and the rule is content.",
    severity=Severity.WARNING,
)
OWN_SUBNET = Rule(
    "SX714",
    "route-to-own-subnet",
    "A Route does not lead to a subnet that the box is on.",
    "The kernel has a route to each subnet of its links already. A second one to the same prefix takes"
    " its packets to a router, or drops them, as soon as its metric is lower.",
)


def routes_lead_somewhere(fleet: Fleet) -> Iterator[Finding]:
    """Each next hop of a Route can be reached from each of its boxes."""
    said: set[tuple[ObjectRef, Path]] = set()
    for box in fleet.boxes:
        routes = fleet.on("Route", box)
        connected = _Connected(fleet, box) if routes else None
        for route in routes:
            for path, finding in _of_box(connected, route) if connected is not None else ():
                if (route.ref, path) not in said:
                    said.add((route.ref, path))
                    yield finding


class _Connected:
    """The subnets that a box is on."""

    def __init__(self, fleet: Fleet, box: str) -> None:
        self.fleet, self.box = fleet, box
        links = [link for link in fleet.links_of(box) if link.segment != "loopback"]
        self.subnets = Prefixes(_networks(links))
        by_interface: dict[tuple[str, int], list[Link]] = {}
        for link in links:
            by_interface.setdefault((link.interface, link.address.version), []).append(link)
        self.of_interface = {
            key: (found[0], Prefixes(_networks(found))) for key, found in by_interface.items()
        }


def _networks(links: list[Link]) -> Iterator[tuple[Network, Link]]:
    return ((link.address.network, link) for link in links)


def _of_box(connected: _Connected, route: Object[RouteSpec]) -> Iterator[tuple[Path, Finding]]:
    link = connected.subnets.at(route.spec.destination)
    if link is not None:
        at = link.by.at(*link.path)
        message = f"{connected.box} is on {link.address.network} itself: {link.by.ref} ({at})"
        path: Path = ("destination",)
        yield path, route.finding(OWN_SUBNET, path, message, other=at)
    for i, hop in enumerate(route.spec.via):
        path = ("via", i, "address")
        wrong = _wrong(connected, hop)
        if wrong is not None:
            rule, message, other = wrong
            yield path, route.finding(rule, path, message, other=other)


def _wrong(connected: _Connected, hop: NextHop) -> tuple[Rule, str, Location | None] | None:
    """What is wrong with a next hop, as seen from a box."""
    if hop.address is None:
        return None
    box, own = connected.box, connected.fleet.link_at(connected.box, hop.address)
    if own is not None:
        at = own.by.at(*own.path)
        return NEXT_HOP_SELF, f"{hop.address} is {box} itself: {own.by.ref} ({at})", at
    if hop.interface is not None:
        near, subnets = connected.of_interface.get((hop.interface, hop.address.version), (None, None))
        if near is not None and subnets is not None and not subnets.hold(hop.address):
            at = near.by.at(*near.path)
            where = f"{near.address.network}, which {hop.interface} of {box} is on"
            return NEXT_HOP_OFF_LINK, f"{hop.address} is not in {where} ({at})", at
    elif not connected.subnets.hold(hop.address):
        message = f"{hop.address} is in no subnet that the specs give {box}; name its interface"
        return NEXT_HOP_UNKNOWN, message, None
    return None


RULES: tuple[Rule, ...] = (NEXT_HOP_SELF, NEXT_HOP_OFF_LINK, NEXT_HOP_UNKNOWN, OWN_SUBNET)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (routes_lead_somewhere,)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
