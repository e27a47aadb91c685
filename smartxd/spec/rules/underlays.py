"""Overlays over their underlay: family, MTU, multicast groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv6Address

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.tunnel import MulticastFlood, TunnelSpec
from smartxd.spec.places import Path

OVERLAY_MTU = Rule(
    "SX311",
    "overlay-mtu",
    "The packets of an overlay fit into those of the underlay of each of its boxes.",
    "VXLAN adds 50 bytes over IPv4 and 70 over IPv6 (RFC 7348), and VTEPs do not fragment: what is too"
    " large is dropped, and sessions hang once they send much. Lower `mtu`, raise the underlay's, or leave"
    " it to `auto`.",
)
UNEQUAL_MTU = Rule(
    "SX312",
    "unequal-mtu",
    "The boxes of a tunnel agree in the MTU of the overlay.",
    "A bridge neither fragments nor answers: a frame that is larger than the far end takes is dropped"
    " there. With `mtu: auto` each box takes its own underlay's room; where underlays differ give the"
    " smallest as `mtu`.",
    severity=Severity.WARNING,
)
UNDERLAY_FAMILY = Rule(
    "SX313",
    "underlay-family",
    "Each box of a tunnel has an underlay address of the tunnel's family.",
    "It is the VTEP's address: without one the box can neither send nor receive the tunnel's packets."
    " Give the Box `underlay.address` or `underlay.address6`, or the tunnel the other `underlay`.",
    fixed=True,
)
GROUP_SHARED = Rule(
    "SX314",
    "group-shared",
    "Each tunnel floods to a multicast group of its own.",
    "Tunnels with different VNIs may share a group, but then each box receives and discards the flooded"
    " frames of the others. Mostly it is a copy that was not changed; where it is on purpose silence the"
    " rule.",
    severity=Severity.WARNING,
)
MULTICAST_REACH = Rule(
    "SX315",
    "multicast-reach",
    "Multicast of a tunnel reaches all of its boxes.",
    "Boxes in different subnets have routers between them: each takes one from the TTL, and none passes"
    " on an IPv6 group whose scope (RFC 4291, section 2.7) ends before. Raise `ttl`, or choose a group of"
    " a wider scope.",
)
LONE_MEMBER = Rule(
    "SX316",
    "lone-member",
    "A tunnel joins at least two boxes.",
    "With one box there is nobody to tunnel to. If that is on purpose, because the others come later,"
    " silence it.",
    severity=Severity.NOTE,
)


def overlays_fit_their_underlays(fleet: Fleet) -> Iterator[Finding]:
    """An overlay's packets fit into those of the underlay of each of its boxes."""
    for tunnel in fleet.tunnels.values():
        mtu = tunnel.spec.mtu
        if mtu == "auto":
            yield from _unequal(fleet, tunnel)
            continue
        for name in fleet.members(tunnel):
            box = fleet.boxes[name]
            room = box.spec.underlay.mtu - tunnel.spec.overhead_bytes
            if mtu > room:
                at = box.at("underlay", "mtu")
                message = f"{mtu} is more than the {room} that {box.ref} has room for ({at})"
                yield tunnel.finding(OVERLAY_MTU, ("mtu",), message, other=at)
                break
    yield from _bridges_fit(fleet)


def _unequal(fleet: Fleet, tunnel: Object[TunnelSpec]) -> Iterator[Finding]:
    members = [fleet.boxes[name] for name in fleet.members(tunnel)]
    least = min(members, key=lambda box: box.spec.underlay.mtu, default=None)
    most = max(members, key=lambda box: box.spec.underlay.mtu, default=None)
    if least is None or most is None or least.spec.underlay.mtu == most.spec.underlay.mtu:
        return
    at = least.at("underlay", "mtu")
    small, large = (box.spec.underlay.mtu - tunnel.spec.overhead_bytes for box in (least, most))
    message = f"auto is {large} on {most.ref}, but {small} on {least.ref} ({at}); give mtu: {small}"
    path: Path = ("mtu",) if "mtu" in tunnel.spec.model_fields_set else ()
    yield tunnel.finding(UNEQUAL_MTU, path, message, other=at)


