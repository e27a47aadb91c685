"""BGPRouter: the BGP speaker of one box."""

from __future__ import annotations

from pydantic import Field

from smartxd.spec.fields import ASN, HostAddress, Name, Prefix, SpecModel


class BGPRouterSpec(SpecModel):
    """A BGP speaker (RFC 4271) in FRR."""

    box: Name = Field(description="the Box it runs on")
    asn: ASN | None = Field(default=None, description="AS number; the Box's if not given")
    router_id: HostAddress | None = Field(default=None, description="the Box's router ID if not given")
    networks: tuple[Prefix, ...] = Field(
        default=(), description="prefixes to announce, each while the box has a route to it"
    )
