"""BGPPeer specs to the sessions of one box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TypeVar, get_args

from smartxd.objects import ObjectRef
from smartxd.planes.frr.state import (
    BFDProfile,
    Communities,
    Family,
    MaxPrefixes,
    Neighbor,
    NeighborFamily,
    Policy,
    Router,
)
from smartxd.spec.addresses import Address
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds import bgppeer
from smartxd.spec.kinds.bgppeer import BFD, BGPPeerSpec, BoxEnd
from smartxd.spec.kinds.bgprouter import AddressFamily

_FAMILIES: dict[AddressFamily, Family] = {
    "ipv4Unicast": "ipv4",
    "ipv6Unicast": "ipv6",
    "l2vpnEvpn": "evpn",
}

_T = TypeVar("_T")


def families(given: Iterable[AddressFamily]) -> tuple[Family, ...]:
    """Address families as the plane calls them, each once and in its order."""
    return _ordered((_FAMILIES[family] for family in given), get_args(Family))


def _ordered(given: Iterable[_T], order: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(sorted(set(given), key=order.index))


def neighbors(fleet: Fleet, router: Router, box: str) -> tuple[Neighbor, ...]:
    """The sessions of a box as it sees them: the other end is its neighbour. Addresses come first."""
    found = (_neighbor(fleet, router, peer, box) for peer in fleet.peers_of(box))
    return tuple(sorted(found, key=_place))


def _place(neighbor: Neighbor) -> tuple[int, int, str]:
    if neighbor.unnumbered:
        return 128, 0, neighbor.name
    address = ip_address(neighbor.name)
    return address.version, int(address), ""


def bfd_profiles(fleet: Fleet, router: Router, box: str) -> tuple[BFDProfile, ...]:
    """The profiles of a box's sessions: one, of the router, for all that agree in their intervals."""
    settings = (peer.spec.bfd for peer in fleet.peers_of(box))
    profiles = {_bfd_profile(router.owner, bfd) for bfd in settings if bfd is not None}
    return tuple(sorted(profiles, key=lambda p: (p.receive_ms, p.transmit_ms, p.multiplier)))


def _bfd_profile(owner: ObjectRef, bfd: BFD) -> BFDProfile:
    return BFDProfile(owner, bfd.receive_ms, bfd.transmit_ms, bfd.multiplier)


def _neighbor(fleet: Fleet, router: Router, peer: Object[BGPPeerSpec], box: str) -> Neighbor:
    spec, timers = peer.spec, peer.spec.timers
    here = next(end for end in spec.box_ends if end.box == box)
    there = next(end for end in spec.between if end is not here)
    asn = fleet.end_asn(there)
    if asn is None:
        raise ValueError(f"{peer.ref}: not a checked fleet")
    own, far = fleet.address_of(here), fleet.address_of(there)
    hops = spec.multihop if spec.multihop is not None and asn != router.asn else 1
    return Neighbor(
        owner=peer.ref,
        name=here.interface or str(far),
        asn=router.asn,
        remote_as=asn,
        description=spec.description,
        unnumbered=here.interface is not None,
        update_source=_update_source(fleet, box, own, far),
        keepalive_s=timers.keepalive,
        hold_s=timers.hold,
        connect_retry_s=timers.connect_retry,
        advertisement_interval_s=timers.advertisement_interval,
        secret=spec.password_ref or "",
        bfd_profile=_bfd_profile(router.owner, spec.bfd).name if spec.bfd is not None else "",
        multihop=hops if hops > 1 else 0,
        ttl_security=spec.ttl_security or 0,
        graceful_restart=spec.graceful_restart,
        shutdown=spec.shutdown.message if spec.shutdown is not None else None,
        families=tuple(_of_families(fleet, spec, here)),
    )


def _update_source(fleet: Fleet, box: str, own: Address | None, far: Address | None) -> str:
    """The own address, where the box would not use it by itself, as that of its link to the far one."""
    if own is None or far is None:
        return ""
    subnets = (link for link in fleet.links_of(box) if link.segment != "loopback")
    near = {link.address.ip for link in subnets if far in link.address.network}
    return "" if near == {own} else str(own)


def _of_families(fleet: Fleet, spec: BGPPeerSpec, here: BoxEnd) -> Iterator[NeighborFamily]:
    for family in families(spec.families):
        if family == "evpn":
            # Its next hop is the VTEP; FRR filters it by route maps alone, and sends all communities.
            yield NeighborFamily(
                "evpn",
                route_reflector_client=here.route_reflector_client,
                allow_as_in=here.allow_as_in or 0,
                inbound=Policy(here.inbound.route_map or ""),
                outbound=Policy(here.outbound.route_map or ""),
            )
            continue
        yield NeighborFamily(
            family,
            next_hop_self=here.next_hop_self,
            route_reflector_client=here.route_reflector_client,
            default_originate=here.default_originate,
            allow_as_in=here.allow_as_in or 0,
            send_communities=_ordered(spec.send_communities, get_args(Communities)),
            max_prefixes=_max_prefixes(here.max_prefixes),
            inbound=_policy(fleet, here.inbound, family),
            outbound=_policy(fleet, here.outbound, family),
        )


def _max_prefixes(given: bgppeer.MaxPrefixes | None) -> MaxPrefixes | None:
    if given is None:
        return None
    return MaxPrefixes(given.limit, given.warn_at_percent, given.action, given.restart_after_minutes)


def _policy(fleet: Fleet, given: bgppeer.Policy, family: Family) -> Policy:
    """What is given of a direction, with the prefix list of a family."""
    lists = (name for name in given.prefix_lists if fleet.prefix_lists[name].spec.family == family)
    return Policy(given.route_map or "", next(lists, ""), given.as_path_list or "")
