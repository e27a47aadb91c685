"""What objects name is declared: boxes, tunnels, bridges, sessions, lists and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Hints, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BoxEnd, Policy
from smartxd.spec.places import Path

UNKNOWN_BOX = Rule(
    "SX101",
    "unknown-box",
    "Each Box that an object names is declared.",
    "A box that is not declared has no address to build a tunnel or a session to. Declare the Box, or correct"
    " the name; `metadata.name` of a Box is what `smartxd.toml` on the box calls it.",
    fixed=True,
)
EMPTY_SELECTOR = Rule(
    "SX102",
    "empty-selector",
    "A selector by labels chooses at least one Box.",
    "An object for no box is done nowhere, and mostly a label is misspelled here or in a Box. A Box carries"
    " labels in `metadata.labels`; all that the selector names have to match.",
)
UNKNOWN_OBJECT = Rule(
    "SX103",
    "unknown-object",
    "Each Tunnel, Bridge, session, list and map that an object names is declared.",
    "What does not exist cannot be plugged into, traced or applied; FRR takes a route map that is missing for"
    " one that lets nothing pass. Declare the object, or correct the name.",
    fixed=True,
)
NOT_A_MEMBER = Rule(
    "SX104",
    "not-a-member",
    "What an object says of a box is about one of its own boxes, and what it plugs into is there on each.",
    "A gateway, an address or a host of a box that is not part of the segment would be left out in"
    " silence, and a port cannot plug into a switch that its box does not have. Add the box to the object"
    " that lacks it, or take it from the one that has it.",
    fixed=True,
)
UNUSED = Rule(
    "SX105",
    "unused",
    "Each list and map is used.",
    "A policy that no session, map or redistribution names has no effect. Use it, or remove it, so that"
    " nobody takes it for one that protects.",
    severity=Severity.NOTE,
)


@dataclass(frozen=True, slots=True)
class _Reference:
    """A field of an object that names another one."""

    by: Object[Any]
    path: Path
    kind: str
    name: str


def boxes_exist(fleet: Fleet) -> Iterator[Finding]:
    """Each Box that is named is declared, and a selector chooses at least one."""
    hints = Hints(fleet.boxes)
    for reference in _references(fleet):
        if reference.kind == "Box" and reference.name not in fleet.boxes:
            message = f"no Box is named {reference.name}{hints(reference.name)}"
            yield reference.by.finding(UNKNOWN_BOX, reference.path, message)
    labels = {f"{k}: {v}" for box in fleet.boxes.values() for k, v in box.metadata.labels.items()}
    hints = Hints(labels)
    for obj in _selecting(fleet):
        wanted = obj.spec.boxes.match_labels
        if wanted is not None and not fleet.members(obj):
            unknown = next((said for k, v in wanted.items() if (said := f"{k}: {v}") not in labels), None)
            message = f"no Box carries {'these labels' if len(wanted) > 1 else 'this label'}"
            hint = hints(unknown) if unknown is not None else ""
            yield obj.finding(EMPTY_SELECTOR, ("boxes", "matchLabels"), message + hint)


def objects_exist(fleet: Fleet) -> Iterator[Finding]:
    """Each other object that is named is declared."""
    hints: dict[str, Hints] = {}
    for reference in _references(fleet):
        known = fleet.objects.get(reference.kind, {})
        if reference.kind != "Box" and reference.name not in known:
            if reference.kind not in hints:
                hints[reference.kind] = Hints(known)
            hint = hints[reference.kind](reference.name)
            message = f"no {reference.kind} is named {reference.name}{hint}"
            yield reference.by.finding(UNKNOWN_OBJECT, reference.path, message)


def members_are_members(fleet: Fleet) -> Iterator[Finding]:
    """What is said of a box is about one of the object's boxes."""
    for tunnel in fleet.tunnels.values():
        hosts = ((("hosts", i, "box"), host.box) for i, host in enumerate(tunnel.spec.hosts))
        gateways = ((("gateways", name), name) for name in tunnel.spec.gateways)
        told = ((("flood", "routeDistinguishers", name), name) for name in tunnel.spec.route_distinguishers)
        yield from _strangers(fleet, tunnel, (*gateways, *hosts, *told))
    for bridge in fleet.bridges.values():
        yield from _strangers(fleet, bridge, ((("addresses", name), name) for name in bridge.spec.addresses))
    for tunnel in fleet.tunnels.values():
        yield from _lacking(fleet, tunnel, "bridgeRef", fleet.bridges.get(tunnel.spec.bridge_ref or ""))
    for port in fleet.ports.values():
        yield from _lacking(fleet, port, "tunnel", fleet.tunnels.get(port.spec.tunnel or ""))
        yield from _lacking(fleet, port, "bridge", fleet.bridges.get(port.spec.bridge or ""))


