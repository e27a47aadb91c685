"""All specs of a repo as one value, with selectors resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_interface
from typing import Any, NamedTuple

from smartxd.objects import ObjectRef
from smartxd.spec.addresses import Address, Interface
from smartxd.spec.envelope import Object
from smartxd.spec.fields import BoxSelector, SpecModel
from smartxd.spec.kinds.aspathlist import ASPathListSpec
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, BoxEnd, OutsideEnd
from smartxd.spec.kinds.bgprouter import BGPRouterSpec
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.bridge import NATIVE_VLAN, BridgeSpec
from smartxd.spec.kinds.checkpolicy import CheckPolicySpec
from smartxd.spec.kinds.communitylist import CommunityListSpec
from smartxd.spec.kinds.port import PortSpec
from smartxd.spec.kinds.prefixlist import PrefixListSpec
from smartxd.spec.kinds.route import RouteSpec
from smartxd.spec.kinds.routemap import RouteMapSpec
from smartxd.spec.kinds.tracepolicy import TracePolicySpec
from smartxd.spec.kinds.tunnel import TunnelSpec
from smartxd.spec.places import Path

Selecting = TunnelSpec | BridgeSpec | PortSpec | RouteSpec | TracePolicySpec
"""The kinds that say by a selector which boxes they are for."""


@dataclass(frozen=True, slots=True)
class Link:
    """An address of a box on one of its links, by the field that says so."""

    box: str
    segment: str
    """The broadcast domain that the link is part of: ``underlay``, ``loopback``, ``Tunnel/NAME`` for whatever
    the tunnel joins, or ``Bridge/NAME on BOX`` for a switch that no tunnel joins with others."""
    interface: str
    address: Interface
    by: Object[Any]
    path: Path

    def __str__(self) -> str:
        return f"{self.address} ({self.segment})"

    @property
    def overlay(self) -> bool:
        """Whether it is of a switch of the specs, not of what the box had before."""
        return self.segment not in ("underlay", "loopback")

    def reaches(self, other: Link) -> bool:
        """Whether two ends see each other without a router between them."""
        mine, theirs = self.address, other.address
        if self.segment != other.segment or mine.version != theirs.version or self.segment == "loopback":
            return False
        return theirs.ip in mine.network and mine.ip in theirs.network


class _Members(NamedTuple):
    """The boxes that a selector chooses."""

    names: tuple[str, ...]
    """Sorted."""
    found: frozenset[str]


@dataclass(frozen=True)
class Fleet:
    """Every object of a repo, by kind and name; each mapping in the order of names."""

    objects: Mapping[str, Mapping[str, Object[Any]]] = field(default_factory=dict)
    _chosen: dict[object, _Members] = field(default_factory=dict, compare=False, repr=False)
    """By what the selector says: many objects of a fleet say the same."""
    _members: dict[ObjectRef, _Members] = field(default_factory=dict, compare=False, repr=False)
    _links_at: dict[str, dict[Address, Link]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, objects: Iterable[Object[SpecModel]]) -> Fleet:
        """The fleet of these objects, whose references are unique."""
        by_kind: dict[str, dict[str, Object[Any]]] = {}
        for obj in sorted(objects, key=lambda o: o.ref):
            by_kind.setdefault(obj.ref.kind, {})[obj.ref.name] = obj
        return cls(by_kind)

    def _all(self, kind: str) -> Mapping[str, Object[Any]]:
        return self.objects.get(kind, {})

    @property
    def boxes(self) -> Mapping[str, Object[BoxSpec]]:
        """Each Box by name."""
        return self._all("Box")

    @property
    def tunnels(self) -> Mapping[str, Object[TunnelSpec]]:
        """Each Tunnel by name."""
        return self._all("Tunnel")

    @property
    def bridges(self) -> Mapping[str, Object[BridgeSpec]]:
        """Each Bridge by name."""
        return self._all("Bridge")

    @property
    def ports(self) -> Mapping[str, Object[PortSpec]]:
        """Each Port by name."""
        return self._all("Port")

    @property
    def routers(self) -> Mapping[str, Object[BGPRouterSpec]]:
        """Each BGPRouter by name."""
        return self._all("BGPRouter")

    @property
    def peers(self) -> Mapping[str, Object[BGPPeerSpec]]:
        """Each BGPPeer by name."""
        return self._all("BGPPeer")

    @property
    def prefix_lists(self) -> Mapping[str, Object[PrefixListSpec]]:
        """Each PrefixList by name."""
        return self._all("PrefixList")

    @property
    def route_maps(self) -> Mapping[str, Object[RouteMapSpec]]:
        """Each RouteMap by name."""
        return self._all("RouteMap")

    @property
    def community_lists(self) -> Mapping[str, Object[CommunityListSpec]]:
        """Each CommunityList by name."""
        return self._all("CommunityList")

    @property
    def as_path_lists(self) -> Mapping[str, Object[ASPathListSpec]]:
        """Each ASPathList by name."""
        return self._all("ASPathList")

    @property
    def routes(self) -> Mapping[str, Object[RouteSpec]]:
        """Each Route by name."""
        return self._all("Route")

    @property
    def policies(self) -> Mapping[str, Object[TracePolicySpec]]:
        """Each TracePolicy by name."""
        return self._all("TracePolicy")

    @property
    def check_policies(self) -> Mapping[str, Object[CheckPolicySpec]]:
        """Each CheckPolicy by name."""
        return self._all("CheckPolicy")

    def refs(self) -> tuple[ObjectRef, ...]:
        """All objects, sorted by kind and name."""
        return tuple(sorted(obj.ref for kind in self.objects.values() for obj in kind.values()))

    def select(self, selector: BoxSelector) -> tuple[str, ...]:
        """Names of the boxes that a selector chooses, sorted; names that are no box are left out."""
        return self._choose(selector).names

    def _choose(self, selector: BoxSelector) -> _Members:
        labels = (selector.match_labels or {}).items()
        said: object = selector.names if selector.names is not None else frozenset(labels)
        if said not in self._chosen:
            if selector.names is not None:
                found = frozenset(set(selector.names) & self.boxes.keys())
            else:
                carrying = sorted((self._by_label.get(label, frozenset()) for label in labels), key=len)
                found = frozenset.intersection(*carrying) if carrying else frozenset()
            self._chosen[said] = _Members(tuple(sorted(found)), found)
        return self._chosen[said]

    @cached_property
    def _by_label(self) -> dict[tuple[str, str], frozenset[str]]:
        names: dict[tuple[str, str], set[str]] = {}
        for name, box in self.boxes.items():
            for label in box.metadata.labels.items():
                names.setdefault(label, set()).add(name)
        return {label: frozenset(found) for label, found in names.items()}

    def members(self, obj: Object[Any]) -> tuple[str, ...]:
        """Names of the boxes that a selecting object (``Selecting``) is for, sorted."""
        return self._members_of(obj).names

    def member_set(self, obj: Object[Any]) -> frozenset[str]:
        """The same boxes, to be asked whether one is among them."""
        return self._members_of(obj).found

    def _members_of(self, obj: Object[Any]) -> _Members:
        if obj.ref not in self._members:
            self._members[obj.ref] = self._choose(obj.spec.boxes)
        return self._members[obj.ref]

    def on(self, kind: str, box: str) -> tuple[Object[Any], ...]:
        """The objects of a selecting kind that are for a box, in the order of names."""
        return self._on.get((kind, box), ())

    @cached_property
    def _on(self) -> dict[tuple[str, str], tuple[Object[Any], ...]]:
        found: dict[tuple[str, str], list[Object[Any]]] = {}
        for kind in ("Tunnel", "Bridge", "Port", "Route", "TracePolicy"):
            for obj in self._all(kind).values():
                for box in self.members(obj):
                    found.setdefault((kind, box), []).append(obj)
        return {key: tuple(objects) for key, objects in found.items()}

    def vlan_of(self, tunnel: Object[TunnelSpec]) -> int:
        """The VLAN that a tunnel carries; a switch that knows none is all in the native one."""
        bridge = self.bridges.get(tunnel.spec.bridge_ref or "")
        aware = bridge is not None and bridge.spec.vlan_aware
        return (tunnel.spec.vlan if aware else None) or NATIVE_VLAN

    def gateway_interface(self, tunnel: Object[TunnelSpec]) -> str | None:
        """Name of the link that has a tunnel's gateways: its switch, or that switch's link in its VLAN.

        None where the Bridge is not declared.
        """
        if (own := tunnel.spec.own_bridge) is not None:
            return own
        bridge = self.bridges.get(tunnel.spec.bridge_ref or "")
        if bridge is None:
            return None
        vlan = self.vlan_of(tunnel)
        return bridge.spec.interface if vlan == NATIVE_VLAN else f"{bridge.spec.interface}.{vlan}"

    def carrier(self, bridge: Object[BridgeSpec], vlan: int, box: str) -> Object[TunnelSpec] | None:
        """The tunnel that joins a VLAN of a Bridge on a box with others; the first, where there are more."""
        return self._carriers.get((bridge.ref.name, vlan, box))

    @cached_property
    def _carriers(self) -> dict[tuple[str, int, str], Object[TunnelSpec]]:
        first: dict[tuple[str, int, str], Object[TunnelSpec]] = {}
        for tunnel in self.tunnels.values():
            if (bridge := tunnel.spec.bridge_ref) is not None:
                vlan = self.vlan_of(tunnel)
                for box in self.members(tunnel):
                    first.setdefault((bridge, vlan, box), tunnel)
        return first

    def made_by(self, obj: Object[Any]) -> tuple[str, ...]:
        """Names of the interfaces that a Tunnel or a Bridge stands for on its boxes."""
        if isinstance(obj.spec, BridgeSpec):
            return (obj.spec.interface,)
        has_gateways = bool(obj.spec.gateways) or obj.spec.anycast_gateway is not None
        own, gateway = obj.spec.own_bridge, self.gateway_interface(obj) if has_gateways else None
        return tuple(dict.fromkeys(name for name in (obj.spec.link_name, own, gateway) if name))

    def made_on(self, box: str) -> Mapping[str, Object[Any]]:
        """What the interfaces of Tunnels and Bridges on a box are made of, in the order of their names."""
        return self._made_on.get(box, {})

    @cached_property
    def _made_on(self) -> dict[str, dict[str, Object[Any]]]:
        made: dict[str, dict[str, Object[Any]]] = {}
        for obj in (*self.tunnels.values(), *self.bridges.values()):
            for name in self.made_by(obj):
                for box in self.members(obj):
                    made.setdefault(box, {}).setdefault(name, obj)
        return {box: dict(sorted(names.items())) for box, names in made.items()}

    def router_of(self, box: str) -> Object[BGPRouterSpec] | None:
        """The BGP speaker of a box, if one is declared; the first, where a fleet has more."""
        return self._routers_by_box.get(box)

    @cached_property
    def _routers_by_box(self) -> dict[str, Object[BGPRouterSpec]]:
        first: dict[str, Object[BGPRouterSpec]] = {}
        for router in self.routers.values():
            first.setdefault(router.spec.box, router)
        return first

    def asn_of(self, router: Object[BGPRouterSpec]) -> int | None:
        """The AS number of a speaker: its own, or its Box's; None where neither says one."""
        box = self.boxes.get(router.spec.box)
        return router.spec.asn or (box.spec.asn if box else None)

    def router_id_of(self, router: Object[BGPRouterSpec]) -> str | None:
        """The router ID of a speaker: its own, its Box's, or the Box's loopback."""
        box = self.boxes.get(router.spec.box)
        given = router.spec.router_id or (box and (box.spec.router_id or box.spec.loopback))
        return str(given) if given else None

    def end_asn(self, end: BoxEnd | OutsideEnd) -> int | None:
        """The AS number of an end of a session; None where its box has no speaker or that has none."""
        if isinstance(end, OutsideEnd):
            return end.asn
        router = self.router_of(end.box)
        return self.asn_of(router) if router is not None else None

    def address_of(self, end: BoxEnd | OutsideEnd) -> Address | None:
        """The address of an end of a session: its own, or its box's underlay; None where it has none."""
        if isinstance(end, OutsideEnd) or end.address is not None or end.interface is not None:
            return end.address
        box = self.boxes.get(end.box)
        if box is None:
            return None
        underlay = box.spec.underlay.address or box.spec.underlay.address6
        return underlay.ip if underlay is not None else None

    def peers_of(self, box: str) -> tuple[Object[BGPPeerSpec], ...]:
        """The sessions that a box is an end of, in the order of names."""
        return self._peers_by_box.get(box, ())

    @cached_property
    def _peers_by_box(self) -> dict[str, tuple[Object[BGPPeerSpec], ...]]:
        found: dict[str, list[Object[BGPPeerSpec]]] = {}
        for peer in self.peers.values():
            for box in dict.fromkeys(end.box for end in peer.spec.box_ends):
                found.setdefault(box, []).append(peer)
        return {box: tuple(peers) for box, peers in found.items()}

    def links_of(self, box: str) -> tuple[Link, ...]:
        """Every address that the specs give a box: underlay, loopback, gateways, bridges."""
        return self._links_by_box.get(box, ())

    @cached_property
    def _links_by_box(self) -> dict[str, tuple[Link, ...]]:
        found: dict[str, list[Link]] = {}
        for link in self._links:
            found.setdefault(link.box, []).append(link)
        return {box: tuple(links) for box, links in found.items()}

    def links_by(self, obj: Object[Any]) -> tuple[Link, ...]:
        """The addresses that an object gives boxes, in the order in which it says them."""
        return self._links_by_object.get(obj.ref, ())

    @cached_property
    def _links_by_object(self) -> dict[ObjectRef, tuple[Link, ...]]:
        found: dict[ObjectRef, list[Link]] = {}
        for link in self._links:
            found.setdefault(link.by.ref, []).append(link)
        return {ref: tuple(links) for ref, links in found.items()}

    def link_at(self, box: str, address: Address | None) -> Link | None:
        """The link on which a box has an address, the first where several have it."""
        if box not in self._links_at:
            self._links_at[box] = {link.address.ip: link for link in reversed(self.links_of(box))}
        return self._links_at[box].get(address) if address is not None else None

    @cached_property
    def overlays(self) -> Mapping[str, tuple[Link, ...]]:
        """The links of each segment that is an overlay or a switch."""
        found: dict[str, list[Link]] = {}
        for link in self._links:
            if link.overlay:
                found.setdefault(link.segment, []).append(link)
        return {segment: tuple(links) for segment, links in found.items()}

    @cached_property
    def _links(self) -> tuple[Link, ...]:
        return tuple(self._addresses())

    def _addresses(self) -> Iterator[Link]:
        for name, box in self.boxes.items():
            under, spec = box.spec.underlay, box.spec
            for key, address in (("address", under.address), ("address6", under.address6)):
                if address is not None:
                    yield Link(name, "underlay", under.interface, address, box, ("underlay", key))
            for key, loopback in (("loopback", spec.loopback), ("loopback6", spec.loopback6)):
                if loopback is not None:
                    yield Link(name, "loopback", "lo", ip_interface(loopback), box, (key,))
        for tunnel in self.tunnels.values():
            interface = self.gateway_interface(tunnel) or ""
            anycast = tunnel.spec.anycast_gateway is not None
            joined = self.members(tunnel)
            for name in joined if anycast else filter(set(joined).__contains__, tunnel.spec.gateways):
                base: Path = ("anycastGateway", "addresses") if anycast else ("gateways", name)
                for i, gateway in enumerate(tunnel.spec.gateway_addresses(name)):
                    yield Link(name, str(tunnel.ref), interface, gateway, tunnel, (*base, i))
        for obj in self.bridges.values():
            members = self.member_set(obj)
            for name, addresses in obj.spec.addresses.items():
                if name not in members:
                    continue
                carrier = self.carrier(obj, NATIVE_VLAN, name)
                segment = f"{obj.ref} on {name}" if carrier is None else str(carrier.ref)
                for i, address in enumerate(addresses):
                    yield Link(name, segment, obj.spec.interface, address, obj, ("addresses", name, i))
