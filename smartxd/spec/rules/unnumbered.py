"""Unnumbered sessions: over a link that can carry one, between its two ends, and alone on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Location, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, BoxEnd
from smartxd.spec.kinds.bridge import BridgeSpec
from smartxd.spec.kinds.tunnel import TunnelSpec
from smartxd.spec.names import both_match

LINK = Rule(
    "SX423",
    "unnumbered-link",
    "The interface of an unnumbered session is a link of its box that has neighbours of its own.",
    "FRR finds the other end by the router advertisements that come in on the link. `lo` has no other"
    " end, and a port of a switch hands all that comes in to its switch: name the switch instead. On a"
    " management interface FRR's own advertisements would offer the box as a router.",
)
APART = Rule(
    "SX424",
    "unnumbered-apart",
    "Both ends of an unnumbered session are on one link, and no other such session is on it.",
    "FRR takes for the neighbour who sends router advertisements on the link: over two links the ends never"
    " hear each other, and with other speakers on it they hear the wrong one. Give the ends addresses, or"
    " each session a link of two.",
)

_Switches = dict[str, list[Object[TunnelSpec] | Object[BridgeSpec]]]


def links_can_carry_sessions(fleet: Fleet) -> Iterator[Finding]:
    """The interface of an unnumbered end is there, is no port and has another end."""
    switches = _switches(fleet)
    tunnels = {tunnel.spec.link_name: tunnel for tunnel in fleet.tunnels.values()}
    for peer in fleet.peers.values():
        for i, end in enumerate(peer.spec.between):
            if not isinstance(end, BoxEnd) or end.interface is None or end.box not in fleet.boxes:
                continue
            makers = switches.get(end.interface, [])
            if end.interface == "lo":
                message = "lo leads to no other box; give both ends their loopbacks as address"
                yield peer.finding(LINK, ("between", i, "interface"), message)
            elif (tunnel := tunnels.get(end.interface)) is not None:
                bridge = fleet.bridges.get(tunnel.spec.bridge_ref or "")
                switch = tunnel.spec.own_bridge or (bridge.spec.interface if bridge else "its switch")
                message = f"{end.interface} is the VXLAN link of {tunnel.ref}, a port of {switch}; name that"
                yield peer.finding(LINK, ("between", i, "interface"), message, other=tunnel.at("vni"))
            elif makers and not any(end.box in fleet.members(maker) for maker in makers):
                at = makers[0].at("boxes")
                message = f"{end.box} is not one of the boxes of {makers[0].ref} ({at}), whose switch it is"
                yield peer.finding(LINK, ("between", i, "interface"), message, other=at)
            elif (kept := _kept(fleet, end.box, end.interface)) is not None:
                message, at = kept
                yield peer.finding(LINK, ("between", i, "interface"), message, other=at)


def _switches(fleet: Fleet) -> _Switches:
    """What makes the virtual switches of the fleet, by their names."""
    found: _Switches = {}
    for tunnel in fleet.tunnels.values():
        if tunnel.spec.own_bridge is not None:
            found.setdefault(tunnel.spec.own_bridge, []).append(tunnel)
    for bridge in fleet.bridges.values():
        if bridge.spec.mode == "managed":
            found.setdefault(bridge.spec.interface, []).append(bridge)
    return found


def _kept(fleet: Fleet, name: str, interface: str) -> tuple[str, Location] | None:
    """For what else an interface of a box is, in words, and where that is said."""
    box = fleet.boxes[name]
    if interface == box.spec.underlay.interface:
        return None
    management = box.spec.management
    if management is not None and interface in management.interfaces:
        at = box.at("management", "interfaces", management.interfaces.index(interface))
        return f"{interface} is a management interface of {box.ref} ({at})", at
    for port in fleet.on("Port", name):
        for i, pattern in enumerate(port.spec.interfaces):
            # Of a name that is meant for veths of a namespace there may be another link too.
            if port.spec.namespace is None and both_match(pattern, interface):
                at = port.at("interfaces", i)
                return f"{interface} is a port of a switch by {port.ref} ({at})", at
    return None


def ends_share_a_link(fleet: Fleet) -> Iterator[Finding]:
    """Where the specs know the links of both ends they are one, with one session on it."""
    first: dict[str, Object[BGPPeerSpec]] = {}
    for peer in fleet.peers.values():
        if peer.spec.shutdown is not None:
            continue
        known = [segment for end in peer.spec.box_ends if (segment := _segment(fleet, end)) is not None]
        if len(set(known)) > 1:
            message = f"{known[0]} and {known[1]} are different links"
            yield peer.finding(APART, ("between",), message)
            continue
        # Of the underlay the specs do not know which boxes it joins without a router.
        for segment in set(known) - {"underlay"}:
            if (other := first.setdefault(segment, peer)) is not peer:
                at = other.at("between")
                message = f"{segment} is already the link of {other.ref} ({at})"
                yield peer.finding(APART, ("between",), message, other=at)


def _segment(fleet: Fleet, end: BoxEnd) -> str | None:
    """What the link of an end is part of; None where the specs do not know, as of a Bridge with ports."""
    if end.interface is None or end.box not in fleet.boxes:
        return None
    if end.interface == fleet.boxes[end.box].spec.underlay.interface:
        return "underlay"
    tunnels = fleet.on("Tunnel", end.box)
    return next((str(tunnel.ref) for tunnel in tunnels if tunnel.spec.own_bridge == end.interface), None)


RULES: tuple[Rule, ...] = (LINK, APART)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (links_can_carry_sessions, ends_share_a_link)
