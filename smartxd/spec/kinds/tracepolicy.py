"""TracePolicy: what to trace, on which interfaces, how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from smartxd.spec.fields import (
    BoxSelector,
    InterfaceName,
    InterfacePattern,
    Name,
    SpecModel,
    Whole,
    one_line,
    wrong_field,
)
from smartxd.spec.pcap import FILTER_MAX

Direction = Literal["ingress", "egress"]
Mode = Literal["flows", "packets", "drops", "tcp"]
Filter = Annotated[str, Field(min_length=1, max_length=FILTER_MAX), AfterValidator(one_line)]


class TracePoint(SpecModel):
    """Interfaces to watch: by name, by a pattern, or both sides of a tunnel or of a session's path."""

    name: InterfaceName | None = Field(default=None, description="an interface")
    pattern: InterfacePattern | None = Field(
        default=None, description="interfaces by a pattern of names, as tap*, as they come and go"
    )
    tunnel: Name | None = Field(default=None, description="a Tunnel: its VXLAN link and the underlay")
    peer: Name | None = Field(default=None, description="a BGPPeer: the link that its session runs over")

    @model_validator(mode="after")
    def _one_way(self) -> TracePoint:
        ways = {"name": self.name, "pattern": self.pattern, "tunnel": self.tunnel, "peer": self.peer}
        given = [way for way, value in ways.items() if value is not None]
        if len(given) != 1:
            raise wrong_field("give one of name, pattern, tunnel and peer", *given[1:2])
        return self


class NoSampling(SpecModel):
    """Every packet."""

    mode: Literal["none"] = Field(description="every packet")


class CountSampling(SpecModel):
    """One packet in so many, by counting."""

    mode: Literal["count"] = Field(description="every so-many-th packet")
    one_in: Whole = Field(ge=2, le=1 << 24, description="one packet in so many")


class RandomSampling(SpecModel):
    """One packet in so many, by chance."""

    mode: Literal["random"] = Field(description="by chance")
    one_in: Whole = Field(ge=2, le=1 << 24, description="one packet in so many, on average")


class HashSampling(SpecModel):
    """The same packets on every box and interface, inside and outside of tunnels (RFC 5475)."""

    mode: Literal["hash"] = Field(description="by a hash of what no router changes in a packet")
    one_in: Whole = Field(ge=2, le=1 << 24, description="one packet in so many, on average")
    seed: Whole = Field(default=0, ge=0, le=0xFFFFFFFF, description="policies with one seed choose alike")


Sampling = Annotated[NoSampling | CountSampling | RandomSampling | HashSampling, Field(discriminator="mode")]


class Budget(SpecModel):
    """What the policy may cost a box; beyond it sampling is made coarser, and that is said."""

    cpu_percent: Annotated[float, Field(strict=True, gt=0, le=100)] | None = Field(
        default=None, description="of one core"
    )
    records_per_second: Whole | None = Field(default=None, ge=1, le=10_000_000, description="written down")


class Retention(SpecModel):
    """How long a box keeps what was captured; the older goes first."""

    hours: Whole | None = Field(
        default=None, ge=1, le=24 * 365, description="its greatest age, also of what the centre does not have"
    )
    megabytes: Whole | None = Field(
        default=None, ge=1, le=1 << 20, description="its greatest size on disk, of 1000000 bytes each"
    )


class Privacy(SpecModel):
    """What of people is left out of records, on the box, before anything is written."""

    addresses: Literal["keep", "truncate", "pseudonym"] = Field(
        default="keep", description="as they are, cut to a prefix, or replaced by a keyed pseudonym"
    )
    ipv4_prefix: Whole = Field(default=24, ge=8, le=32, description="length that truncate leaves of IPv4")
    ipv6_prefix: Whole = Field(default=48, ge=16, le=128, description="length that truncate leaves of IPv6")
    key_ref: Name | None = Field(
        default=None, description="name of the file with the pseudonyms' key in the secrets folder of a box"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Privacy:
        if (self.addresses == "pseudonym") != (self.key_ref is not None):
            raise wrong_field("keyRef goes with addresses: pseudonym", "keyRef")
        return self


class TracePolicySpec(SpecModel):
    """A tracer on each of the boxes."""

    boxes: BoxSelector = Field(description="the boxes that trace")
    interfaces: tuple[TracePoint, ...] = Field(
        min_length=1, max_length=128, description="what is watched on each of them"
    )
    directions: tuple[Direction, ...] = Field(
        default=("ingress", "egress"),
        min_length=1,
        description="seen from the box; drops and tcp are told of both",
    )
    filter: Filter | None = Field(
        default=None, description="only packets that match, in the syntax of pcap-filter(7)"
    )
    inner_filter: Filter | None = Field(
        default=None, description="only packets whose inner frame in a VXLAN tunnel matches"
    )
    modes: tuple[Mode, ...] = Field(
        default=("flows",),
        min_length=1,
        description="what is recorded: flows, packets, drops, tcp; tcp has no filter",
    )
    flows_max: Whole = Field(
        default=65536,
        ge=16,
        le=1 << 19,
        description="flows kept between two drains: so many of untagged IPv4 with ports, so many others and "
        "of the former that find no place, and so many again of what is dropped and of TCP connections each; "
        "more count as overflow",
    )
    active_timeout: Whole = Field(
        default=60,
        ge=1,
        le=3600,
        description="seconds after which a flow that goes on is recorded, and begins anew",
    )
    idle_timeout: Whole = Field(
        default=15,
        ge=1,
        le=1800,
        description="seconds without a packet after which a flow has ended and is recorded",
    )
    snap_length: Annotated[Whole, Field(ge=0, le=256)] | Literal["headers"] = Field(
        default="headers", description="bytes kept of a packet, or its headers alone"
    )
    sampling: Sampling = Field(
        default=NoSampling(mode="none"),
        description="which of the packets that match are recorded; drops and tcp are not sampled",
    )
    budget: Budget | None = Field(default=None, description="what it may cost a box; unbounded if not given")
    retention: Retention | None = Field(
        default=None,
        description="how long a box keeps what the policy has captured, within what smartxd.toml says of all",
    )
    privacy: Privacy = Field(
        default=Privacy(),
        description="what is left out of records; of packets all but headers that tell of no address",
    )

    @model_validator(mode="after")
    def _consistent(self) -> TracePolicySpec:
        if self.idle_timeout > self.active_timeout:
            message = f"idleTimeout {self.idle_timeout} is more than activeTimeout {self.active_timeout}"
            idle = "idle_timeout" in self.model_fields_set
            raise wrong_field(message, "idleTimeout" if idle else "activeTimeout")
        return self
