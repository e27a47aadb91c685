"""Box: a Linux server-switch box of the fleet."""

from __future__ import annotations

from pydantic import Field, model_validator

from smartxd.spec.addresses import Family, HostAddress4, HostAddress6, LinkAddress4, LinkAddress6, Prefix
from smartxd.spec.fields import ASN, MTU, InterfaceName, SpecModel


class Underlay(SpecModel):
    """The box's side of the wide-area network; it is there before smartxd, which never changes it."""

    interface: InterfaceName = Field(description="the link that carries tunnels and sessions")
    address: LinkAddress4 | None = Field(
        default=None, description="its IPv4 address and prefix length: the box's VTEP address over IPv4"
    )
    address6: LinkAddress6 | None = Field(
        default=None, description="its IPv6 address and prefix length: the box's VTEP address over IPv6"
    )
    mtu: MTU = Field(
        default=1500,
        description="the MTU of the path between boxes; overlays get 50 bytes less over IPv4, 70 over IPv6",
    )

    @model_validator(mode="after")
    def _reachable(self) -> Underlay:
        if self.address is None and self.address6 is None:
            raise ValueError("give address, address6 or both")
        return self


class Management(SpecModel):
    """How operators and the repo reach the box; smartxd never touches it."""

    interfaces: tuple[InterfaceName, ...] = Field(
        min_length=1, max_length=16, description="the management links; no object may take one of them"
    )
    networks: tuple[Prefix, ...] = Field(
        default=(),
        max_length=64,
        description="from where the box is managed; no Route, gateway or bridge address may divert them",
    )


class BoxSpec(SpecModel):
    """A Linux server-switch box of the fleet."""

    underlay: Underlay = Field(description="its side of the wide-area network")
    management: Management | None = Field(default=None, description="how operators reach it; never touched")
    loopback: HostAddress4 | None = Field(
        default=None, description="a /32 on lo: the box's stable IPv4 address"
    )
    loopback6: HostAddress6 | None = Field(
        default=None, description="a /128 on lo: the box's stable IPv6 address"
    )
    router_id: HostAddress4 | None = Field(
        default=None, description="BGP router ID; the loopback if not given"
    )
    asn: ASN | None = Field(default=None, description="the box's AS number, as 65001 or '1.10'")

    def underlay_address(self, family: Family) -> LinkAddress4 | LinkAddress6 | None:
        """The VTEP address of a family with its prefix length; None where the box has none."""
        return self.underlay.address if family == "ipv4" else self.underlay.address6
