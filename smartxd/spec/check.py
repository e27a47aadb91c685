"""The rules across boxes: what no single document can tell. Each rule is a function, Fleet to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from smartxd.spec.document import Finding
from smartxd.spec.envelope import Object
from smartxd.spec.fields import BoxSelector, SpecModel
from smartxd.spec.fleet import Fleet

Rule = Callable[[Fleet], Iterator[Finding]]


def check(fleet: Fleet) -> list[Finding]:
    """All findings of all rules, in the order of the files."""
    return sorted({finding for rule in RULES for finding in rule(fleet)})


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


def box_addresses_are_unique(fleet: Fleet) -> Iterator[Finding]:
    """No two boxes share an underlay address, a loopback or a router ID."""
    seen: dict[tuple[str, object], Object[SpecModel]] = {}
    for box in fleet.boxes.values():
        spec = box.spec
        values = {
            ("underlay", "address"): spec.underlay.address.ip,
            ("loopback",): spec.loopback,
            ("routerId",): spec.router_id,
        }
        for path, value in values.items():
            if value is None:
                continue
            first = seen.setdefault((path[-1], value), box)
            if first is not box:
                yield box.finding(path, f"{value} is also that of {first.ref} ({first.at(*path)})")


def tunnels_do_not_collide(fleet: Fleet) -> Iterator[Finding]:
    """On each box, a VNI, a bridge name and a gateway address serve one tunnel."""
    seen: dict[tuple[str, str, object], Object[SpecModel]] = {}
    for tunnel in fleet.tunnels.values():
        spec = tunnel.spec
        for name in fleet.select(spec.boxes):
            underlay = fleet.boxes[name].spec.underlay.interface
            claims: list[tuple[tuple[str, ...], str, object]] = [
                (("vni",), "VNI", spec.vni),
                (("bridge",), "interface name", spec.bridge_name),
                (("vni",), "interface name", spec.link_name),
            ]
            if name in spec.gateways:
                claims.append((("gateways", name), "address", spec.gateways[name].ip))
            for path, what, value in claims:
                first = seen.setdefault((name, what, value), tunnel)
                if first is not tunnel:
                    where = first.at(*path)
                    yield tunnel.finding(
                        path, f"{what} {value} on {name} is also that of {first.ref} ({where})"
                    )
            if spec.bridge_name in {spec.link_name, underlay, "lo"}:
                yield tunnel.finding(("bridge",), f"{spec.bridge_name} is another interface of {name}")


def routers_are_whole(fleet: Fleet) -> Iterator[Finding]:
    """Each box has at most one BGPRouter, and each BGPRouter an AS number and a router ID of its own."""
    by_box: dict[str, Object[SpecModel]] = {}
    by_id: dict[str, Object[SpecModel]] = {}
    for router in fleet.routers.values():
        if router.spec.box not in fleet.boxes:
            continue
        first = by_box.setdefault(router.spec.box, router)
        if first is not router:
            yield router.finding(("box",), f"{router.spec.box} already has {first.ref} ({first.at('box')})")
        if fleet.asn_of(router) is None:
            yield router.finding(("asn",), f"give asn here or in Box/{router.spec.box}")
        router_id = fleet.router_id_of(router)
        if router_id is None:
            yield router.finding(
                ("routerId",), f"give routerId here, or routerId or loopback in Box/{router.spec.box}"
            )
            continue
        other = by_id.setdefault(router_id, router)
        if other is not router:
            yield router.finding(
                ("routerId",), f"{router_id} is also that of {other.ref} ({other.at('box')})"
            )


def sessions_have_two_ends(fleet: Fleet) -> Iterator[Finding]:
    """A BGPPeer joins the BGPRouters of two different boxes, and no two join the same addresses."""
    seen: dict[frozenset[object], Object[SpecModel]] = {}
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
        addresses = frozenset(e.address or fleet.boxes[e.box].spec.underlay.address.ip for e in ends)
        first = seen.setdefault(addresses, peer)
        if first is not peer:
            yield peer.finding(("between",), f"the same session as {first.ref} ({first.at('between')})")


RULES: tuple[Rule, ...] = (
    boxes_exist,
    traced_tunnels_exist,
    box_addresses_are_unique,
    tunnels_do_not_collide,
    routers_are_whole,
    sessions_have_two_ends,
)
