"""The rules across boxes: what no single document can tell. Each rule is a function, Fleet to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from smartxd.spec.claims import nothing_is_claimed_twice
from smartxd.spec.document import Finding, Location, Path
from smartxd.spec.envelope import Object
from smartxd.spec.fields import BoxSelector, SpecModel
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, PeerEnd
from smartxd.spec.kinds.tunnel import VXLAN_OVERHEAD_BYTES

Rule = Callable[[Fleet], Iterator[Finding]]


def check(fleet: Fleet) -> list[Finding]:
    """What the rules find, in the order of the files; of what they say of one field, the first."""
    findings: dict[tuple[Location, str, str], Finding] = {}
    for rule in RULES:
        for finding in rule(fleet):
            findings.setdefault((finding.location, finding.object, finding.field), finding)
    return sorted(findings.values())


def boxes_exist(fleet: Fleet) -> Iterator[Finding]:
    """Each Box that an object names is declared, and a selector chooses at least one."""
    selecting: Sequence[Object[SpecModel]] = [*fleet.tunnels.values(), *fleet.policies.values()]
    for obj in selecting:
        selector: BoxSelector = obj.spec.boxes  # type: ignore[attr-defined]
        for i, name in enumerate(selector.names or ()):
            if name not in fleet.boxes:
                yield obj.finding(("boxes", "names", i), f"no Box is named {name}")
        if selector.match_labels is not None and not fleet.select(selector):
            yield obj.finding(("boxes", "matchLabels"), "no Box carries these labels")
    for tunnel in fleet.tunnels.values():
        members = fleet.select(tunnel.spec.boxes)
        for name in tunnel.spec.gateways:
            if name not in members:
                yield tunnel.finding(("gateways", name), f"{name} is not one of the tunnel's boxes")
    for router in fleet.routers.values():
        if router.spec.box not in fleet.boxes:
            yield router.finding(("box",), f"no Box is named {router.spec.box}")
    for peer in fleet.peers.values():
        for i, end in enumerate(peer.spec.between):
            if end.box not in fleet.boxes:
                yield peer.finding(("between", i, "box"), f"no Box is named {end.box}")


def traced_tunnels_exist(fleet: Fleet) -> Iterator[Finding]:
    """Each Tunnel that a TracePolicy names is declared."""
    for policy in fleet.policies.values():
        for i, point in enumerate(policy.spec.interfaces):
            if point.tunnel is not None and point.tunnel not in fleet.tunnels:
                yield policy.finding(("interfaces", i, "tunnel"), f"no Tunnel is named {point.tunnel}")


def tunnels_are_one_subnet(fleet: Fleet) -> Iterator[Finding]:
    """The gateways of a tunnel are of one subnet: they are on one L2 segment."""
    for tunnel in fleet.tunnels.values():
        gateways = tunnel.spec.gateways
        for name, gateway in gateways.items():
            first = next(iter(gateways))
            if gateway.network != gateways[first].network:
                subnet = f"{gateways[first].network} ({tunnel.at('gateways', first)})"
                message = f"{gateway} is not in {subnet}; an L2 segment is one subnet"
                yield tunnel.finding(("gateways", name), message)


def subnets_do_not_overlap(fleet: Fleet) -> Iterator[Finding]:
    """The links of a box are in subnets apart: its routes would be ambiguous."""
    subnets: dict[str, list[tuple[IPv4Network, Object[SpecModel], Path]]] = {
        name: [(box.spec.underlay.address.network, box, ("underlay", "address"))]
        for name, box in fleet.boxes.items()
    }
    for tunnel in fleet.tunnels.values():
        for name, gateway in tunnel.spec.gateways.items():
            subnets.setdefault(name, []).append((gateway.network, tunnel, ("gateways", name)))
    for of_box in subnets.values():
        of_box.sort(key=lambda subnet: subnet[0])  # what lies within a subnet comes next to it
        widest = of_box[0]
        for subnet in of_box[1:]:
            if not subnet[0].overlaps(widest[0]):
                widest = subnet
                continue
            first, second = sorted((widest, subnet), key=lambda s: (s[1].ref.kind, s[1].ref.name))
            whose = f"{first[1].ref} ({first[1].at(*first[2])})"
            yield second[1].finding(second[2], f"{second[0]} overlaps {first[0]} of {whose}")


def overlays_fit_their_underlays(fleet: Fleet) -> Iterator[Finding]:
    """An overlay's packets fit into those of the underlay of each of its boxes."""
    for tunnel in fleet.tunnels.values():
        mtu = tunnel.spec.mtu
        for name in fleet.select(tunnel.spec.boxes):
            box = fleet.boxes[name]
            room = box.spec.underlay.mtu - VXLAN_OVERHEAD_BYTES
            if mtu != "auto" and mtu > room:
                at = box.at("underlay", "mtu")
                yield tunnel.finding(
                    ("mtu",), f"{mtu} is more than the {room} that {box.ref} has room for ({at})"
                )


