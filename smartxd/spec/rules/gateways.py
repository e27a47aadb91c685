"""Addresses of segments: gateways in one subnet, subnets apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from smartxd.objects import ObjectRef
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.tunnel import TunnelSpec
from smartxd.spec.prefixes import Prefixes

GATEWAY_SUBNET = Rule(
    "SX301",
    "gateway-subnet",
    "The gateways of a tunnel are of one subnet in each family.",
    "A tunnel is one L2 segment, and its hosts take the whole subnet for their neighbours. A gateway of"
    " another subnet is reached by nobody on the segment.",
)
SUBNETS_OVERLAP = Rule(
    "SX302",
    "subnets-overlap",
    "The links of a box are in subnets apart.",
    "Two links whose subnets overlap give the box two routes to the same addresses: packets leave by one of"
    " them, answers and neighbours are on the other. Choose another subnet for one of them.",
)
SEGMENTS_OVERLAP = Rule(
    "SX303",
    "segments-overlap",
    "Segments whose subnets BGP announces are in subnets apart.",
    "Segments on boxes apart may use the same private subnet while nobody else hears of it. Once both are"
    " announced, by `networks` or by redistributing connected routes, the rest of the network sends"
    " packets for one segment to the other.",
    severity=Severity.WARNING,
)
HOST_OUTSIDE = Rule(
    "SX304",
    "host-outside",
    "A host with a fixed place has addresses of its segment's subnets.",
    "Its static ARP entry would be for an address that no host of the segment ever asks for, and the gateway"
    " routes packets for it elsewhere.",
    severity=Severity.WARNING,
)


def gateways_are_in_one_subnet(fleet: Fleet) -> Iterator[Finding]:
    """The gateways of a tunnel are, in each family, of the subnet of the first."""
    for tunnel in fleet.tunnels.values():
        first: dict[int, Link] = {}
        for link in _gateways(fleet, tunnel):
            known = first.setdefault(link.address.version, link)
            if link.address.network != known.address.network:
                at = tunnel.at(*known.path)
                message = (
                    f"{link.address} is not in {known.address.network} ({at}); an L2 segment is one subnet"
                )
                yield tunnel.finding(GATEWAY_SUBNET, link.path, message, other=at)


def _gateways(fleet: Fleet, tunnel: Object[TunnelSpec]) -> Iterator[Link]:
    """The gateways of a tunnel in the order in which they are given; an anycast gateway once."""
    by_box: dict[str, list[Link]] = {}
    for link in fleet.links_by(tunnel):
        by_box.setdefault(link.box, []).append(link)
    for box in tunnel.spec.gateways or fleet.members(tunnel)[:1]:
        yield from by_box.get(box, ())


def subnets_do_not_overlap(fleet: Fleet) -> Iterator[Finding]:
    """The links of a box are in subnets apart."""
    said: set[tuple[int, object]] = set()
    for box in fleet.boxes:
        for first, second in _overlaps([link for link in fleet.links_of(box) if link.segment != "loopback"]):
            # An anycast gateway overlaps on each box; it is said of the first.
            if (id(second.by), second.path) not in said:
                said.add((id(second.by), second.path))
                at = first.by.at(*first.path)
                message = (
                    f"{second.address.network} overlaps {first.address.network} of {first.by.ref} ({at})"
                )
                yield second.by.finding(SUBNETS_OVERLAP, second.path, message, other=at)


def _overlaps(links: Sequence[Link]) -> Iterator[tuple[Link, Link]]:
    """Pairs of links of different segments whose subnets overlap, each the later one first found."""
    widest: Link | None = None
    end = (0, 0)
    # What lies within a subnet comes next to it.
    for (version, first, _, _), link in sorted(((_order(k), k) for k in links), key=itemgetter(0)):
        if widest is None or (version, first) > end:
            widest, end = link, (version, int(link.address.network.broadcast_address))
        elif link.segment != widest.segment:
            earlier, later = sorted((widest, link), key=lambda k: k.by.ref)
            yield earlier, later


def _order(link: Link) -> tuple[int, int, int, ObjectRef]:
    # As numbers: networks compare ten times as slowly.
    network = link.address.network
    return int(network.version), int(network.network_address), network.prefixlen, link.by.ref


def announced_segments_are_apart(fleet: Fleet) -> Iterator[Finding]:
    """Of the segments that BGP announces no two overlap."""
    announced: dict[str, Link] = {}
    for name in fleet.boxes:
        router = fleet.router_of(name)
        if router is None:
            continue
        everything = any(entry.source == "connected" for entry in router.spec.redistribute)
        networks = set(router.spec.networks)
        for link in fleet.links_of(name):
            if link.segment not in ("underlay", "loopback") and (
                everything or link.address.network in networks
            ):
                announced.setdefault(f"{link.segment} {link.address.network}", link)
    boxes: dict[ObjectRef, set[str]] = {}
    for by in {link.by.ref: link.by for link in announced.values()}.values():
        boxes[by.ref] = {link.box for link in fleet.links_by(by)}
    for first, second in _overlaps(list(announced.values())):
        if boxes[first.by.ref].isdisjoint(boxes[second.by.ref]):  # what meets on a box is told there
            at = first.by.at(*first.path)
            message = (
                f"{second.address.network} overlaps {first.address.network} of {first.by.ref} ({at}), "
                "and BGP announces both"
            )
            yield second.by.finding(SEGMENTS_OVERLAP, second.path, message, other=at)


def hosts_are_inside(fleet: Fleet) -> Iterator[Finding]:
    """The addresses of hosts are in the subnets of their segment, where it has any of their family."""
    for tunnel in fleet.tunnels.values():
        if not tunnel.spec.hosts:
            continue
        links = list(_gateways(fleet, tunnel))
        first = {link.address.version: link for link in reversed(links)}
        subnets = Prefixes((link.address.network, link) for link in links)
        for i, host in enumerate(tunnel.spec.hosts):
            for j, address in enumerate(host.addresses):
                known = first.get(address.version)
                if known is not None and not subnets.hold(address):
                    at = tunnel.at(*known.path)
                    message = (
                        f"{address} is not in {known.address.network}, the subnet of the gateways ({at})"
                    )
                    yield tunnel.finding(HOST_OUTSIDE, ("hosts", i, "addresses", j), message, other=at)


RULES: tuple[Rule, ...] = (GATEWAY_SUBNET, SUBNETS_OVERLAP, SEGMENTS_OVERLAP, HOST_OUTSIDE)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    gateways_are_in_one_subnet,
    subnets_do_not_overlap,
    announced_segments_are_apart,
    hosts_are_inside,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
