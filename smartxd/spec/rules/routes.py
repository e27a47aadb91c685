"""Static routes lead somewhere, and are announced where BGP is to announce them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from smartxd.spec.addresses import Address
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.route import NextHop, RouteSpec
from smartxd.spec.places import Path
from smartxd.spec.prefixes import Prefixes
from smartxd.spec.statics import statics
from smartxd.spec.ways import MAIN_TABLE

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
    " its packets to a router, or drops them, as soon as its metric is lower. One that waits for the link to"
    " go has a `metric` above the kernel's own, which is 0 for IPv4 and 256 for IPv6.",
)
NOT_ANNOUNCED = Rule(
    "SX715",
    "route-not-announced",
    "A BGPRouter that redistributes `static` can announce each Route of its box.",
    "FRR redistributes its own static routes: of the main table those that it can hold, without `metric` and"
    " `weight`, and alone in leading to their prefix. The others stay in the kernel and are not announced."
    " Let the BGPRouter redistribute `kernel` too, or take from the Route what FRR cannot hold.",
    severity=Severity.WARNING,
)
_CONNECTED_METRIC = {4: 0, 6: 256}


class _Links:
    """The links of a box by what is asked of them."""

    def __init__(self, links: Iterable[Link]) -> None:
        self.own: dict[Address, Link] = {}
        self.subnets: Prefixes[Link] = Prefixes()
        self.of: dict[tuple[str, int], list[Link]] = {}
        """By interface and family."""
        for link in links:
            self.own.setdefault(link.address.ip, link)
            if link.segment != "loopback":
                self.subnets.add(link.address.network, link)
                self.of.setdefault((link.interface, link.address.version), []).append(link)


def routes_lead_somewhere(fleet: Fleet) -> Iterator[Finding]:
    """Each next hop of a Route can be reached from each of its boxes."""
    links = {box: _Links(fleet.links_of(box)) for box in fleet.boxes if fleet.on("Route", box)}
    for route in fleet.routes.values():
        said: set[Path] = set()
        for box in fleet.members(route):
            for finding_path, finding in _of_box(route, box, links[box]):
                if finding_path not in said:
                    said.add(finding_path)
                    yield finding


def _of_box(route: Object[RouteSpec], box: str, links: _Links) -> Iterator[tuple[Path, Finding]]:
    spec = route.spec
    link = links.subnets.at(spec.destination)
    wins = spec.table == MAIN_TABLE and spec.metric <= _CONNECTED_METRIC[spec.destination.version]
    if link is not None and wins:
        at = link.by.at(*link.path)
        message = f"{box} is on {link.address.network} itself: {link.by.ref} ({at})"
        path: Path = ("destination",)
        yield path, route.finding(OWN_SUBNET, path, message, other=at)
    for i, hop in enumerate(spec.via):
        path = ("via", i, "address")
        wrong = _wrong(links, hop)
        if wrong is not None:
            rule, message, at = wrong
            yield path, route.finding(rule, path, message.format(box=box), other=at)


def _wrong(links: _Links, hop: NextHop) -> tuple[Rule, str, Any] | None:
    """What is wrong with a next hop, as seen from a box with these links."""
    if hop.address is None or (hop.address.version == 6 and hop.address.is_link_local):
        return None
    own = links.own.get(hop.address)
    if own is not None:
        at = own.by.at(*own.path)
        return NEXT_HOP_SELF, f"{hop.address} is {{box}} itself: {own.by.ref} ({at})", at
    if hop.interface is not None:
        near = links.of.get((hop.interface, hop.address.version), ())
        if near and not any(hop.address in link.address.network for link in near):
            at = near[0].by.at(*near[0].path)
            message = (
                f"{hop.address} is not in {near[0].address.network}, which {hop.interface} of {{box}} is on"
            )
            return NEXT_HOP_OFF_LINK, f"{message} ({at})", at
    elif not links.subnets.hold(hop.address):
        return (
            NEXT_HOP_UNKNOWN,
            f"{hop.address} is in no subnet that the specs give {{box}}; name its interface",
            None,
        )
    return None


def static_routes_are_announced(fleet: Fleet) -> Iterator[Finding]:
    """Each Route of a box whose speaker announces static routes is one that FRR can hold."""
    for router in fleet.routers.values():
        redistributed = [entry.source for entry in router.spec.redistribute]
        if "static" not in redistributed or "kernel" in redistributed:
            continue
        at = router.at("redistribute", redistributed.index("static"), "source")
        for static in statics(fleet, router.spec.box):
            if static.hindrance is not None:
                path, why = static.hindrance
                message = (
                    f"{router.ref} does not announce it as static ({at}): {why}; redistribute kernel too"
                )
                yield static.route.finding(NOT_ANNOUNCED, path, message, other=at)


RULES: tuple[Rule, ...] = (
    *(NEXT_HOP_SELF, NEXT_HOP_OFF_LINK, NEXT_HOP_UNKNOWN, OWN_SUBNET),
    NOT_ANNOUNCED,
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    routes_lead_somewhere,
    static_routes_are_announced,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
