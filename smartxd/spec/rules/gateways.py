"""Addresses of segments: gateways in one subnet, subnets apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from smartxd.objects import ObjectRef
from smartxd.spec.addresses import Network
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.tunnel import TunnelSpec
from smartxd.spec.prefixes import Prefixes

GATEWAY_SUBNET = Rule(
    "SX301",
    "gateway-subnet",
    "The boxes of a segment are gateways of its subnets together.",
    "A tunnel, and the Bridge that it plugs into, is one L2 segment, whose hosts take their whole subnet for"
    " neighbours. A box with a subnet of its own that lacks one of the others is mostly a slip in a number or"
    " a prefix length, and reached by nobody. Secondary subnets are lawful: give the box an address of each"
    " subnet that the others share.",
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


def gateways_share_subnets(fleet: Fleet) -> Iterator[Finding]:
    """No box of a segment has, in a family, a subnet of its own where it lacks one of the others."""
    for links in fleet.overlays.values():
        maker = links[0].by.spec
        anycast = isinstance(maker, TunnelSpec) and maker.anycast_gateway is not None
        if anycast and all(link.by.spec is maker for link in links):
            continue  # the same on each box
        by_family = sorted(links, key=lambda link: link.address.version)
        for _, alike in groupby(by_family, key=lambda link: link.address.version):
            yield from _slips(list(alike))


def _slips(links: Sequence[Link]) -> Iterator[Finding]:
    """Of the gateways of a segment and a family those whose subnet no other box has."""
    boxes: dict[Network, set[str]] = {}
    subnets: dict[str, set[Network]] = {}
    first: dict[Network, Link] = {}
    for link in links:
        boxes.setdefault(link.address.network, set()).add(link.box)
        subnets.setdefault(link.box, set()).add(link.address.network)
        first.setdefault(link.address.network, link)
    # What most boxes share is right; of subnets that nobody shares the one that is given first.
    ranked = sorted(boxes, key=lambda subnet: -len(boxes[subnet]))
    rank = {subnet: i for i, subnet in enumerate(ranked)}
    for link in links:
        own = link.address.network
        if len(boxes[own]) > 1:
            continue
        lacking = next((subnet for subnet in ranked if subnet not in subnets[link.box]), None)
        if lacking is not None and rank[lacking] < rank[own]:
            usual = first[lacking]
            at = usual.by.at(*usual.path)
            message = f"{link.address} is in no subnet of another gateway; {usual.box} is in {lacking} ({at})"
            yield link.by.finding(GATEWAY_SUBNET, link.path, message, other=at)


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
            if link.overlay and (everything or link.address.network in networks):
                announced.setdefault(f"{link.segment} {link.address.network}", link)
    boxes = {segment: {link.box for link in links} for segment, links in fleet.overlays.items()}
    for first, second in _overlaps(list(announced.values())):
        # What meets on a box is told there.
        if boxes[first.segment].isdisjoint(boxes[second.segment]):
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
        links = fleet.overlays.get(str(tunnel.ref), ())
        first = {link.address.version: link for link in reversed(links)}
        subnets = Prefixes((link.address.network, link) for link in links)
        for i, host in enumerate(tunnel.spec.hosts):
            for j, address in enumerate(host.addresses):
                known = first.get(address.version)
                if known is not None and not subnets.hold(address):
                    at = known.by.at(*known.path)
                    message = (
                        f"{address} is not in {known.address.network}, the subnet of the gateways ({at})"
                    )
                    yield tunnel.finding(HOST_OUTSIDE, ("hosts", i, "addresses", j), message, other=at)


RULES: tuple[Rule, ...] = (GATEWAY_SUBNET, SUBNETS_OVERLAP, SEGMENTS_OVERLAP, HOST_OUTSIDE)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    gateways_share_subnets,
    subnets_do_not_overlap,
    announced_segments_are_apart,
    hosts_are_inside,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
