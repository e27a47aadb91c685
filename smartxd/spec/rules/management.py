"""The way to a box stays: nothing takes or diverts its management and underlay links."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network
from typing import Any

from smartxd.spec.addresses import Network
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Location, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.route import NextHop
from smartxd.spec.names import both_match
from smartxd.spec.places import Path

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
    for port in fleet.ports.values():
        for i, pattern in enumerate(port.spec.interfaces):
            for rule, name, box, path in _ways_in(fleet, port):
                if both_match(pattern, name):
                    at = box.at(*path)
                    what = "a management" if rule is MANAGEMENT_TAKEN else "the underlay"
                    message = f"{pattern} matches {name}, {what} interface of {box.ref} ({at})"
                    yield port.finding(rule, ("interfaces", i), message, other=at)
                    break


def _ways_in(fleet: Fleet, obj: Object[Any]) -> Iterator[tuple[Rule, str, Object[BoxSpec], Path]]:
    for name in fleet.members(obj):
        box = fleet.boxes[name]
        management = box.spec.management
        for i, interface in enumerate(management.interfaces if management is not None else ()):
            yield MANAGEMENT_TAKEN, interface, box, ("management", "interfaces", i)
        yield UNDERLAY_TAKEN, box.spec.underlay.interface, box, ("underlay", "interface")


def nothing_diverts_management(fleet: Fleet) -> Iterator[Finding]:
    """No Route and no segment of a box has a network from which it is managed."""
    for name, box in fleet.boxes.items():
        management = box.spec.management
        if management is None:
            continue
        interfaces = management.interfaces
        for i, network in enumerate(management.networks):
            at = box.at("management", "networks", i)
            where = f"{network}, from where {box.ref} is managed ({at})"
            for link in fleet.links_of(name):
                if link.segment not in ("underlay", "loopback") and _overlap(link.address.network, network):
                    message = f"{link.address.network} overlaps {where}"
                    yield link.by.finding(MANAGEMENT_DIVERTED, link.path, message, other=at)
            for route in fleet.on("Route", name):
                spec = route.spec
                kept = spec.via and all(_leaves_by(fleet, name, hop) in interfaces for hop in spec.via)
                # Another table is looked up by rules of which the specs know nothing.
                if not kept and spec.table == 254 and _overlap(spec.destination, network):
                    message = f"{spec.destination} covers or is part of {where}"
                    yield route.finding(MANAGEMENT_DIVERTED, ("destination",), message, other=at)


def _leaves_by(fleet: Fleet, box: str, hop: NextHop) -> str:
    """The interface of a box by which a next hop is reached; empty where the specs do not tell."""
    if hop.interface is not None or hop.address is None:
        return hop.interface or ""
    links = (link for link in fleet.links_of(box) if link.address.version == hop.address.version)
    return next((link.interface for link in links if hop.address in link.address.network), "")


def nothing_diverts_the_underlay(fleet: Fleet) -> Iterator[Finding]:
    """No Route into an overlay covers the VTEP address of another box."""
    vteps = sorted(
        (link for name in fleet.boxes for link in fleet.links_of(name) if link.segment == "underlay"),
        key=_by_address,
    )
    for route in fleet.routes.values():
        if route.spec.table != 254:
            continue
        for box in fleet.members(route):
            if any(_into_overlay(fleet, box, hop) for hop in route.spec.via):
                found = next(_diverted(fleet, box, route.spec.destination, vteps), None)
                if found is not None:
                    at = found.by.at(*found.path)
                    vtep = f"{found.address.ip}, the VTEP of {found.by.ref} ({at}),"
                    message = f"{route.spec.destination} sends packets for {vtep} into an overlay"
                    yield route.finding(UNDERLAY_DIVERTED, ("destination",), message, other=at)
                    break


def _by_address(link: Link) -> tuple[int, int]:
    return int(link.address.version), int(link.address.ip)


def _diverted(fleet: Fleet, box: str, destination: Network, vteps: Sequence[Link]) -> Iterator[Link]:
    """The VTEPs of other boxes for which the route is taken: no connected subnet is more specific."""
    own = [link.address.network for link in fleet.links_of(box) if link.segment == "underlay"]
    kept = [subnet for subnet in own if subnet.prefixlen >= destination.prefixlen]
    version = int(destination.version)
    first = bisect_left(vteps, (version, int(destination[0])), key=_by_address)
    last = bisect_right(vteps, (version, int(destination[-1])), key=_by_address)
    for vtep in vteps[first:last]:
        if vtep.box != box and not any(_overlap(subnet, ip_network(vtep.address.ip)) for subnet in kept):
            yield vtep


def _into_overlay(fleet: Fleet, box: str, hop: NextHop) -> bool:
    overlays = [link for link in fleet.links_of(box) if link.segment not in ("underlay", "loopback")]
    if hop.interface is not None:
        names = {link.interface for link in overlays}
        return hop.interface in names | {t.spec.link_name for t in fleet.on("Tunnel", box)}
    return any(
        hop.address.version == link.address.version and hop.address in link.address.network
        for link in overlays
        if hop.address is not None
    )


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def withdrawn(before: Fleet, after: Fleet, *, whole: bool) -> Iterator[Finding]:
    """What a change takes of the declared ways to boxes; each finding is at a place that is there after it.

    ``whole``: every document was read after the change, so that a Box which is not there is removed.
    """
    # A place before the change is no ``other``: what annotates files would look for it in those after it.
    files = sorted({obj.document.file for objects in after.objects.values() for obj in objects.values()})
    for name, old in before.boxes.items():
        new = after.boxes.get(name)
        if new is None:
            if whole:
                yield _removed(old, files)
            continue
        if old.spec.management is None:
            continue
        at = old.at("management")
        if new.spec.management is None:
            message = f"management is no longer declared (was at {at}); nothing keeps it from being taken"
            yield new.finding(MANAGEMENT_WITHDRAWN, (), message)
            continue
        gone = [
            *sorted(set(old.spec.management.interfaces) - set(new.spec.management.interfaces)),
            *map(str, set(old.spec.management.networks) - set(new.spec.management.networks)),
        ]
        if gone:
            message = f"{', '.join(sorted(gone))} is no longer part of the way to the box (was at {at})"
            yield new.finding(MANAGEMENT_WITHDRAWN, ("management",), message)


def _removed(box: Object[BoxSpec], files: Sequence[str]) -> Finding:
    """That a Box is gone: at the file that it stood in if that is one of ``files``, else at the first."""
    message = f"the Box is removed (was at {box.at()}); its daemon keeps the last commit that had it"
    file = box.document.file
    where = Location(file if file in files else next(iter(files), file), 1, 1)
    rule = MANAGEMENT_WITHDRAWN
    return Finding(where, str(box.ref), "", message, rule.id, rule.severity)


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
