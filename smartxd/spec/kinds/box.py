"""Box: a Linux server-switch box of the fleet."""

from __future__ import annotations

from pydantic import Field

from smartxd.spec.fields import ASN, MTU, HostAddress, InterfaceName, LinkAddress, SpecModel


class Underlay(SpecModel):
    """The box's side of the wide-area network; it is there before smartxd, which never changes it."""

    interface: InterfaceName = Field(description="the link that carries tunnels and sessions")
    address: LinkAddress = Field(description="its address and prefix length: the box's VTEP address")
    mtu: MTU = Field(
        default=1500, description="the MTU of the path between boxes; overlays get 50 bytes less"
    )


class Management(SpecModel):
    """How operators reach the box; smartxd never touches it."""

    interface: InterfaceName = Field(description="the management link")


class BoxSpec(SpecModel):
    """What a box is."""

    underlay: Underlay
    management: Management | None = None
    loopback: HostAddress | None = Field(default=None, description="a /32 on lo, the box's stable address")
    router_id: HostAddress | None = Field(
        default=None, description="BGP router ID; the loopback if not given"
    )
    asn: ASN | None = Field(default=None, description="the box's AS number, as 65001 or '1.10'")
