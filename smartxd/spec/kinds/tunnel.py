"""Tunnel: an L2 segment over VXLAN (RFC 7348) between boxes, with a virtual switch on each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from smartxd.spec.addresses import MAC, Family, HostAddress, LinkAddress, MulticastGroup, family_of
from smartxd.spec.fields import (
    MTU,
    VLAN,
    VNI,
    BoxSelector,
    Name,
    NewInterfaceName,
    SpecModel,
    UDPPort,
    Whole,
    as_tuple,
    wrong_field,
)
from smartxd.spec.kinds.communitylist import RouteDistinguisher, RouteTarget

VXLAN_OVERHEAD_BYTES: dict[Family, int] = {"ipv4": 50, "ipv6": 70}
"""Outer IPv4 (20) or IPv6 (40), UDP (8), VXLAN (8) and inner Ethernet (14) headers."""


class MulticastFlood(SpecModel):
    """VTEPs find each other by flooding to a multicast group of the underlay."""

    mode: Literal["multicast"] = Field(description="flood to a multicast group")
    group: MulticastGroup = Field(
        description="a group of the tunnel's underlay family that the underlay carries between the boxes"
    )


class StaticFlood(SpecModel):
    """Each box sends a copy to each other box of the tunnel; the list follows the fleet."""

    mode: Literal["static"] = Field(description="head-end replication to the tunnel's other boxes")


class EVPNFlood(SpecModel):
    """BGP EVPN (RFC 7432, RFC 8365) tells which MAC is behind which VTEP; nothing is learned from frames."""

    mode: Literal["evpn"] = Field(description="remote VTEPs and MACs come from BGP EVPN")
    route_targets: tuple[RouteTarget, ...] = Field(
        default=(),
        max_length=16,
        description="imported and exported; FRR derives one from AS number and VNI if not given",
    )
    route_distinguishers: dict[Name, RouteDistinguisher] = Field(
        default_factory=dict,
        description=(
            "by box, each another; of a box that is left out FRR derives one from the router ID and a number"
            " that it counts up"
        ),
    )
    suppress_neighbors: bool = Field(
        default=True, strict=True, description="answer ARP and ND from what EVPN has told (RFC 9161)"
    )


Flood = Annotated[MulticastFlood | StaticFlood | EVPNFlood, Field(discriminator="mode")]
Addresses = Annotated[
    tuple[LinkAddress, ...],
    Field(min_length=1, max_length=16),
    BeforeValidator(as_tuple, json_schema_input_type=LinkAddress | tuple[LinkAddress, ...]),
]
"""One, or a list."""


class AnycastGateway(SpecModel):
    """The same gateway on every box: a host keeps its gateway wherever it moves."""

    addresses: Addresses = Field(description="of the bridge on each box, with prefix length")
    mac: MAC = Field(description="of the bridge on each box, as '02:00:00:00:01:00'")


class Host(SpecModel):
    """A host whose place is fixed: nothing of it has to be learned."""

    mac: MAC = Field(description="its MAC address")
    box: Name = Field(description="the box of the tunnel that it is behind")
    addresses: tuple[HostAddress, ...] = Field(
        default=(), max_length=16, description="its IP addresses: static ARP and ND entries"
    )


class TunnelSpec(SpecModel):
    """An L2 segment over VXLAN between boxes, with a virtual switch on each."""

    boxes: BoxSelector = Field(description="the boxes that it joins")
    vni: VNI = Field(description="VXLAN network identifier; the VXLAN link is called vx<vni>")
    flood: Flood = Field(description="how frames for unknown and for all MACs reach the other boxes")
    underlay: Family = Field(default="ipv4", description="the family of the outer packets; with evpn ipv4")
    bridge: NewInterfaceName | None = Field(
        default=None, description="name of a virtual switch of its own on each box; br<vni> if not given"
    )
    bridge_ref: Name | None = Field(
        default=None, description="a Bridge to plug into instead of a virtual switch of its own"
    )
    vlan: VLAN | None = Field(
        default=None, description="the VLAN of a VLAN-aware Bridge that the tunnel carries"
    )
    gateways: dict[Name, Addresses] = Field(
        default_factory=dict,
        description=(
            "addresses of the bridge with prefix length, by box: one or a list each;"
            " in a VLAN of a Bridge they are those of its link <interface>.<vlan>"
        ),
    )
    anycast_gateway: AnycastGateway | None = Field(
        default=None, description="one gateway for all boxes instead of gateways"
    )
    mtu: MTU | Literal["auto"] = Field(
        default="auto", description="of the overlay; auto: the underlay's less 50 (IPv4) or 70 (IPv6)"
    )
    hosts: tuple[Host, ...] = Field(
        default=(), max_length=4096, description="hosts with a fixed place: static MAC and ARP entries"
    )
    port: UDPPort = Field(default=4789, description="UDP port of the VTEPs")
    ttl: Whole = Field(
        default=16, ge=1, le=255, description="of the outer packets; bounds the multicast scope"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TunnelSpec:
        if isinstance(self.flood, MulticastFlood) and family_of(self.flood.group) != self.underlay:
            message = f"{self.flood.group} is not {self.underlay}, as the underlay is"
            raise wrong_field(message, "flood", "group")
        if self.bridge is not None and self.bridge_ref is not None:
            raise wrong_field("give either bridge or bridgeRef", "bridgeRef")
        if self.vlan is not None and self.bridge_ref is None:
            raise wrong_field("vlan is of a VLAN-aware Bridge; give bridgeRef too", "vlan")
        if self.gateways and self.anycast_gateway is not None:
            raise wrong_field("give either gateways or anycastGateway", "anycastGateway")
        return self

    @property
    def link_name(self) -> str:
        """Name of the VXLAN link on each box."""
        return f"vx{self.vni}"

    @property
    def own_bridge(self) -> str | None:
        """Name of the virtual switch that it makes on each box; None where it plugs into a Bridge."""
        return None if self.bridge_ref is not None else self.bridge or f"br{self.vni}"

    @property
    def overhead_bytes(self) -> int:
        """What the outer headers take of the underlay's MTU."""
        return VXLAN_OVERHEAD_BYTES[self.underlay]

    @property
    def route_distinguishers(self) -> dict[Name, RouteDistinguisher]:
        """Those given, by box."""
        return self.flood.route_distinguishers if isinstance(self.flood, EVPNFlood) else {}

    def gateway_addresses(self, box: str) -> Addresses:
        """The addresses of the bridge on a box, with prefix length."""
        if self.anycast_gateway is not None:
            return self.anycast_gateway.addresses
        return self.gateways.get(box, ())
