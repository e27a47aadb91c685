"""BGPRouter: the BGP speaker of one box."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from smartxd.spec.addresses import HostAddress4, Prefix
from smartxd.spec.fields import ASN, Name, SpecModel, Whole, wrong_field

AddressFamily = Literal["ipv4Unicast", "ipv6Unicast", "l2vpnEvpn"]
Families = tuple[AddressFamily, ...]


class Redistribute(SpecModel):
    """Routes of the box that are not BGP's own, announced."""

    source: Literal["connected", "static", "kernel"] = Field(
        description=(
            "where they come from: links, FRR's static routes, or others of the kernel. With static FRR keeps"
            " the box's Routes of the main table instead of the kernel, except those with a metric or weights"
            " and several to one prefix: these are announced as kernel"
        )
    )
    route_map: Name | None = Field(default=None, description="a RouteMap that lets them pass; all do")
    metric: Whole | None = Field(default=None, ge=0, le=0xFFFFFFFF, description="the MED they get")


class Multipath(SpecModel):
    """Over how many equal paths traffic is shared."""

    ebgp: Whole = Field(default=1, ge=1, le=64, description="paths to other ASes")
    ibgp: Whole = Field(default=1, ge=1, le=64, description="paths within the AS")


class EVPN(SpecModel):
    """EVPN (RFC 7432) of the speaker."""

    advertise_all_vni: bool = Field(
        default=True, strict=True, description="announce every VNI of the box, its tunnels of flood mode evpn"
    )
    advertise_svi_ip: bool = Field(
        default=False, strict=True, description="announce the gateways' own addresses and MACs"
    )

    @model_validator(mode="after")
    def _consistent(self) -> EVPN:
        if self.advertise_svi_ip and not self.advertise_all_vni:
            raise wrong_field("advertiseSviIp goes with advertiseAllVni: true", "advertiseSviIp")
        return self


class BGPRouterSpec(SpecModel):
    """A BGP speaker (RFC 4271) in FRR."""

    box: Name = Field(description="the Box it runs on")
    asn: ASN | None = Field(default=None, description="AS number; the Box's if not given")
    router_id: HostAddress4 | None = Field(default=None, description="the Box's router ID if not given")
    families: Families = Field(
        default=("ipv4Unicast",), min_length=1, description="what it speaks: sessions may use these"
    )
    networks: tuple[Prefix, ...] = Field(
        default=(),
        max_length=10_000,
        description="prefixes to announce, each while the box has a route to it",
    )
    redistribute: tuple[Redistribute, ...] = Field(
        default=(),
        max_length=3,
        description="other routes of the box to announce, in each unicast family that it speaks",
    )
    multipath: Multipath = Field(default=Multipath(), description="over how many paths traffic is shared")
    evpn: EVPN | None = Field(default=None, description="of the family l2vpnEvpn; its defaults if not given")
    cluster_id: HostAddress4 | None = Field(
        default=None, description="of a route reflector (RFC 4456); the router ID if not given"
    )

    @model_validator(mode="after")
    def _consistent(self) -> BGPRouterSpec:
        if self.evpn is not None and "l2vpnEvpn" not in self.families:
            raise wrong_field("evpn is of the family l2vpnEvpn; add it to families", "evpn")
        sources = [entry.source for entry in self.redistribute]
        for i, source in enumerate(sources):
            if source in sources[:i]:
                raise wrong_field(f"{source} is given twice", "redistribute", i, "source")
        return self
