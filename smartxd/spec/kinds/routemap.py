"""RouteMap: what becomes of routes that pass a session."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from smartxd.spec.addresses import HostAddress, family_of, wanted
from smartxd.spec.fields import ASN, VNI, InterfaceName, Name, SpecModel, Text, Whole, wrong_field
from smartxd.spec.kinds.communitylist import Community, ExtendedCommunity, LargeCommunity
from smartxd.spec.kinds.prefixlist import Action, in_order

Metric = Annotated[Whole, Field(ge=0, le=0xFFFFFFFF)]
Positive = Annotated[Whole, Field(ge=1, le=0xFFFFFFFF)]


def _delta(value: object) -> object:
    """A number, or one to add or to take away, as '+10'."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFFFF:
        return value
    if isinstance(value, str) and re.fullmatch("[+-][0-9]{1,10}", value) and 0 < int(value[1:]) <= 0xFFFFFFFF:
        return f"{value[0]}{int(value[1:])}"
    raise wanted("a number, or a change of it in quotes, as '+10'")


MetricChange = Annotated[
    int | str,
    PlainValidator(_delta),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 0xFFFFFFFF},
                {"type": "string", "pattern": "^[+-][0-9]{1,10}$"},
            ]
        }
    ),
]


class Match(SpecModel):
    """Which routes an entry is for: those that meet all that is given; all routes if nothing is."""

    prefix_list: Name | None = Field(default=None, description="a PrefixList that permits the route's prefix")
    next_hop_prefix_list: Name | None = Field(
        default=None, description="a PrefixList that permits its next hop"
    )
    community_list: Name | None = Field(
        default=None, description="a CommunityList that permits its communities"
    )
    exact_communities: bool = Field(
        default=False, strict=True, description="it carries no other communities than those of the list"
    )
    as_path_list: Name | None = Field(default=None, description="an ASPathList that permits its AS path")
    local_preference: Metric | None = Field(default=None, description="its local preference")
    # Of FRR 8.4 a match of metric 0 is worse than refused: it leaves an entry of which zebra and bgpd die.
    metric: Positive | None = Field(default=None, description="its MED (RFC 4271, section 5.1.4)")
    tag: Positive | None = Field(default=None, description="its tag")
    interface: InterfaceName | None = Field(default=None, description="the link of its next hop")
    source_protocol: Literal["bgp", "connected", "kernel", "static"] | None = Field(
        default=None, description="where a redistributed route comes from"
    )
    evpn_vni: VNI | None = Field(default=None, description="its VNI, for EVPN routes")
    evpn_route_type: Literal["macip", "multicast", "prefix"] | None = Field(
        default=None, description="its type, for EVPN routes (RFC 7432)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Match:
        if self.exact_communities and self.community_list is None:
            raise wrong_field("exactCommunities is about a communityList; give one", "exactCommunities")
        return self


class Set(SpecModel):
    """What an entry changes of the routes it permits."""

    local_preference: MetricChange | None = Field(
        default=None, description="higher wins within an AS; a number, or '+10'"
    )
    metric: MetricChange | None = Field(default=None, description="MED: lower wins; a number, or '+10'")
    weight: Metric | None = Field(default=None, description="higher wins on this box alone")
    origin: Literal["igp", "egp", "incomplete"] | None = Field(default=None, description="origin code")
    tag: Positive | None = Field(default=None, description="tag")
    next_hop: HostAddress | Literal["unchanged", "peer-address"] | None = Field(
        default=None, description="an address, unchanged or peer-address"
    )
    as_path_prepend: tuple[ASN, ...] = Field(
        default=(), max_length=16, description="AS numbers put before the AS path"
    )
    communities: tuple[Community, ...] = Field(default=(), max_length=32, description="communities to set")
    large_communities: tuple[LargeCommunity, ...] = Field(
        default=(), max_length=32, description="large communities to set"
    )
    extended_communities: tuple[ExtendedCommunity, ...] = Field(
        default=(), max_length=32, description="extended communities to set"
    )
    additive: bool = Field(
        default=False, strict=True, description="add communities to those that are there; else replace them"
    )
    delete_communities: Name | None = Field(
        default=None, description="a CommunityList: those that it permits are taken away"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Set:
        if self.additive and not (self.communities or self.large_communities):
            raise wrong_field("additive is about communities or largeCommunities; give some", "additive")
        if isinstance(self.next_hop, IPv4Address) and not 0 < int(self.next_hop) >> 24 < 240:
            message = f"{self.next_hop} is no host's: a peer ends the session over it, or FRR refuses it"
            raise wrong_field(message, "nextHop")
        return self

    @property
    def next_hop_family(self) -> str | None:
        """The family of the next hop that is set; None where none is."""
        return None if self.next_hop is None or isinstance(self.next_hop, str) else family_of(self.next_hop)


class RouteMapEntry(SpecModel):
    """A step of a map."""

    seq: Whole = Field(ge=1, le=65535, description="entries are tried in this order")
    action: Action = Field(description="whether the routes that match pass")
    description: Text = Field(default="", description="free text, one line")
    match: Match = Field(default=Match(), description="which routes it is for; all if not given")
    set: Set = Field(default=Set(), description="what it changes of them")
    call: Name | None = Field(
        default=None, description="a RouteMap that must let them pass too, before set is done"
    )
    on_match: Literal["next"] | Annotated[Whole, Field(ge=1, le=65535)] | None = Field(
        default=None, description="go on with the next entry, or with that of this number; else the map ends"
    )

    @model_validator(mode="after")
    def _consistent(self) -> RouteMapEntry:
        if self.action == "deny" and self.set != Set():
            raise wrong_field("an entry that denies has nothing to set", "set")
        if self.action == "deny" and self.on_match is not None:
            raise wrong_field("an entry that denies ends the map; leave onMatch out", "onMatch")
        if isinstance(self.on_match, int) and self.on_match <= self.seq:
            raise wrong_field(f"onMatch {self.on_match} must be more than its own seq {self.seq}", "onMatch")
        return self


class RouteMapSpec(SpecModel):
    """A policy for routes; what no entry matches is denied."""

    entries: tuple[RouteMapEntry, ...] = Field(
        min_length=1, max_length=1000, description="tried in the order of their sequence numbers"
    )

    @model_validator(mode="after")
    def _ordered(self) -> RouteMapSpec:
        in_order(self.entries)
        return self