def _bridges_fit(fleet: Fleet) -> Iterator[Finding]:
    for tunnel in fleet.tunnels.values():
        bridge = fleet.bridges.get(tunnel.spec.bridge_ref or "")
        if bridge is None or not isinstance(bridge.spec.mtu, int):
            continue
        shared = fleet.member_set(bridge) & fleet.member_set(tunnel)
        rooms = [fleet.boxes[n].spec.underlay.mtu - tunnel.spec.overhead_bytes for n in sorted(shared)]
        room = tunnel.spec.mtu if isinstance(tunnel.spec.mtu, int) else min(rooms, default=None)
        if room is not None and bridge.spec.mtu > room:
            at = bridge.at("mtu")
            message = (
                f"{bridge.ref} takes packets of {bridge.spec.mtu} bytes ({at}), the tunnel only of {room}"
            )
            yield tunnel.finding(OVERLAY_MTU, ("bridgeRef",), message, other=at)


def members_have_the_family(fleet: Fleet) -> Iterator[Finding]:
    """Each box of a tunnel has an underlay address of its family."""
    for tunnel in fleet.tunnels.values():
        for name in fleet.members(tunnel):
            box = fleet.boxes[name]
            if box.spec.underlay_address(tunnel.spec.underlay) is None:
                at = box.at("underlay")
                message = f"{box.ref} has no {tunnel.spec.underlay} underlay address ({at})"
                path: Path = ("underlay",) if "underlay" in tunnel.spec.model_fields_set else ("boxes",)
                yield tunnel.finding(UNDERLAY_FAMILY, path, message, other=at)
                break


def groups_are_not_shared(fleet: Fleet) -> Iterator[Finding]:
    """Each tunnel floods to a group of its own."""
    first: dict[object, Object[TunnelSpec]] = {}
    for tunnel in fleet.tunnels.values():
        if isinstance(flood := tunnel.spec.flood, MulticastFlood):
            other = first.setdefault(flood.group, tunnel)
            if other is not tunnel:
                at = other.at("flood", "group")
                message = f"{flood.group} is also the group of {other.ref} ({at})"
                yield tunnel.finding(GROUP_SHARED, ("flood", "group"), message, other=at)


def multicast_reaches_all(fleet: Fleet) -> Iterator[Finding]:
    """Where boxes of a tunnel are in different subnets, multicast passes routers."""
    for tunnel in fleet.tunnels.values():
        flood = tunnel.spec.flood
        if not isinstance(flood, MulticastFlood):
            continue
        addresses = {
            name: address
            for name in fleet.members(tunnel)
            if (address := fleet.boxes[name].spec.underlay_address(tunnel.spec.underlay)) is not None
        }
        near = next(iter(addresses), None)
        far = next((n for n in addresses if addresses[n].network != addresses[near or n].network), None)
        if near is None or far is None:
            continue
        apart = f"{addresses[near]} of Box/{near} and {addresses[far]} of Box/{far} are in different subnets"
        if tunnel.spec.ttl == 1:
            yield tunnel.finding(MULTICAST_REACH, ("ttl",), f"{apart}, which a TTL of 1 does not leave")
        # Scopes 3 and 4 are of a realm and of an administration: routers may pass them on, 5 and up do.
        if isinstance(flood.group, IPv6Address) and flood.group.packed[1] & 0x0F < 4:
            message = (
                f"{apart}, which the scope of {flood.group} does not leave; use one of ff05::/16 or ff08::/16"
            )
            yield tunnel.finding(MULTICAST_REACH, ("flood", "group"), message)


def tunnels_join_boxes(fleet: Fleet) -> Iterator[Finding]:
    """A tunnel joins at least two boxes."""
    for tunnel in fleet.tunnels.values():
        members = fleet.members(tunnel)
        if len(members) == 1:
            yield tunnel.finding(LONE_MEMBER, ("boxes",), f"{members[0]} is its only box")


RULES: tuple[Rule, ...] = (
    OVERLAY_MTU,
    UNEQUAL_MTU,
    UNDERLAY_FAMILY,
    GROUP_SHARED,
    MULTICAST_REACH,
    LONE_MEMBER,
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    overlays_fit_their_underlays,
    members_have_the_family,
    groups_are_not_shared,
    multicast_reaches_all,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (tunnels_join_boxes,)
