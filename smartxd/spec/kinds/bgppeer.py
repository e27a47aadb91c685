"""BGPPeer: a session between two boxes, or between a box and the outside.

One spec makes both ends, so that two boxes cannot disagree.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from smartxd.spec.addresses import HostAddress
from smartxd.spec.fields import ASN, InterfaceName, Name, SpecModel, Text, Whole, wrong_field
from smartxd.spec.kinds.bgprouter import Families

CommunityType = Literal["standard", "extended", "large"]


class Policy(SpecModel):
    """What lets routes pass in one direction; a route must pass all that are given."""

    route_map: Name | None = Field(default=None, description="a RouteMap")
    prefix_lists: tuple[Name, ...] = Field(
        default=(), max_length=2, description="PrefixLists, at most one of each family"
    )
    as_path_list: Name | None = Field(default=None, description="an ASPathList, for routes other than EVPN's")


class MaxPrefixes(SpecModel):
    """How many prefixes the other end may announce."""

    limit: Whole = Field(ge=1, le=0xFFFFFFFF, description="in each family but l2vpnEvpn")
    warn_at_percent: Whole = Field(default=75, ge=1, le=100, description="of the limit: above it, it is said")
    action: Literal["teardown", "restart", "warn"] = Field(
        default="teardown", description="beyond the limit: end the session, for good or for a time, or say so"
    )
    restart_after_minutes: Whole | None = Field(
        default=None, ge=1, le=65535, description="of a session that is ended for a time"
    )

    @model_validator(mode="after")
    def _consistent(self) -> MaxPrefixes:
        if (self.action == "restart") != (self.restart_after_minutes is not None):
            raise wrong_field("restartAfterMinutes goes with action: restart", "restartAfterMinutes")
        return self


class BoxEnd(SpecModel):
    """The end of a session that is a box of the fleet."""

    box: Name = Field(description="a Box with a BGPRouter")
    address: HostAddress | None = Field(
        default=None,
        description="a gateway, bridge, underlay or loopback address of the Box; the underlay's if not given",
    )
    interface: InterfaceName | None = Field(
        default=None, description="unnumbered (RFC 5549): the link to the other end, instead of an address"
    )
    inbound: Policy = Field(default=Policy(), alias="in", description="for routes that it takes")
    outbound: Policy = Field(default=Policy(), alias="out", description="for routes that it announces")
    max_prefixes: MaxPrefixes | None = Field(default=None, description="how many prefixes it takes")
    next_hop_self: bool = Field(
        default=False, strict=True, description="announce itself as the next hop of routes from other ASes"
    )
    route_reflector_client: bool = Field(
        default=False, strict=True, description="the other end is its client (RFC 4456)"
    )
    default_originate: bool = Field(default=False, strict=True, description="announce a default route")
    allow_as_in: Whole | None = Field(
        default=None, ge=1, le=10, description="how often its own AS may stand in an AS path that it takes"
    )

    @model_validator(mode="after")
    def _consistent(self) -> BoxEnd:
        if self.address is not None and self.interface is not None:
            raise wrong_field("give either address or interface", "interface")
        return self


class OutsideEnd(SpecModel):
    """The end of a session that is no box of the fleet."""

    asn: ASN = Field(description="its AS number")
    address: HostAddress | None = Field(
        default=None, description="its address; left out on an unnumbered session"
    )


def _which(value: Any) -> str | None:
    """Which kind of end is meant, from what is given; None where that cannot be told."""
    if isinstance(value, BoxEnd | OutsideEnd):
        return type(value).__name__
    if not isinstance(value, dict) or "box" in value:
        return BoxEnd.__name__
    return OutsideEnd.__name__ if "asn" in value else None


PeerEnd = Annotated[
    Annotated[BoxEnd, Tag("BoxEnd")] | Annotated[OutsideEnd, Tag("OutsideEnd")],
    Discriminator(
        _which,
        custom_error_type="missing_choice",
        custom_error_message="give box, or asn for an end that is no box of the fleet",
    ),
]


class Timers(SpecModel):
    """Session timers in seconds (RFC 4271, section 10)."""

    keepalive: Whole = Field(default=60, ge=1, le=21845, description="between two keepalives")
    hold: Whole = Field(
        default=180, ge=3, le=65535, description="without one the session ends; at least three keepalives"
    )
    connect_retry: Whole = Field(
        default=10, ge=1, le=65535, description="between two tries to reach the other end"
    )
    advertisement_interval: Whole | None = Field(
        default=None, ge=0, le=600, description="between two updates of a prefix; FRR's own if not given"
    )

    @model_validator(mode="after")
    def _keepalives_fit(self) -> Timers:
        if self.keepalive * 3 > self.hold:
            message = f"hold {self.hold} must be at least three times keepalive {self.keepalive}"
            raise wrong_field(message, "hold" if "hold" in self.model_fields_set else "keepalive")
        return self


class BFD(SpecModel):
    """Bidirectional forwarding detection (RFC 5880): a dead path ends the session within the second."""

    receive_ms: Whole = Field(
        default=300, ge=10, le=60_000, description="the shortest interval in which it can receive"
    )
    transmit_ms: Whole = Field(default=300, ge=10, le=60_000, description="the interval in which it sends")
    multiplier: Whole = Field(default=3, ge=2, le=255, description="so many may be missing in a row")


class Shutdown(SpecModel):
    """The session is kept down."""

    message: Text = Field(default="", description="told to the other end (RFC 9003)")


class BGPPeerSpec(SpecModel):
    """A BGP session between two boxes, or between a box and the outside."""

    between: tuple[PeerEnd, PeerEnd] = Field(
        description="the two ends; at least one is a box, the other may be outside"
    )
    description: Text = Field(default="", description="free text, one line")
    families: Families = Field(
        default=("ipv4Unicast",),
        min_length=1,
        description="what the session carries; both ends must speak it",
    )
    timers: Timers = Field(default=Timers(), description="session timers in seconds")
    password_ref: Name | None = Field(
        default=None,
        description="name of the file that holds the TCP MD5 password (RFC 2385) in the secrets folder of"
        " each box; the password itself stands in no spec",
    )
    bfd: BFD | None = Field(default=None, description="watch the path by BFD; {} for its defaults")
    multihop: Whole | None = Field(
        default=None,
        ge=1,
        le=255,
        description="how many hops the ends may be apart, between ASes; one if not given",
    )
    ttl_security: Whole | None = Field(
        default=None, ge=1, le=254, description="refuse packets from further away (RFC 5082), in hops"
    )
    graceful_restart: Literal["enabled", "helper", "disabled"] = Field(
        default="helper", description="keep routes while the other end restarts, or also its own (RFC 4724)"
    )
    send_communities: tuple[CommunityType, ...] = Field(
        default=("standard", "extended", "large"), description="which communities are announced"
    )
    shutdown: Shutdown | None = Field(default=None, description="keep the session down; {} without a message")

    @model_validator(mode="after")
    def _consistent(self) -> BGPPeerSpec:
        boxes = self.box_ends
        if not boxes:
            raise wrong_field("one of the ends must be a box of the fleet", "between")
        unnumbered = any(end.interface is not None for end in boxes)
        for i, end in enumerate(self.between):
            if isinstance(end, BoxEnd) and unnumbered and end.interface is None:
                message = "an unnumbered session needs interface at both boxes"
                raise wrong_field(message, "between", i, "interface")
            if isinstance(end, OutsideEnd) and (end.address is None) != unnumbered:
                message = "the outside end needs an address, or the box an interface"
                raise wrong_field(message, "between", i, "address")
        if self.multihop is not None and self.ttl_security is not None:
            raise wrong_field("give either multihop or ttlSecurity", "ttlSecurity")
        if unnumbered and self.multihop is not None:
            raise wrong_field("an unnumbered session is one hop; leave multihop out", "multihop")
        if unnumbered and self.ttl_security not in (None, 1):
            raise wrong_field("an unnumbered session is one hop; give ttlSecurity: 1", "ttlSecurity")
        return self

    @property
    def box_ends(self) -> tuple[BoxEnd, ...]:
        """The ends that are boxes: two, or one."""
        return tuple(end for end in self.between if isinstance(end, BoxEnd))
