"""Bridges, ports and VLANs: what plugs into what."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.port import PortSpec
from smartxd.spec.names import both_match

VLAN_UNAWARE = Rule(
    "SX331",
    "vlan-unaware",
    "VLANs are named where the switch knows VLANs, and only there.",
    "A bridge without VLAN filtering forwards every frame to every port, whatever VLAN was meant; one"
    " with it drops the frames of a port that has none. The switch that a tunnel makes for itself knows no"
    " VLANs: declare a Bridge with `vlanAware: true` and plug into it by `bridgeRef`.",
)
TRUNK_OVERLAP = Rule(
    "SX332",
    "trunk-overlap",
    "A trunk names each VLAN once.",
    "A VLAN in two ranges, or as native and tagged at once, is mostly a slip in a number; which of the"
    " two was meant cannot be told.",
)
PORT_TWICE = Rule(
    "SX333",
    "port-twice",
    "No interface matches two Ports of a box.",
    "An interface plugs into one switch. When one appears that two patterns match, which of the two gets"
    " it would be chance. Make the patterns narrower, or tell them apart by `namespace`.",
)
PORT_TAKES_OWN = Rule(
    "SX334",
    "port-takes-own",
    "A Port matches no interface that smartxd makes.",
    "The VXLAN links and switches of tunnels and Bridges have their places already; a pattern that"
    " matches one would move it to another switch.",
)
VLAN_LINK_NAME = Rule(
    "SX335",
    "vlan-link-name",
    "The name of a Bridge leaves room for its links in VLANs.",
    "The gateways of a tunnel in a VLAN are on a link of the Bridge in that VLAN, `<interface>.<vlan>`, and"
    " the kernel's names end at 15 bytes. Make `interface` of the Bridge shorter.",
    fixed=True,
)
GATEWAY_OF_OTHERS = Rule(
    "SX336",
    "gateway-of-others",
    "A tunnel that plugs into an external Bridge has no gateways.",
    "Its addresses, its MAC address and its VLANs would be changed, and smartxd never changes an external"
    " bridge. Give the bridge its addresses where it is made, or declare a managed one.",
    fixed=True,
)
_NAME_BYTES_MAX = 15


def vlans_are_known(fleet: Fleet) -> Iterator[Finding]:
    """What plugs into a VLAN-aware Bridge names a VLAN, and nothing else does."""
    for tunnel in fleet.tunnels.values():
        bridge = fleet.bridges.get(tunnel.spec.bridge_ref or "")
        if bridge is not None:
            yield from _vlan(tunnel, bridge, "bridgeRef", "vlan" if tunnel.spec.vlan is not None else "")
    for port in fleet.ports.values():
        given = "access" if port.spec.access is not None else "trunk" if port.spec.trunk is not None else ""
        tunnel_of = fleet.tunnels.get(port.spec.tunnel or "")
        bridge = fleet.bridges.get(
            port.spec.bridge or (tunnel_of.spec.bridge_ref if tunnel_of is not None else None) or ""
        )
        if bridge is not None:
            yield from _vlan(port, bridge, "bridge" if port.spec.bridge else "tunnel", given)
        elif tunnel_of is not None and given:
            message = f"{tunnel_of.ref} makes its own switch, which knows no VLANs"
            yield port.finding(VLAN_UNAWARE, (given,), message)


def _vlan(obj: Object[Any], bridge: Object[Any], field: str, given: str) -> Iterator[Finding]:
    if bool(given) == bridge.spec.vlan_aware:
        return
    at = bridge.at("vlanAware")
    if given:
        yield obj.finding(VLAN_UNAWARE, (given,), f"{bridge.ref} knows no VLANs ({at})", other=at)
    else:
        wanted = "vlan" if obj.ref.kind == "Tunnel" else "access or trunk"
        message = f"{bridge.ref} is VLAN-aware ({at}); give {wanted}"
        yield obj.finding(VLAN_UNAWARE, (field,), message, other=at)


def links_in_vlans_have_names(fleet: Fleet) -> Iterator[Finding]:
    """The link that has a tunnel's gateways has a name that the kernel takes."""
    for tunnel in fleet.tunnels.values():
        bridge = fleet.bridges.get(tunnel.spec.bridge_ref or "")
        for name in fleet.made_by(tunnel):
            if bridge is not None and len(name.encode()) > _NAME_BYTES_MAX:
                at = bridge.at("interface")
                message = f"its gateways are on {name}, of more than {_NAME_BYTES_MAX} bytes; shorten"
                message += f" {bridge.spec.interface} of {bridge.ref} ({at})"
                yield tunnel.finding(VLAN_LINK_NAME, ("vlan",), message, other=at)


