"""What may be had once only: in the fleet, in a tunnel, or on a box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from smartxd.spec.document import Finding, Path
from smartxd.spec.envelope import Object
from smartxd.spec.fields import SpecModel
from smartxd.spec.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Claim:
    """A field of an object takes something for itself."""

    by: Object[SpecModel]
    path: Path
    what: str
    value: object
    box: str = ""
    """Where it is taken; empty for the whole fleet."""

    def finding(self, first: Claim) -> Finding:
        """That another field has taken it before."""
        where = f" on {self.box}" if self.box else ""
        whose = f"{first.by.ref} ({first.by.at(*first.path)})"
        return self.by.finding(self.path, f"{self.what} {self.value}{where} is also that of {whose}")


def nothing_is_claimed_twice(fleet: Fleet) -> Iterator[Finding]:
    """Each thing that can be had once only has one field that says so."""
    taken: dict[tuple[str, str, object], Claim] = {}
    for claims in (_of_boxes, _of_tunnels, _of_routers, _of_peers):
        for claim in claims(fleet):
            # What is taken in the whole fleet is taken on each box.
            fleetwide = taken.get((claim.what, "", claim.value))
            first = fleetwide or taken.setdefault((claim.what, claim.box, claim.value), claim)
            if (first.by.ref, first.path) != (claim.by.ref, claim.path):
                yield claim.finding(first)


def _of_boxes(fleet: Fleet) -> Iterator[Claim]:
    for name, box in fleet.boxes.items():
        underlay, management = box.spec.underlay, box.spec.management
        yield Claim(box, ("underlay", "address"), "address", underlay.address.ip)
        if box.spec.loopback is not None:
            yield Claim(box, ("loopback",), "address", box.spec.loopback)
        yield Claim(box, ("underlay", "interface"), "interface", underlay.interface, name)
        if management is not None and management.interface != underlay.interface:
            yield Claim(box, ("management", "interface"), "interface", management.interface, name)


def _of_tunnels(fleet: Fleet) -> Iterator[Claim]:
    for tunnel in fleet.tunnels.values():
        spec = tunnel.spec
        # The name of a bridge that is not named comes from the VNI: so does its collision.
        bridge = ("vni",) if spec.bridge is None else ("bridge",)
        for box in fleet.select(spec.boxes):
            yield Claim(tunnel, ("vni",), "VNI", spec.vni, box)
            yield Claim(tunnel, ("vni",), "interface", spec.link_name, box)
            yield Claim(tunnel, bridge, "interface", spec.bridge_name, box)
        for box, gateway in spec.gateways.items():
            # Segments apart may use the same private subnet: on other boxes it is another address.
            yield Claim(tunnel, ("gateways", box), "address", gateway.ip, box)
            yield Claim(tunnel, ("gateways", box), f"address in {tunnel.ref}", gateway.ip)


def _of_routers(fleet: Fleet) -> Iterator[Claim]:
    for router in fleet.routers.values():
        router_id = fleet.router_id_of(router)
        if router_id is not None and fleet.router_of(router.spec.box) is router:
            yield Claim(router, ("routerId",), "router ID", router_id)


def _of_peers(fleet: Fleet) -> Iterator[Claim]:
    for peer in fleet.peers.values():
        one, other = peer.spec.between
        for here, there in ((one, other), (other, one)):
            address = fleet.address_of(there)
            if address is not None:
                yield Claim(peer, ("between",), "neighbor", address, here.box)
