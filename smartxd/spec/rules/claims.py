"""What may be had once only: in the fleet, in a tunnel, or on a box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.bgppeer import BoxEnd
from smartxd.spec.places import Path

ADDRESS = Rule(
    "SX201",
    "address-twice",
    "An address is had once: underlay and loopback addresses in the fleet, others on a box and in a segment.",
    "Two holders of one address answer each other's packets; of two boxes with one underlay address"
    " neither is a VTEP that others can tell apart. Segments apart may use the same private subnet,"
    " because on other boxes it is another address.",
    fixed=True,
)
ROUTER_ID = Rule(
    "SX202",
    "router-id-twice",
    "Each BGP speaker has a router ID of its own.",
    "RFC 4271, section 6.2, refuses a session between two speakers with one router ID, and a route reflector"
    " drops what seems to come from itself. A router ID that is not given is the Box's, or its loopback.",
)
VNI = Rule(
    "SX203",
    "vni-twice",
    "A VNI is had once on a box.",
    "A VNI is what tells segments apart on the wire, and the kernel refuses a second VXLAN link of the"
    " same VNI and port. Tunnels on boxes apart may share one; it is better not to.",
    fixed=True,
)
INTERFACE = Rule(
    "SX204",
    "interface-twice",
    "An interface name is had once on a box.",
    "Two objects that make or use one interface undo each other's work. The VXLAN link of a tunnel is"
    " called `vx<vni>` and its switch `br<vni>` unless `bridge` names it; to share a switch declare a"
    " Bridge and plug into it by `bridgeRef`.",
    fixed=True,
)
MAC = Rule(
    "SX205",
    "mac-twice",
    "A MAC address is had once in a segment.",
    "Frames for it would go to one of the two, and EVPN would take it for a host that moves. The same anycast"
    " MAC for the gateways of several tunnels is lawful and usual.",
)
NEIGHBOR = Rule(
    "SX206",
    "neighbor-twice",
    "A box has one session with an address, or over an unnumbered link.",
    "FRR knows a session by the neighbour's address, so the second declaration would change the first.",
    fixed=True,
)
VLAN = Rule(
    "SX207",
    "vlan-twice",
    "A VLAN of a Bridge, or a Bridge that knows no VLANs, is carried by one tunnel.",
    "Two tunnels in one VLAN of one switch are one segment: frames go in circles between their boxes. A"
    " Bridge without `vlanAware` is all one VLAN. To have several tunnels on one switch make it VLAN-aware,"
    " and give each tunnel a `vlan` of its own.",
)
ROUTE = Rule(
    "SX208",
    "route-twice",
    "A box has one Route to a prefix with a metric in a table.",
    "The kernel keeps one route for each prefix, metric and table, so the second would replace the first."
    " Several next hops belong into one Route; a second way of lower rank has a higher metric.",
    fixed=True,
)
DISTINGUISHER = Rule(
    "SX209",
    "route-distinguisher-twice",
    "A route distinguisher is that of one tunnel at one box.",
    "It is what keeps the routes of two boxes, or of two tunnels, to one MAC address apart (RFC 7432, section"
    " 7.9): of those that share one BGP passes on the best alone, and the others are heard of by nobody.",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A field of an object takes something for itself."""

    rule: Rule
    by: Object[Any]
    path: Path
    what: str
    value: object
    boxes: frozenset[str] | None = None
    """Where it is taken; None for the whole fleet."""

    def same_as(self, other: Claim) -> bool:
        """Whether one field says both."""
        return (self.by.ref, self.path) == (other.by.ref, other.path)

    def finding(self, first: Claim, box: str) -> Finding:
        """That another field has taken it before; ``box`` is empty where it is taken in the whole fleet."""
        where = f" on {box}" if box else ""
        at = first.by.at(*first.path)
        message = f"{self.what} {self.value}{where} is also that of {first.by.ref} ({at})"
        return self.by.finding(self.rule, self.path, message, other=at)


@dataclass(slots=True)
class _Holders:
    """Who holds one thing. Most things have one claim, whose boxes need not be gone through."""

    first: Claim
    by_box: dict[str, Claim] | None = None

    def meet(self, claim: Claim) -> tuple[Claim, str] | None:
        """The holder before this claim and the box where they meet; the claim holds what is left."""
        if self.first.boxes is None or claim.boxes is None:
            return None if claim.same_as(self.first) else (self.first, min(claim.boxes or ("",)))
        if self.by_box is None:
            self.by_box = dict.fromkeys(self.first.boxes, self.first)
        met: tuple[str, Claim] | None = None
        for box in claim.boxes:
            holder = self.by_box.setdefault(box, claim)
            if holder is not claim and not claim.same_as(holder) and (met is None or box < met[0]):
                met = (box, holder)
        return (met[1], met[0]) if met is not None else None


def nothing_is_claimed_twice(fleet: Fleet) -> Iterator[Finding]:
    """Each thing that can be had once only has one field that says so."""
    taken: dict[tuple[str, object], _Holders] = {}
    said: set[tuple[int, Path, str, object]] = set()
    for claims in (_of_boxes, _of_tunnels, _of_hosts, _of_bridges, _of_routers, _of_peers, _of_routes):
        for claim in claims(fleet):
            if (holders := taken.get((claim.what, claim.value))) is None:
                taken[claim.what, claim.value] = _Holders(claim)
                continue
            met, key = holders.meet(claim), (id(claim.by), claim.path, claim.what, claim.value)
            if met is not None and key not in said:
                said.add(key)
                yield claim.finding(*met)