def external_bridges_have_no_gateways(fleet: Fleet) -> Iterator[Finding]:
    """Nothing is asked of an external Bridge but to take a tunnel."""
    for tunnel in fleet.tunnels.values():
        bridge = fleet.bridges.get(tunnel.spec.bridge_ref or "")
        if bridge is None or bridge.spec.mode != "external":
            continue
        given = {"gateways": tunnel.spec.gateways, "anycastGateway": tunnel.spec.anycast_gateway}
        for field in (name for name, value in given.items() if value):
            at = bridge.at("mode")
            message = f"{bridge.ref} is external ({at}); smartxd gives it no addresses"
            yield tunnel.finding(GATEWAY_OF_OTHERS, (field,), message, other=at)


def trunks_name_a_vlan_once(fleet: Fleet) -> Iterator[Finding]:
    """The ranges of a trunk are apart, and its native VLAN is in none."""
    for port in fleet.ports.values():
        trunk = port.spec.trunk
        if trunk is None:
            continue
        ranges = sorted((first, last, i) for i, (first, last) in enumerate(trunk.vlans))
        for (_, end, _), (start, _, i) in pairwise(ranges):
            if start <= end:
                yield port.finding(TRUNK_OVERLAP, ("trunk", "vlans", i), f"VLAN {start} is in two ranges")
        if trunk.native is not None and any(first <= trunk.native <= last for first, last, _ in ranges):
            message = f"VLAN {trunk.native} is also tagged"
            yield port.finding(TRUNK_OVERLAP, ("trunk", "native"), message)


def ports_match_apart(fleet: Fleet) -> Iterator[Finding]:
    """No name matches the patterns of two Ports of a box."""
    said: set[tuple[int, int]] = set()
    for box in fleet.boxes:
        ports: tuple[Object[PortSpec], ...] = fleet.on("Port", box)
        for j, later in enumerate(ports):
            for earlier in ports[:j]:
                if (id(earlier), id(later)) not in said:
                    said.add((id(earlier), id(later)))
                    yield from _shared(earlier, later)


def _shared(earlier: Object[PortSpec], later: Object[PortSpec]) -> Iterator[Finding]:
    namespaces = {earlier.spec.namespace, later.spec.namespace}
    if len(namespaces) == 2 and None not in namespaces:
        return
    for i, pattern in enumerate(later.spec.interfaces):
        for k, other in enumerate(earlier.spec.interfaces):
            if both_match(pattern, other):
                at = earlier.at("interfaces", k)
                message = f"{pattern} and {other} of {earlier.ref} ({at}) match the same names"
                yield later.finding(PORT_TWICE, ("interfaces", i), message, other=at)
                break


def ports_leave_links_of_smartxd(fleet: Fleet) -> Iterator[Finding]:
    """No pattern of a Port matches an interface that smartxd makes on one of its boxes."""
    names = {box: list(fleet.made_on(box)) for box in fleet.boxes}
    for port in fleet.ports.values():
        for i, pattern in enumerate(port.spec.interfaces):
            taken = next(
                ((n, box) for box in fleet.members(port) for n in _matching(names[box], pattern)), None
            )
            if taken is not None:
                name, box = taken
                owner = fleet.made_on(box)[name]
                at = owner.at()
                message = f"{pattern} matches {name} of {owner.ref} on {box} ({at})"
                yield port.finding(PORT_TAKES_OWN, ("interfaces", i), message, other=at)


def _matching(names: Sequence[str], pattern: str) -> Iterator[str]:
    """The names, of sorted ones, that a pattern matches: they begin as it does."""
    stem = re.split(r"[*?]", pattern, maxsplit=1)[0]
    for i in range(bisect_left(names, stem), len(names)):
        if not names[i].startswith(stem):
            break
        if both_match(pattern, names[i]):
            yield names[i]


RULES: tuple[Rule, ...] = (
    VLAN_UNAWARE,
    TRUNK_OVERLAP,
    PORT_TWICE,
    PORT_TAKES_OWN,
    VLAN_LINK_NAME,
    GATEWAY_OF_OTHERS,
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    vlans_are_known,
    links_in_vlans_have_names,
    external_bridges_have_no_gateways,
    trunks_name_a_vlan_once,
    ports_match_apart,
    ports_leave_links_of_smartxd,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
