"""The way to a box stays: nothing takes or diverts its management and underlay links."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from smartxd.spec.addresses import Address, Network
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Location, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.places import Path
from smartxd.spec.prefixes import Prefixes
from smartxd.spec.rules.switches import matched
from smartxd.spec.ways import Way, ways

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
    " Route to a network of `management.networks`, or to part of one, goes out by a management interface, and"
    " no segment uses its addresses. A wider Route, as a default route, comes after the subnets of the"
    " management links; it is wrong where it drops, where it leads into an overlay, and where the underlay is"
    " the only way in and it leads elsewhere, unless a narrower Route goes out by a management interface.",
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
    "No Route and no segment takes the packets of tunnels into a tunnel, or nowhere.",
    "The outer packets to another VTEP would take the way into the overlay, be wrapped once more, and so on,"
    " or be dropped: the segment is dead. Make the prefix of the Route narrower, or its next hop one of the"
    " underlay; give the segment a subnet that holds no VTEP; or lead the VTEPs out by a narrower Route.",
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
    said: set[tuple[int, Path]] = set()
    for name, box in fleet.boxes.items():
        management = box.spec.management
        if management is None or not management.networks:
            continue
        ways_of_box = ways(fleet, name)
        segments = Prefixes((link.address.network, link) for link in fleet.links_of(name) if link.overlay)
        for i, network in enumerate(management.networks):
            at = box.at("management", "networks", i)
            where = f"{network}, from where {box.ref} is managed ({at})"
            found = [
                *((k.by, k.path, f"{k.address.network} overlaps") for k in segments.overlapping(network)),
                *(
                    (w.by, w.path, f"{w.to} covers or is part of")
                    for w in _lead_away(ways_of_box, box, network)
                ),
            ]
            for by, path, what in found:
                # An anycast gateway is on each box; it is said of the first.
                if (id(by), path) not in said:
                    said.add((id(by), path))
                    yield by.finding(MANAGEMENT_DIVERTED, path, f"{what} {where}", other=at)


def _lead_away(ways_of_box: Prefixes[Way], box: Object[BoxSpec], network: Network) -> Iterator[Way]:
    """The Routes that take packets for a management network off the management links."""
    spec = box.spec
    kept = frozenset(spec.management.interfaces if spec.management is not None else ())
    for way in ways_of_box.overlapping(network):
        if way.by.ref.kind != "Route" or (way.out and way.out <= kept):
            continue
        # A wider one, as a default route, comes after the subnets of the management links and what the box
        # had before. Of those the specs know nothing, unless the underlay is the management link.
        known = "" not in way.out and kept == {spec.underlay.interface}
        wide = next(ways_of_box.holding(network), None) is way and (not way.out or way.overlay or known)
        if way.to.prefixlen >= network.prefixlen or wide:
            yield way


def nothing_diverts_the_underlay(fleet: Fleet) -> Iterator[Finding]:
    """No way into an overlay or to nowhere is the one that a box has to the VTEP of another."""
    vteps = _VTEPs(fleet)
    said: set[tuple[int, Path]] = set()
    for box in _with_dangerous_ways(fleet, vteps):
        ways_of_box = ways(fleet, box)
        for way in ways_of_box:
            if (way.out and not way.overlay) or (id(way.by), way.path) in said:
                continue
            if (found := vteps.reached_by(way, ways_of_box, box)) is not None:
                said.add((id(way.by), way.path))
                at = found.by.at(*found.path)
                vtep = f"{found.address.ip}, the VTEP of {found.by.ref} ({at}),"
                message = f"{way.to} sends packets for {vtep} {'into an overlay' if way.out else 'nowhere'}"
                yield way.by.finding(UNDERLAY_DIVERTED, way.path, message, other=at)


def _with_dangerous_ways(fleet: Fleet, vteps: _VTEPs) -> Iterator[str]:
    """The boxes with Routes, or with a segment in which a VTEP would be; an anycast gateway is asked once."""
    inside: dict[tuple[int, Path], bool] = {}
    for box in fleet.boxes:
        found = bool(fleet.on("Route", box))
        for link in fleet.links_of(box):
            key = id(link.by), link.path
            if link.overlay and key not in inside:
                inside[key] = vteps.some_in(link.address.network)
            found = found or inside.get(key, False)
        if found:
            yield box


class _VTEPs:
    """The VTEPs of a fleet in the order of their addresses."""

    def __init__(self, fleet: Fleet) -> None:
        links = [link for box in fleet.boxes.values() for link in fleet.links_by(box)]
        self._links = sorted(
            (k for k in links if k.segment == "underlay"), key=lambda k: _order(k.address.ip)
        )
        self._order = [_order(link.address.ip) for link in self._links]

    def some_in(self, network: Network) -> bool:
        """Whether one is in a subnet."""
        i = bisect_left(self._order, _order(network.network_address))
        return i < len(self._order) and self._order[i] <= _order(network.broadcast_address)

    def reached_by(self, way: Way, ways_of_box: Prefixes[Way], box: str) -> Link | None:
        """The first VTEP of another box for which a box takes this one of its ways."""
        i = bisect_left(self._order, _order(way.to.network_address))
        last = bisect_right(self._order, _order(way.to.broadcast_address))
        while i < last:
            taken = next(ways_of_box.holding(self._links[i].address.ip), way)
            if taken is not way:  # a narrower one takes all that it holds
                i = bisect_right(self._order, _order(taken.to.broadcast_address))
            elif self._links[i].box == box:
                i += 1
            else:
                return self._links[i]
        return None


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)


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