def _strangers(fleet: Fleet, obj: Object[Any], named: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    """What an object says of a box that exists and is none of its own."""
    members = fleet.member_set(obj)
    for path, name in named:
        if name in fleet.boxes and name not in members:
            yield obj.finding(
                NOT_A_MEMBER, path, f"{name} is not one of the boxes of {obj.ref}", other=obj.at("boxes")
            )


def _lacking(fleet: Fleet, obj: Object[Any], field: str, target: Object[Any] | None) -> Iterator[Finding]:
    """What an object plugs into, where a box of its own does not have it."""
    if target is None:
        return
    lacking = sorted(fleet.member_set(obj) - fleet.member_set(target))
    if lacking:
        others = f" and {len(lacking) - 1} more" * (len(lacking) > 1)
        at = target.at("boxes")
        message = f"{lacking[0]}{others} of {obj.ref} is not one of the boxes of {target.ref} ({at})"
        yield obj.finding(NOT_A_MEMBER, (field,), message, other=at)


def everything_is_used(fleet: Fleet) -> Iterator[Finding]:
    """Each list and map is named by something."""
    used = {(reference.kind, reference.name) for reference in _references(fleet)}
    for kind in ("PrefixList", "RouteMap", "CommunityList", "ASPathList"):
        for obj in fleet.objects.get(kind, {}).values():
            if (kind, obj.ref.name) not in used:
                yield obj.finding(UNUSED, (), f"nothing uses {obj.ref}")


def _selecting(fleet: Fleet) -> Iterator[Object[Any]]:
    for kind in ("Tunnel", "Bridge", "Port", "Route", "TracePolicy"):
        yield from fleet.objects.get(kind, {}).values()


def _references(fleet: Fleet) -> Iterator[_Reference]:
    """Every reference of every object."""
    for obj in _selecting(fleet):
        for i, name in enumerate(obj.spec.boxes.names or ()):
            yield _Reference(obj, ("boxes", "names", i), "Box", name)
    for kind, references in _OF_KIND.items():
        for obj in fleet.objects.get(kind, {}).values():
            for path, target, found in references(obj.spec):
                if found is not None:
                    yield _Reference(obj, path, target, found)


_Named = Iterator[tuple[Path, str, str | None]]
"""Where a name stands, of which kind it is, and the name, if one is given."""


def _of_tunnel(spec: Any) -> _Named:
    yield ("bridgeRef",), "Bridge", spec.bridge_ref
    for name in spec.gateways:
        yield ("gateways", name), "Box", name
    for i, host in enumerate(spec.hosts):
        yield ("hosts", i, "box"), "Box", host.box
    for name in spec.route_distinguishers:
        yield ("flood", "routeDistinguishers", name), "Box", name


def _of_bridge(spec: Any) -> _Named:
    for name in spec.addresses:
        yield ("addresses", name), "Box", name


def _of_port(spec: Any) -> _Named:
    yield ("tunnel",), "Tunnel", spec.tunnel
    yield ("bridge",), "Bridge", spec.bridge


def _of_router(spec: Any) -> _Named:
    yield ("box",), "Box", spec.box
    for i, entry in enumerate(spec.redistribute):
        yield ("redistribute", i, "routeMap"), "RouteMap", entry.route_map


def _of_peer(spec: Any) -> _Named:
    for i, end in enumerate(spec.between):
        if isinstance(end, BoxEnd):
            yield ("between", i, "box"), "Box", end.box
            yield from _of_policy(("between", i, "in"), end.inbound)
            yield from _of_policy(("between", i, "out"), end.outbound)


def _of_policy(path: Path, policy: Policy) -> _Named:
    yield (*path, "routeMap"), "RouteMap", policy.route_map
    yield (*path, "asPathList"), "ASPathList", policy.as_path_list
    for i, name in enumerate(policy.prefix_lists):
        yield (*path, "prefixLists", i), "PrefixList", name


def _of_route_map(spec: Any) -> _Named:
    for i, entry in enumerate(spec.entries):
        match: Path = ("entries", i, "match")
        yield (*match, "prefixList"), "PrefixList", entry.match.prefix_list
        yield (*match, "nextHopPrefixList"), "PrefixList", entry.match.next_hop_prefix_list
        yield (*match, "communityList"), "CommunityList", entry.match.community_list
        yield (*match, "asPathList"), "ASPathList", entry.match.as_path_list
        yield ("entries", i, "set", "deleteCommunities"), "CommunityList", entry.set.delete_communities
        yield ("entries", i, "call"), "RouteMap", entry.call


def _of_trace_policy(spec: Any) -> _Named:
    for i, point in enumerate(spec.interfaces):
        yield ("interfaces", i, "tunnel"), "Tunnel", point.tunnel
        yield ("interfaces", i, "peer"), "BGPPeer", point.peer


_OF_KIND: Mapping[str, Callable[[Any], _Named]] = {
    "Tunnel": _of_tunnel,
    "Bridge": _of_bridge,
    "Port": _of_port,
    "BGPRouter": _of_router,
    "BGPPeer": _of_peer,
    "RouteMap": _of_route_map,
    "TracePolicy": _of_trace_policy,
}


RULES: tuple[Rule, ...] = (UNKNOWN_BOX, EMPTY_SELECTOR, UNKNOWN_OBJECT, NOT_A_MEMBER, UNUSED)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (members_are_members,)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    boxes_exist,
    objects_exist,
    everything_is_used,
)
