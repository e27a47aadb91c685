"""BGPRouter and BGPPeer specs to the FRR state of one box."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from smartxd.planes.frr.state import BGP, FRRState, Neighbor
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, BoxEnd


def lower(fleet: Fleet, box: str) -> FRRState:
    """The BGP speaker that the specs ask of ``box``; empty where it has none."""
    router = fleet.router_of(box)
    if router is None:
        return FRRState()
    asn, router_id = fleet.asn_of(router), fleet.router_id_of(router)
    if asn is None or router_id is None:
        raise ValueError(f"{router.ref}: not a checked fleet")
    neighbors = [_neighbor(fleet, peer, box) for peer in fleet.peers_of(box)]
    return FRRState(
        BGP(
            owner=router.ref,
            asn=asn,
            router_id=router_id,
            networks=tuple(sorted({str(network) for network in router.spec.networks}, key=ip_network)),
            neighbors=tuple(sorted(neighbors, key=lambda n: ip_address(n.address))),
        )
    )


def _neighbor(fleet: Fleet, peer: Object[BGPPeerSpec], box: str) -> Neighbor:
    """The session as ``box`` sees it: the other end is its neighbour."""
    here, there = peer.spec.between
    if isinstance(there, BoxEnd) and there.box == box:
        here, there = there, here
    asn = fleet.end_asn(there)
    if asn is None:
        raise ValueError(f"{peer.ref}: not a checked fleet")
    timers = peer.spec.timers
    return Neighbor(
        owner=peer.ref,
        address=str(fleet.address_of(there)),
        remote_as=asn,
        description=peer.spec.description,
        keepalive_s=timers.keepalive,
        hold_s=timers.hold,
        connect_retry_s=timers.connect_retry,
    )
