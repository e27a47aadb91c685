"""BGPRouter and BGPPeer specs, and what of policies, Routes and Tunnels goes with them, to one box's FRR."""

from __future__ import annotations

from collections.abc import Iterator

from smartxd.desired.policies import policies
from smartxd.desired.sessions import bfd_profiles, families, neighbors
from smartxd.planes.frr.state import (
    VNI,
    FRRState,
    Network,
    NextHop,
    Redistribution,
    Router,
    StaticRoute,
    Unicast,
)
from smartxd.spec.addresses import family_of
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgprouter import EVPN, BGPRouterSpec
from smartxd.spec.kinds.route import RouteSpec
from smartxd.spec.kinds.tunnel import EVPNFlood
from smartxd.spec.statics import statics


def lower(fleet: Fleet, box: str) -> FRRState:
    """The BGP speaker that the specs ask of ``box``, with what it needs; empty where it has none."""
    given = fleet.router_of(box)
    if given is None:
        return FRRState()
    router = _router(fleet, given)
    redistributions, sessions = tuple(_redistributions(given, router)), neighbors(fleet, router, box)
    parts = (
        *policies(fleet, redistributions, sessions),
        *bfd_profiles(fleet, router, box),
        *_static_routes(fleet, box),
        router,
        *_networks(given, router),
        *redistributions,
        *_vnis(fleet, router, box),
        *sessions,
    )
    owners = {part.owner for part in parts}
    return FRRState(parts, frozenset(ref for ref in owners if fleet.objects[ref.kind][ref.name].adopts))


def _router(fleet: Fleet, router: Object[BGPRouterSpec]) -> Router:
    spec = router.spec
    asn, router_id = fleet.asn_of(router), fleet.router_id_of(router)
    if asn is None or router_id is None:
        raise ValueError(f"{router.ref}: not a checked fleet")
    spoken, evpn = families(spec.families), spec.evpn or EVPN()
    return Router(
        owner=router.ref,
        asn=asn,
        router_id=router_id,
        cluster_id=str(spec.cluster_id) if spec.cluster_id is not None else "",
        families=spoken,
        multipath_ebgp=spec.multipath.ebgp,
        multipath_ibgp=spec.multipath.ibgp,
        advertise_all_vni="evpn" in spoken and evpn.advertise_all_vni,
        advertise_svi_ip="evpn" in spoken and evpn.advertise_svi_ip,
    )


def _unicast(router: Router) -> Iterator[Unicast]:
    return (family for family in router.families if family != "evpn")


def _networks(router: Object[BGPRouterSpec], speaker: Router) -> Iterator[Network]:
    spoken = set(_unicast(speaker))
    for network in sorted(set(router.spec.networks), key=lambda n: (n.version, n)):
        if family_of(network) in spoken:
            yield Network(router.ref, str(network), speaker.asn)


def _redistributions(router: Object[BGPRouterSpec], speaker: Router) -> Iterator[Redistribution]:
    for family in _unicast(speaker):
        for given in sorted(router.spec.redistribute, key=lambda entry: entry.source):
            yield Redistribution(
                router.ref, family, given.source, speaker.asn, given.metric, given.route_map or ""
            )


def _vnis(fleet: Fleet, speaker: Router, box: str) -> Iterator[VNI]:
    """Those of which EVPN is told more than FRR derives.

    It announces the VNIs of all tunnels. Those that find their VTEPs otherwise get a target that no other box
    has: zebra makes flood entries of what it hears of a VNI, and where it takes them away it takes those too
    that a static tunnel has.
    """
    if not speaker.advertise_all_vni:  # FRR knows no VNI of its own otherwise
        return
    for tunnel in sorted(fleet.on("Tunnel", box), key=lambda t: int(t.spec.vni)):
        flood = tunnel.spec.flood
        targets = flood.route_targets if isinstance(flood, EVPNFlood) else (f"{speaker.router_id}:0",)
        distinguisher = tunnel.spec.route_distinguishers.get(box, "")
        if targets or distinguisher:
            told = tuple(sorted(set(targets)))
            yield VNI(tunnel.ref, tunnel.spec.vni, speaker.asn, told, distinguisher)


def _static_routes(fleet: Fleet, box: str) -> Iterator[StaticRoute]:
    """The Routes that the speaker announces as its own static ones."""
    routes = [static.route for static in statics(fleet, box) if static.by_frr]
    for route in sorted(routes, key=lambda r: (r.spec.destination.version, r.spec.destination)):
        yield StaticRoute(route.ref, str(route.spec.destination), _hops(route.spec))


def _hops(spec: RouteSpec) -> tuple[NextHop, ...]:
    hops = {(str(hop.address) if hop.address is not None else "", hop.interface or "") for hop in spec.via}
    return tuple(NextHop(address, link) for address, link in sorted(hops))
