"""Bridge: a virtual switch on boxes, made by smartxd or by someone else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from smartxd.spec.fields import MTU, BoxSelector, Name, NewInterfaceName, SpecModel, wrong_field
from smartxd.spec.kinds.tunnel import Addresses

NATIVE_VLAN = 1
"""The VLAN of what a VLAN-aware bridge itself sends and takes untagged, as the kernel has it by default."""


class BridgeSpec(SpecModel):
    """A virtual switch that several tunnels and ports plug into."""

    boxes: BoxSelector = Field(description="the boxes that have it")
    interface: NewInterfaceName = Field(description="its name on each box")
    mode: Literal["managed", "external"] = Field(
        default="managed",
        description="managed: smartxd makes it; external: it is someone else's, smartxd only plugs into it",
    )
    vlan_aware: bool = Field(
        default=False, strict=True, description="VLAN filtering (IEEE 802.1Q): tunnels and ports name VLANs"
    )
    stp: bool | None = Field(default=None, strict=True, description="spanning tree (IEEE 802.1D); off")
    multicast_snooping: bool | None = Field(
        default=None, strict=True, description="IGMP and MLD snooping (RFC 4541); on"
    )
    mtu: MTU | Literal["auto"] | None = Field(
        default=None, description="auto: the smallest of what plugs into it, as if not given"
    )
    addresses: dict[Name, Addresses] = Field(
        default_factory=dict,
        description=(
            "its addresses with prefix length, by box: one or a list each;"
            f" untagged, which is VLAN {NATIVE_VLAN} of a VLAN-aware one"
        ),
    )

    @model_validator(mode="after")
    def _external_is_not_changed(self) -> BridgeSpec:
        if self.mode == "external":
            given = {
                "stp": self.stp is not None,
                "multicastSnooping": self.multicast_snooping is not None,
                "mtu": self.mtu is not None,
                "addresses": bool(self.addresses),
            }
            if wrong := [name for name, there in given.items() if there]:
                raise wrong_field("smartxd does not change an external bridge; leave it out", wrong[0])
        return self
