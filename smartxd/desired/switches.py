"""Tunnel and Bridge specs to the virtual switches of one box: bridges, their links in VLANs, and VTEPs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from smartxd.desired.ports import vlan_ranges
from smartxd.planes.kernel.state import Bridge, Host, Link, PortSettings, Station, Vlan, Vxlan
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bridge import NATIVE_VLAN, BridgeSpec
from smartxd.spec.kinds.tunnel import EVPNFlood, MulticastFlood, StaticFlood, TunnelSpec

_ETHERNET_MTU = 1500
"""Of a bridge into which no tunnel plugs."""


def switches(fleet: Fleet, box: str) -> tuple[Link, ...]:
    """The links that the specs ask of ``box``: bridges, links in VLANs, VTEPs, each sorted by name."""
    site = _Site(fleet, box)
    return (*_by_name(site.bridges()), *_by_name(site.vlans()), *_by_name(site.vxlans()))


def _by_name(links: Iterable[Link]) -> list[Link]:
    return sorted(links, key=lambda link: link.name)


@dataclass(frozen=True, slots=True)
class _Gateway:
    """What a box is on a link of a segment: a router of some families, which knows some hosts."""

    mac: str
    ipv4: bool = False
    ipv6: bool = False
    hosts: frozenset[Host] = frozenset()


class _Site:
    """The tunnels and Bridges of one box."""

    def __init__(self, fleet: Fleet, box: str) -> None:
        self._fleet = fleet
        self._box = fleet.boxes[box]
        self._tunnels: tuple[Object[TunnelSpec], ...] = fleet.on("Tunnel", box)
        self._versions: dict[str, set[int]] = {}
        for link in fleet.links_of(box):
            self._versions.setdefault(link.interface, set()).add(link.address.version)

    def bridges(self) -> Iterator[Bridge]:
        """The bridge that each tunnel makes for itself, and each managed Bridge."""
        for tunnel in self._tunnels:
            if (name := tunnel.spec.own_bridge) is not None:
                gateway = self._gateway(name, tunnel)
                yield Bridge(
                    owner=tunnel.ref,
                    name=name,
                    mtu=self._mtu(tunnel),
                    mac=gateway.mac,
                    link_local=gateway.ipv6,
                    forwarding4=gateway.ipv4,
                    forwarding6=gateway.ipv6,
                    hosts=gateway.hosts,
                )
        for bridge in self._fleet.on("Bridge", self._box.ref.name):
            if bridge.spec.mode == "managed":
                yield self._bridge(bridge)

    def _bridge(self, bridge: Object[BridgeSpec]) -> Bridge:
        spec, plugged = bridge.spec, self._plugged_into(bridge)
        native = next((t for t in plugged if self._fleet.vlan_of(t) == NATIVE_VLAN), None)
        gateway = self._gateway(spec.interface, native)
        tagged = [self._fleet.vlan_of(t) for t in plugged if self._has_link_in_vlan(t)]
        untagged = NATIVE_VLAN if gateway.ipv4 or gateway.ipv6 else None
        return Bridge(
            owner=bridge.ref,
            name=spec.interface,
            mtu=self._bridge_mtu(bridge),
            mac=gateway.mac,
            vlan_aware=spec.vlan_aware,
            vlans=vlan_ranges(tagged, untagged) if spec.vlan_aware else (),
            stp=bool(spec.stp),
            multicast_snooping=spec.multicast_snooping is not False,
            link_local=gateway.ipv6,
            forwarding4=gateway.ipv4,
            forwarding6=gateway.ipv6,
            hosts=gateway.hosts,
        )

    def vlans(self) -> Iterator[Vlan]:
        """The links of Bridges in VLANs, which have the gateways of tunnels there."""
        for tunnel in filter(self._has_link_in_vlan, self._tunnels):
            bridge = self._fleet.bridges[tunnel.spec.bridge_ref or ""]
            name = self._fleet.gateway_interface(tunnel) or ""
            gateway = self._gateway(name, tunnel)
            yield Vlan(
                owner=tunnel.ref,
                name=name,
                bridge=bridge.spec.interface,
                vid=self._fleet.vlan_of(tunnel),
                mtu=min(self._mtu(tunnel), self._bridge_mtu(bridge)),
                mac=gateway.mac,
                link_local=gateway.ipv6,
                forwarding4=gateway.ipv4,
                forwarding6=gateway.ipv6,
                hosts=gateway.hosts,
            )

    def vxlans(self) -> Iterator[Vxlan]:
        """The VTEP of each tunnel."""
        for tunnel in self._tunnels:
            spec, flood = tunnel.spec, tunnel.spec.flood
            group = str(flood.group) if isinstance(flood, MulticastFlood) else ""
            vteps = self._other_vteps(tunnel)
            remotes: frozenset[str] | None = frozenset()
            if isinstance(flood, StaticFlood):
                remotes = frozenset(vteps.values())
            stations = frozenset(Station(h.mac, vteps[h.box]) for h in spec.hosts if h.box in vteps)
            if isinstance(flood, EVPNFlood):
                remotes, stations = None, frozenset()
            yield Vxlan(
                owner=tunnel.ref,
                name=spec.link_name,
                vni=spec.vni,
                local=self._vtep(tunnel, self._box.ref.name),
                bridge=self._bridge_name(tunnel),
                mtu=self._mtu(tunnel),
                group=group,
                underlay=self._box.spec.underlay.interface if group else "",
                port=spec.port,
                ttl=spec.ttl,
                learning=not isinstance(flood, EVPNFlood),
                remotes=remotes,
                stations=stations,
                settings=self._settings(tunnel),
            )

    def _settings(self, tunnel: Object[TunnelSpec]) -> PortSettings:
        """How the bridge treats the VTEP: the frames of a tunnel in a VLAN bear no tag."""
        flood, bridge = tunnel.spec.flood, self._fleet.bridges.get(tunnel.spec.bridge_ref or "")
        aware = bridge is not None and bridge.spec.vlan_aware
        return PortSettings(
            vlans=vlan_ranges(untagged=self._fleet.vlan_of(tunnel)) if aware else (),
            learning=not isinstance(flood, EVPNFlood),
            neighbor_suppression=isinstance(flood, EVPNFlood) and flood.suppress_neighbors,
        )

    def _gateway(self, link: str, tunnel: Object[TunnelSpec] | None) -> _Gateway:
        """What the box is on a link, which is part of the segment of ``tunnel`` if of any."""
        versions = self._versions.get(link, set())
        anycast = tunnel.spec.anycast_gateway if tunnel is not None else None
        hosts = tunnel.spec.hosts if tunnel is not None else ()
        return _Gateway(
            mac=anycast.mac if anycast is not None else _own_mac(self._box.ref.name, link),
            ipv4=4 in versions,
            ipv6=6 in versions,
            hosts=frozenset(Host(str(a), h.mac) for h in hosts for a in h.addresses if a.version in versions),
        )

    def _plugged_into(self, bridge: Object[BridgeSpec]) -> list[Object[TunnelSpec]]:
        return [tunnel for tunnel in self._tunnels if tunnel.spec.bridge_ref == bridge.ref.name]

    def _has_link_in_vlan(self, tunnel: Object[TunnelSpec]) -> bool:
        """Whether the tunnel has gateways here on a link of their own."""
        if tunnel.spec.bridge_ref is None or self._fleet.vlan_of(tunnel) == NATIVE_VLAN:
            return False
        return bool(tunnel.spec.gateway_addresses(self._box.ref.name))

    def _bridge_name(self, tunnel: Object[TunnelSpec]) -> str:
        own = tunnel.spec.own_bridge
        return own or self._fleet.bridges[tunnel.spec.bridge_ref or ""].spec.interface

    def _mtu(self, tunnel: Object[TunnelSpec]) -> int:
        if isinstance(tunnel.spec.mtu, int):
            return tunnel.spec.mtu
        return self._box.spec.underlay.mtu - tunnel.spec.overhead_bytes

    def _bridge_mtu(self, bridge: Object[BridgeSpec]) -> int:
        if isinstance(bridge.spec.mtu, int):
            return bridge.spec.mtu
        return min((self._mtu(tunnel) for tunnel in self._plugged_into(bridge)), default=_ETHERNET_MTU)

    def _other_vteps(self, tunnel: Object[TunnelSpec]) -> dict[str, str]:
        """The VTEP addresses of the tunnel's other boxes, by box."""
        others = (box for box in self._fleet.members(tunnel) if box != self._box.ref.name)
        return {box: self._vtep(tunnel, box) for box in others}

    def _vtep(self, tunnel: Object[TunnelSpec], box: str) -> str:
        address = self._fleet.boxes[box].spec.underlay_address(tunnel.spec.underlay)
        if address is None:
            raise ValueError(f"{tunnel.ref}: not a checked fleet")
        return str(address.ip)


def _own_mac(box: str, link: str) -> str:
    """A MAC address that a link of a box keeps, whatever is plugged in or was said of it before.

    Left to the kernel a bridge has the lowest of its ports', another one as they come and go, and that of an
    anycast gateway which it once was.
    """
    # Locally administered, of one host (IEEE 802, section 8.2).
    return ":".join(f"{byte:02x}" for byte in (0x02, *sha256(f"{box}/{link}".encode()).digest()[:5]))
