"""Box, Tunnel, Bridge, Port and Route specs to the kernel state of one box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from smartxd.desired.ports import port_rule
from smartxd.desired.switches import switches
from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import Address, Forwarding, KernelState, NextHop, Route
from smartxd.spec.addresses import family_of
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.route import RouteSpec
from smartxd.spec.statics import statics

_METRIC6 = 1024
"""What the kernel takes a metric of 0 for, in IPv6."""


def lower(fleet: Fleet, box: str) -> KernelState:
    """The links, ports, addresses and routes that the specs ask of ``box``."""
    return KernelState(
        links=switches(fleet, box),
        ports=tuple(port_rule(fleet, port) for port in fleet.on("Port", box)),
        addresses=tuple(sorted(_addresses(fleet, box), key=lambda a: a.id)),
        routes=tuple(sorted(_routes(fleet, box), key=lambda r: r.id)),
        forwarding=tuple(sorted(_forwarding(fleet, box), key=lambda f: f.id)),
        adopt=frozenset(obj.ref for obj in _objects(fleet, box) if obj.adopts),
    )


def _objects(fleet: Fleet, box: str) -> Iterator[Object[Any]]:
    """The objects that make something in the kernel of a box."""
    yield fleet.boxes[box]
    for kind in ("Tunnel", "Bridge", "Port", "Route"):
        yield from fleet.on(kind, box)


def _addresses(fleet: Fleet, box: str) -> Iterable[Address]:
    """Those of loopbacks, gateways and bridges; the underlay has its own already."""
    links = [link for link in fleet.links_of(box) if link.segment != "underlay"]
    found = [Address(link.by.ref, link.interface, str(link.address)) for link in links]
    return {address.id: address for address in reversed(found)}.values()


def _routes(fleet: Fleet, box: str) -> Iterator[Route]:
    """The Routes of a box but those that its speaker announces: FRR keeps these."""
    return (_route(static.route) for static in statics(fleet, box) if not static.by_frr)


def _route(route: Object[RouteSpec]) -> Route:
    spec = route.spec
    hops = [
        NextHop(str(hop.address) if hop.address is not None else "", hop.interface or "", hop.weight)
        for hop in spec.via
    ]
    ipv6 = spec.destination.version == 6
    return Route(
        owner=route.ref,
        destination=str(spec.destination),
        hops=tuple(sorted(hops, key=lambda hop: (hop.address, hop.link, hop.weight))),
        metric=spec.metric or (_METRIC6 if ipv6 else 0),
        table=spec.table,
    )


def _forwarding(fleet: Fleet, box: str) -> Iterator[Forwarding]:
    """A box routes what comes in by its underlay once BGP, or a Route beside a gateway, makes it a router."""
    underlay = fleet.boxes[box].spec.underlay
    for address in (underlay.address, underlay.address6):
        if address is not None and (owner := _router(fleet, box, address.version)) is not None:
            yield Forwarding(owner, underlay.interface, family_of(address))


def _router(fleet: Fleet, box: str, version: int) -> ObjectRef | None:
    """What makes a box a router of a family: its BGPRouter, or its own gateways and Routes."""
    if (speaker := fleet.router_of(box)) is not None:
        return speaker.ref
    has_gateways = any(link.overlay and link.address.version == version for link in fleet.links_of(box))
    has_routes = any(route.spec.destination.version == version for route in fleet.on("Route", box))
    return fleet.boxes[box].ref if has_gateways and has_routes else None
