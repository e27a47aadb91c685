"""Bridges, ports and VLANs: what plugs into what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from smartxd.objects import ObjectRef
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.port import PortSpec
from smartxd.spec.names import Names, both_match, ends, is_pattern

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
    "No interface matches two names or patterns of the Ports of a box.",
    "An interface plugs into one switch. When one appears that two Ports match, which of the two gets"
    " it would be chance. Make the patterns narrower, or tell them apart by `namespace`. Within one Port a"
    " second pattern for the same names does nothing, and mostly it was to be another.",
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
    """No name matches the patterns of two Ports of a box, nor two patterns of one Port."""
    said: set[tuple[ObjectRef, int]] = set()
    judged: set[tuple[ObjectRef, ...]] = set()
    for box in fleet.boxes:
        ports: tuple[Object[PortSpec], ...] = fleet.on("Port", box)
        if (refs := tuple(port.ref for port in ports)) in judged:
            continue
        judged.add(refs)
        given = [_Given(port, i, name) for port in ports for i, name in enumerate(port.spec.interfaces)]
        for later, earlier in _meeting(given):
            if (later.port.ref, later.at) not in said:
                said.add((later.port.ref, later.at))
                at = earlier.port.at("interfaces", earlier.at)
                whose = f" of {earlier.port.ref}" if earlier.port is not later.port else ""
                message = f"{later.name} and {earlier.name}{whose} ({at}) match the same names"
                yield later.port.finding(PORT_TWICE, ("interfaces", later.at), message, other=at)


class _Given(NamedTuple):
    """A name or pattern, where a Port gives it."""

    port: Object[PortSpec]
    at: int
    name: str

    def meets(self, other: _Given) -> bool:
        """Whether an interface may match both."""
        namespaces = {self.port.spec.namespace, other.port.spec.namespace}
        return (len(namespaces) == 1 or None in namespaces) and both_match(self.name, other.name)


def _meeting(given: list[_Given]) -> Iterator[tuple[_Given, _Given]]:
    """Pairs that a name matches, the later of the two first; of plain names each with the first like it."""
    patterns = [one for one in given if is_pattern(one.name)]
    shapes = [ends(one.name) for one in patterns]
    for n, (later, (bits, mask)) in enumerate(zip(patterns, shapes, strict=True)):
        # Most do not meet at a look, and there may be very many pairs.
        near = (i for i, (b, k) in enumerate(shapes[:n]) if not (b ^ bits) & k & mask)
        yield from ((later, patterns[i]) for i in near if later.meets(patterns[i]))
    plain: dict[str, dict[str | None, _Given]] = {}
    for one in given:
        if not is_pattern(one.name):
            known, namespace = plain.setdefault(one.name, {}), one.port.spec.namespace
            same = [known.get(namespace), known.get(None)] if namespace is not None else known.values()
            yield from ((one, first) for first in same if first is not None)
            known.setdefault(namespace, one)
    names = Names(plain)
    place = {(one.port.ref, one.at): n for n, one in enumerate(given)}
    for pattern in patterns:
        for one in (one for name in names.matching(pattern.name) for one in plain[name].values()):
            if one.meets(pattern):
                later_first = sorted((one, pattern), key=lambda k: place[k.port.ref, k.at], reverse=True)
                yield later_first[0], later_first[1]


def ports_leave_links_of_smartxd(fleet: Fleet) -> Iterator[Finding]:
    """No pattern of a Port matches an interface that smartxd makes on one of its boxes."""
    for port, i, (name, owner, box) in matched(fleet, lambda box: _made(fleet, box)):
        at = owner.at()
        message = f"{port.spec.interfaces[i]} matches {name} of {owner.ref} on {box} ({at})"
        yield port.finding(PORT_TAKES_OWN, ("interfaces", i), message, other=at)


def _made(fleet: Fleet, box: str) -> Iterator[tuple[str, Object[Any], str]]:
    return ((name, owner, box) for name, owner in fleet.made_on(box).items())


_Named = TypeVar("_Named", bound=tuple[Any, ...])


def matched(
    fleet: Fleet, of_box: Callable[[str], Iterable[_Named]]
) -> Iterator[tuple[Object[PortSpec], int, _Named]]:
    """Each name or pattern of a Port that matches an interface of a box, with the first that it matches.

    ``of_box`` tells the interfaces of a box, each with its name first.
    """
    said: set[tuple[ObjectRef, int]] = set()
    for box in fleet.boxes:
        ports: tuple[Object[PortSpec], ...] = fleet.on("Port", box)
        if not ports:
            continue
        by_name: dict[str, _Named] = {}
        for one in of_box(box):
            by_name.setdefault(one[0], one)
        names = Names(by_name)
        for port in ports:
            for i, pattern in enumerate(port.spec.interfaces):
                name = None if (port.ref, i) in said else next(names.matching(pattern), None)
                if name is not None:
                    said.add((port.ref, i))
                    yield port, i, by_name[name]


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
