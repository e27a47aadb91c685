"""TracePolicy: what to trace, on which interfaces, how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from smartxd.spec.fields import BoxSelector, InterfaceName, Name, SpecModel, Whole

Direction = Literal["ingress", "egress"]


class TracePoint(SpecModel):
    """Interfaces to watch: one by name, or both sides of a tunnel: its VXLAN link and the underlay."""

    name: InterfaceName | None = Field(default=None, description="an interface")
    tunnel: Name | None = Field(default=None, description="a Tunnel")

    @model_validator(mode="after")
    def _one_way(self) -> TracePoint:
        if (self.name is None) == (self.tunnel is None):
            raise ValueError("give either name or tunnel")
        return self


class TracePolicySpec(SpecModel):
    """A tracer on each of the boxes."""

    boxes: BoxSelector
    interfaces: tuple[TracePoint, ...] = Field(min_length=1)
    directions: tuple[Direction, ...] = Field(default=("ingress", "egress"), min_length=1)
    modes: tuple[Literal["flows"], ...] = Field(default=("flows",), min_length=1)
    flows_max: Whole = Field(
        default=65536, ge=16, le=1 << 20, description="flows kept between two drains; more count as overflow"
    )
