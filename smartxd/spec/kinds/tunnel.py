"""Tunnel: an L2 segment over VXLAN (RFC 7348) between boxes, with a virtual switch on each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from smartxd.spec.fields import (
    MTU,
    VNI,
    BoxSelector,
    LinkAddress,
    MulticastGroup,
    Name,
    NewInterfaceName,
    SpecModel,
    UDPPort,
    Whole,
)

VXLAN_OVERHEAD_BYTES = 50
"""Outer IPv4 (20), UDP (8), VXLAN (8) and inner Ethernet (14) headers."""


class MulticastFlood(SpecModel):
    """VTEPs find each other by flooding to a multicast group of the underlay."""

    mode: Literal["multicast"]
    group: MulticastGroup = Field(description="an IPv4 group that the underlay carries between the boxes")


class TunnelSpec(SpecModel):
    """An L2 segment."""

    boxes: BoxSelector
    vni: VNI = Field(description="VXLAN network identifier")
    flood: MulticastFlood
    bridge: NewInterfaceName | None = Field(
        default=None, description="the virtual switch on each box; br<vni>"
    )
    gateways: dict[Name, LinkAddress] = Field(
        default_factory=dict, description="addresses of the bridge, one for each box named"
    )
    mtu: MTU | Literal["auto"] = Field(default="auto", description="of the overlay; auto: underlay less 50")
    port: UDPPort = Field(default=4789, description="UDP port of the VTEPs")
    ttl: Whole = Field(
        default=16, ge=1, le=255, description="of the outer packets; bounds the multicast scope"
    )

    @property
    def link_name(self) -> str:
        """Name of the VXLAN link on each box."""
        return f"vx{self.vni}"

    @property
    def bridge_name(self) -> str:
        """Name of the virtual switch on each box."""
        return self.bridge or f"br{self.vni}"
