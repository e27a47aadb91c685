"""Route: a static route on boxes."""

from __future__ import annotations

from pydantic import Field, model_validator

from smartxd.spec.addresses import Prefix, RouterAddress, family_of
from smartxd.spec.fields import BoxSelector, InterfaceName, SpecModel, Whole, wrong_field


class NextHop(SpecModel):
    """Where packets go next: an address, an interface, or an address on an interface."""

    address: RouterAddress | None = Field(
        default=None, description="the next router, of the route's family; link-local ones need the interface"
    )
    interface: InterfaceName | None = Field(default=None, description="the link to it; found if not given")
    weight: Whole = Field(default=1, ge=1, le=256, description="its share among several next hops")

    @model_validator(mode="after")
    def _somewhere(self) -> NextHop:
        if self.interface is not None:
            return self
        if self.address is None:
            raise ValueError("give address, interface or both")
        if self.address.version == 6 and self.address.is_link_local:
            raise wrong_field("a link-local address is on each link; give interface too", "address")
        return self


class RouteSpec(SpecModel):
    """A static route on boxes: in the kernel, or in FRR where the BGPRouter redistributes static."""

    boxes: BoxSelector = Field(description="the boxes that have it")
    destination: Prefix = Field(description="the prefix that it leads to; 0.0.0.0/0 or ::/0 for all others")
    via: tuple[NextHop, ...] = Field(
        default=(), max_length=32, description="next hops; several share the traffic"
    )
    blackhole: bool = Field(default=False, strict=True, description="drop what goes there, instead of via")
    metric: Whole = Field(
        default=0, ge=0, le=0xFFFFFFFF, description="the lowest of several routes to a prefix wins"
    )
    table: Whole = Field(default=254, ge=1, le=0xFFFFFFFF, description="routing table; 254 is main")

    @model_validator(mode="after")
    def _consistent(self) -> RouteSpec:
        if not self.via and not self.blackhole:
            raise ValueError("give via or blackhole")
        if self.via and self.blackhole:
            raise wrong_field("give either via or blackhole", "blackhole")
        if self.table in (255, 253):
            raise wrong_field("the tables 253 (default) and 255 (local) are the kernel's", "table")
        for i, hop in enumerate(self.via):
            if hop.address is not None and family_of(hop.address) != family_of(self.destination):
                message = f"{hop.address} is of another family than {self.destination}"
                raise wrong_field(message, "via", i, "address")
        return self