def routers_are_whole(fleet: Fleet) -> Iterator[Finding]:
    """Each box has at most one BGPRouter, and each BGPRouter an AS number and a router ID."""
    by_box: dict[str, Object[SpecModel]] = {}
    for router in fleet.routers.values():
        if router.spec.box not in fleet.boxes:
            continue
        first = by_box.setdefault(router.spec.box, router)
        if first is not router:
            yield router.finding(("box",), f"{router.spec.box} already has {first.ref} ({first.at('box')})")
        if fleet.asn_of(router) is None:
            yield router.finding(("asn",), f"give asn here or in Box/{router.spec.box}")
        if fleet.router_id_of(router) is None:
            yield router.finding(
                ("routerId",), f"give routerId here, or routerId or loopback in Box/{router.spec.box}"
            )


def sessions_have_two_ends(fleet: Fleet) -> Iterator[Finding]:
    """A BGPPeer joins the BGPRouters of two different boxes over a link that both have."""
    for peer in fleet.peers.values():
        ends = peer.spec.between
        if any(end.box not in fleet.boxes for end in ends):
            continue
        if ends[0].box == ends[1].box:
            yield peer.finding(("between", 1, "box"), f"both ends are {ends[0].box}")
            continue
        for i, end in enumerate(ends):
            if fleet.router_of(end.box) is None:
                yield peer.finding(("between", i, "box"), f"{end.box} has no BGPRouter")
        links = [_link(fleet, end) for end in ends]
        for i, link in enumerate(links):
            if link is None:
                yield peer.finding(("between", i, "address"), _no_link(fleet, ends[i]))
        one, other = links
        if one is None or other is None:
            continue
        if one.name != other.name:
            yield peer.finding(("between",), f"{one} and {other} are on different links; a session needs one")
        elif not one.reaches(other) and _is_external(fleet, peer):
            yield peer.finding(
                ("between",),
                f"{one} and {other} are in different subnets; eBGP between them needs multihop, "
                "which this release does not have",
            )


@dataclass(frozen=True, slots=True)
class _Link:
    """What a session runs over, at one end."""

    name: str
    address: IPv4Interface

    def __str__(self) -> str:
        return f"{self.address} ({self.name})"

    def reaches(self, other: _Link) -> bool:
        return other.address.ip in self.address.network and self.address.ip in other.address.network


def _links(fleet: Fleet, box: str) -> Iterator[_Link]:
    yield _Link("underlay", fleet.boxes[box].spec.underlay.address)
    for tunnel in fleet.tunnels.values():
        if box in tunnel.spec.gateways:
            yield _Link(str(tunnel.ref), tunnel.spec.gateways[box])


def _link(fleet: Fleet, end: PeerEnd) -> _Link | None:
    """The link of a box that has the address of this end."""
    address = fleet.address_of(end)
    return next((link for link in _links(fleet, end.box) if link.address.ip == address), None)


def _no_link(fleet: Fleet, end: PeerEnd) -> str:
    box = fleet.boxes[end.box]
    if end.address == box.spec.loopback:
        return (
            f"{end.address} is the loopback of {box.ref}; a session from there needs update-source and "
            "multihop, which this release does not have"
        )
    return f"{end.address} is no address of {box.ref}; it has {', '.join(map(str, _links(fleet, end.box)))}"


def _is_external(fleet: Fleet, peer: Object[BGPPeerSpec]) -> bool:
    routers = [fleet.router_of(end.box) for end in peer.spec.between]
    return len({fleet.asn_of(router) for router in routers if router is not None}) > 1


RULES: tuple[Rule, ...] = (
    boxes_exist,
    traced_tunnels_exist,
    nothing_is_claimed_twice,
    tunnels_are_one_subnet,
    subnets_do_not_overlap,
    overlays_fit_their_underlays,
    routers_are_whole,
    sessions_have_two_ends,
)