def _of_boxes(fleet: Fleet) -> Iterator[Claim]:
    for name, box in fleet.boxes.items():
        for link in fleet.links_by(box):
            yield Claim(ADDRESS, box, link.path, "address", link.address.ip)
        underlay, management, here = box.spec.underlay, box.spec.management, frozenset({name})
        yield Claim(INTERFACE, box, ("underlay", "interface"), "interface", underlay.interface, here)
        for i, interface in enumerate(management.interfaces if management is not None else ()):
            if interface != underlay.interface:
                yield Claim(INTERFACE, box, ("management", "interfaces", i), "interface", interface, here)


def _of_tunnels(fleet: Fleet) -> Iterator[Claim]:
    for tunnel in fleet.tunnels.values():
        spec, boxes = tunnel.spec, fleet.member_set(tunnel)
        # The name of a bridge that is not named comes from the VNI: so does its collision.
        path: Path = ("vni",) if spec.bridge is None else ("bridge",)
        yield Claim(VNI, tunnel, ("vni",), "VNI", spec.vni, boxes)
        yield Claim(INTERFACE, tunnel, ("vni",), "interface", spec.link_name, boxes)
        if spec.own_bridge is not None:
            yield Claim(INTERFACE, tunnel, path, "interface", spec.own_bridge, boxes)
        yield from _of_plug(fleet, tunnel, boxes)
        yield from _of_links(fleet, tunnel)
        for box, distinguisher in spec.route_distinguishers.items():
            at = ("flood", "routeDistinguishers", box)
            yield Claim(DISTINGUISHER, tunnel, at, "route distinguisher", distinguisher)


def _of_plug(fleet: Fleet, tunnel: Object[Any], boxes: frozenset[str]) -> Iterator[Claim]:
    """What a tunnel takes of the Bridge that it plugs into."""
    bridge = fleet.bridges.get(tunnel.spec.bridge_ref or "")
    vlan = fleet.vlan_of(tunnel)
    if bridge is None:
        return
    if not bridge.spec.vlan_aware:
        yield Claim(VLAN, tunnel, ("bridgeRef",), "plain switch", bridge.ref, boxes)
    elif tunnel.spec.vlan is not None:
        yield Claim(VLAN, tunnel, ("vlan",), f"VLAN of {bridge.ref}", vlan, boxes)
    for link in fleet.links_by(tunnel):
        # A second tunnel in the VLAN has been told so.
        if link.interface != bridge.spec.interface and fleet.carrier(bridge, vlan, link.box) is tunnel:
            yield Claim(INTERFACE, tunnel, ("vlan",), "interface", link.interface, frozenset({link.box}))


def _of_links(fleet: Fleet, obj: Object[Any]) -> Iterator[Claim]:
    """The addresses that a Tunnel or a Bridge gives boxes."""
    # An anycast gateway is one on all of its boxes.
    boxes: dict[Path, set[str]] = {}
    first: dict[Path, Link] = {}
    for link in fleet.links_by(obj):
        boxes.setdefault(link.path, set()).add(link.box)
        first.setdefault(link.path, link)
    for path, link in first.items():
        # Segments apart may use the same private subnet: on other boxes it is another address.
        yield Claim(ADDRESS, obj, path, "address", link.address.ip, frozenset(boxes[path]))
        yield Claim(ADDRESS, obj, path, f"address in {link.segment}", link.address.ip)


def _of_hosts(fleet: Fleet) -> Iterator[Claim]:
    for tunnel in fleet.tunnels.values():
        anycast = tunnel.spec.anycast_gateway
        if anycast is not None:
            yield Claim(MAC, tunnel, ("anycastGateway", "mac"), f"MAC in {tunnel.ref}", anycast.mac)
        for i, host in enumerate(tunnel.spec.hosts):
            yield Claim(MAC, tunnel, ("hosts", i, "mac"), f"MAC in {tunnel.ref}", host.mac)
            for j, address in enumerate(host.addresses):
                path: Path = ("hosts", i, "addresses", j)
                yield Claim(ADDRESS, tunnel, path, f"address in {tunnel.ref}", address)


def _of_bridges(fleet: Fleet) -> Iterator[Claim]:
    for bridge in fleet.bridges.values():
        boxes = fleet.member_set(bridge)
        yield Claim(INTERFACE, bridge, ("interface",), "interface", bridge.spec.interface, boxes)
        yield from _of_links(fleet, bridge)


def _of_routers(fleet: Fleet) -> Iterator[Claim]:
    for router in fleet.routers.values():
        router_id = fleet.router_id_of(router)
        if router_id is not None and fleet.router_of(router.spec.box) is router:
            yield Claim(ROUTER_ID, router, ("routerId",), "router ID", router_id)


def _of_peers(fleet: Fleet) -> Iterator[Claim]:
    for peer in fleet.peers.values():
        one, other = peer.spec.between
        for i, (here, there) in enumerate(((one, other), (other, one))):
            if not isinstance(here, BoxEnd):
                continue
            if here.interface is not None:
                path: Path = ("between", i, "interface")
                yield Claim(
                    NEIGHBOR, peer, path, "unnumbered session over", here.interface, frozenset({here.box})
                )
            elif (address := fleet.address_of(there)) is not None:
                yield Claim(NEIGHBOR, peer, ("between",), "neighbor", address, frozenset({here.box}))


def _of_routes(fleet: Fleet) -> Iterator[Claim]:
    for route in fleet.routes.values():
        spec = route.spec
        what = f"route with metric {spec.metric} in table {spec.table} to"
        yield Claim(ROUTE, route, ("destination",), what, spec.destination, fleet.member_set(route))


RULES: tuple[Rule, ...] = (ADDRESS, ROUTER_ID, VNI, INTERFACE, MAC, NEIGHBOR, VLAN, ROUTE, DISTINGUISHER)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (nothing_is_claimed_twice,)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
