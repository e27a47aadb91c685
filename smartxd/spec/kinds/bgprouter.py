"""BGPRouter: the BGP speaker of one box."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from pydantic import Field

from smartxd.spec.fields import ASN, Name, SpecModel


class BGPRouterSpec(SpecModel):
    """A BGP speaker (RFC 4271) in FRR."""

    box: Name = Field(description="the Box it runs on")
    asn: ASN | None = Field(default=None, description="AS number; the Box's if not given")
    router_id: IPv4Address | None = Field(default=None, description="the Box's router ID if not given")
    networks: tuple[IPv4Network, ...] = Field(
        default=(), description="prefixes to announce, each while the box has a route to it"
    )
