"""The way to a box stays: nothing takes or diverts its management and underlay links."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from smartxd.objects import ObjectRef
from smartxd.spec.addresses import Network
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.route import NextHop
from smartxd.spec.places import Path
from smartxd.spec.prefixes import Prefixes
from smartxd.spec.rules.switches import matched

MANAGEMENT_TAKEN = Rule(
    "SX701",
    "management-taken",
    "No Port matches a management interface.",
    "An interface that becomes a port of a bridge loses its addresses' use at once, and with them goes"
    " the way to the box. Make the pattern narrower.",
)
MANAGEMENT_DIVERTED = Rule(
    "SX702",
    "management-diverted",
    "No route or address of the specs leads the way to a box elsewhere.",
    "Answers to operators and to the repo would leave by another link, and the box is out of reach. A"
    " Route that covers a network of `management.networks` goes out by a management interface, or not at"
    " all; no segment uses its addresses.",
)
UNDERLAY_TAKEN = Rule(
    "SX703",
    "underlay-taken",
    "No Port matches an underlay interface.",
    "The underlay carries every tunnel and session; as a port of a bridge it carries none. Make the pattern"
    " narrower.",
)
UNDERLAY_DIVERTED = Rule(
    "SX704",
    "underlay-diverted",
    "No route sends the packets of tunnels into a tunnel.",
    "The outer packets to another VTEP would take the route into the overlay, be wrapped once more, and"
    " so on: the segment is dead. Make the prefix of the Route narrower, or its next hop one of the"
    " underlay.",
)
MANAGEMENT_WITHDRAWN = Rule(
    "SX705",
    "management-withdrawn",
    "A change leaves the declared way to each box declared.",
    "Once a management interface or network is no longer declared, nothing keeps other objects from"
    " taking or diverting it, and a Box that is removed has a daemon that no longer follows the repo."
    " `validate --diff` says this of a change; no single state of a repo shows it.",
    severity=Severity.WARNING,
)


def ports_leave_the_way_in(fleet: Fleet) -> Iterator[Finding]:
    """No pattern of a Port matches a management or underlay interface of one of its boxes."""
    for port, i, (name, rule, box, path) in matched(fleet, lambda box: _ways_in(fleet.boxes[box])):
        at = box.at(*path)
        what = "a management" if rule is MANAGEMENT_TAKEN else "the underlay"
        message = f"{port.spec.interfaces[i]} matches {name}, {what} interface of {box.ref} ({at})"
        yield port.finding(rule, ("interfaces", i), message, other=at)


def _ways_in(box: Object[BoxSpec]) -> Iterator[tuple[str, Rule, Object[BoxSpec], Path]]:
    management = box.spec.management
    for i, interface in enumerate(management.interfaces if management is not None else ()):
        yield interface, MANAGEMENT_TAKEN, box, ("management", "interfaces", i)
    yield box.spec.underlay.interface, UNDERLAY_TAKEN, box, ("underlay", "interface")


def nothing_diverts_management(fleet: Fleet) -> Iterator[Finding]:
    """No Route and no segment of a box has a network from which it is managed."""
    said: set[tuple[ObjectRef, Path]] = set()
    for name, box in fleet.boxes.items():
        management = box.spec.management
        if management is None:
            continue
        connected = Prefixes((link.address.network, link) for link in fleet.links_of(name))
        segments = Prefixes((k.address.network, k) for k in fleet.links_of(name) if k.of_overlay)
        routes = Prefixes((r.spec.destination, r) for r in fleet.on("Route", name) if r.spec.table == 254)
        for i, network in enumerate(management.networks):
            at = box.at("management", "networks", i)
            where = f"{network}, from where {box.ref} is managed ({at})"
            for link in segments.overlapping(network):
                # An anycast gateway is on each box; it is said of the first.
                if (link.by.ref, link.path) not in said:
                    said.add((link.by.ref, link.path))
                    message = f"{link.address.network} overlaps {where}"
                    yield link.by.finding(MANAGEMENT_DIVERTED, link.path, message, other=at)
            for route in routes.overlapping(network):
                kept = route.spec.via and all(
                    _leaves_by(connected, hop) in management.interfaces for hop in route.spec.via
                )
                # Another table is looked up by rules of which the specs know nothing.
                if not kept and (route.ref, ()) not in said:
                    said.add((route.ref, ()))
                    message = f"{route.spec.destination} covers or is part of {where}"
                    yield route.finding(MANAGEMENT_DIVERTED, ("destination",), message, other=at)


def _leaves_by(connected: Prefixes[Link], hop: NextHop) -> str:
    """The interface by which a next hop is reached; empty where the specs do not tell."""
    if hop.interface is not None or hop.address is None:
        return hop.interface or ""
    return next((link.interface for link in connected.holding(hop.address)), "")


def nothing_diverts_the_underlay(fleet: Fleet) -> Iterator[Finding]:
    """No Route into an overlay covers the VTEP address of another box."""
    vteps = sorted(
        (k for name in fleet.boxes for k in fleet.links_of(name) if k.segment == "underlay"), key=_by_address
    )
    said: set[ObjectRef] = set()
    for box in fleet.boxes:
        routes = [r for r in fleet.on("Route", box) if r.spec.table == 254 and r.ref not in said]
        overlays = _Overlays(fleet, box) if routes else None
        for route in routes:
            if overlays is None or not any(map(overlays.take, route.spec.via)):
                continue
            found = _diverted(fleet, box, route.spec.destination, vteps)
            if found is not None:
                said.add(route.ref)
                at = found.by.at(*found.path)
                vtep = f"{found.address.ip}, the VTEP of {found.by.ref} ({at}),"
                message = f"{route.spec.destination} sends packets for {vtep} into an overlay"
                yield route.finding(UNDERLAY_DIVERTED, ("destination",), message, other=at)


def _by_address(link: Link) -> tuple[int, int]:
    return int(link.address.version), int(link.address)


def _diverted(fleet: Fleet, box: str, destination: Network, vteps: Sequence[Link]) -> Link | None:
    """The first VTEP of another box for which the route is taken: no connected subnet is more specific."""
    underlay = fleet.boxes[box].spec.underlay
    own = [given.network for given in (underlay.address, underlay.address6) if given is not None]
    kept = [subnet for subnet in own if subnet.prefixlen >= destination.prefixlen]
    version = int(destination.version)
    i = bisect_left(vteps, (version, int(destination[0])), key=_by_address)
    while i < len(vteps) and _by_address(vteps[i]) <= (version, int(destination[-1])):
        within = next((subnet for subnet in kept if vteps[i].address in subnet), None)
        if within is not None:
            i = bisect_right(vteps, (version, int(within[-1])), key=_by_address)
        elif vteps[i].box == box:
            i += 1
        else:
            return vteps[i]
    return None


class _Overlays:
    """The overlays of a box: whether they take what goes to a next hop."""

    def __init__(self, fleet: Fleet, box: str) -> None:
        links = [link for link in fleet.links_of(box) if link.of_overlay]
        self._subnets = Prefixes((link.address.network, link) for link in links)
        self._names = {link.interface for link in links} | {t.spec.link_name for t in fleet.on("Tunnel", box)}

    def take(self, hop: NextHop) -> bool:
        if hop.interface is not None:
            return hop.interface in self._names
        return hop.address is not None and self._subnets.hold(hop.address)


def withdrawn(before: Fleet, after: Fleet) -> Iterator[Finding]:
    """What a change takes of the declared ways to boxes; findings are at the Box after it, or before it."""
    for name, old in before.boxes.items():
        new = after.boxes.get(name)
        if new is None:
            message = "the Box is removed; its daemon keeps the last commit that had it"
            yield old.finding(MANAGEMENT_WITHDRAWN, (), message)
            continue
        if old.spec.management is None:
            continue
        at = old.at("management")
        if new.spec.management is None:
            message = f"management is no longer declared (was at {at}); nothing keeps it from being taken"
            yield new.finding(MANAGEMENT_WITHDRAWN, (), message, other=at)
            continue
        gone = [
            *sorted(set(old.spec.management.interfaces) - set(new.spec.management.interfaces)),
            *map(str, set(old.spec.management.networks) - set(new.spec.management.networks)),
        ]
        if gone:
            message = f"{', '.join(sorted(gone))} is no longer part of the way to the box (was at {at})"
            yield new.finding(MANAGEMENT_WITHDRAWN, ("management",), message, other=at)


RULES: tuple[Rule, ...] = (
    MANAGEMENT_TAKEN,
    MANAGEMENT_DIVERTED,
    UNDERLAY_TAKEN,
    UNDERLAY_DIVERTED,
    MANAGEMENT_WITHDRAWN,
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    ports_leave_the_way_in,
    nothing_diverts_management,
    nothing_diverts_the_underlay,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
