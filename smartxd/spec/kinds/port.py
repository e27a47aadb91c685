"""Port: what plugs into a virtual switch when it appears; never created or deleted by smartxd."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from smartxd.spec.fields import VLAN, BoxSelector, InterfacePattern, Name, SpecModel, VLANRange, wrong_field

_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


def _namespace(value: str) -> str:
    if not _NAMESPACE.fullmatch(value):
        raise ValueError("a network namespace is a file name under /run/netns, as ip-netns(8) makes them")
    return value


NetworkNamespace = Annotated[
    str, AfterValidator(_namespace), Field(json_schema_extra={"pattern": f"^{_NAMESPACE.pattern}$"})
]


class Trunk(SpecModel):
    """Several VLANs over one port (IEEE 802.1Q)."""

    vlans: tuple[VLANRange, ...] = Field(
        min_length=1, max_length=256, description="tagged VLANs: IDs, and ranges as '10-20'"
    )
    native: VLAN | None = Field(
        default=None, description="the VLAN of untagged frames; without it they are dropped"
    )


class PortSpec(SpecModel):
    """Interfaces of VMs and containers that are attached to a virtual switch when they appear."""

    boxes: BoxSelector = Field(description="the boxes on which they may appear")
    interfaces: tuple[InterfacePattern, ...] = Field(
        min_length=1, max_length=64, description="their names or patterns of names, as tap*"
    )
    namespace: NetworkNamespace | None = Field(
        default=None,
        description="only veths whose other end is in this network namespace (a name under /run/netns)",
    )
    tunnel: Name | None = Field(default=None, description="plug into the virtual switch of this Tunnel")
    bridge: Name | None = Field(default=None, description="plug into this Bridge")
    access: VLAN | None = Field(default=None, description="the one VLAN of the port, untagged")
    trunk: Trunk | None = Field(default=None, description="several VLANs, tagged")
    isolated: bool = Field(
        default=False, strict=True, description="no traffic to other isolated ports of the switch"
    )

    @model_validator(mode="after")
    def _consistent(self) -> PortSpec:
        if self.tunnel is None and self.bridge is None:
            raise ValueError("give tunnel or bridge")
        if self.tunnel is not None and self.bridge is not None:
            raise wrong_field("give either tunnel or bridge", "bridge")
        if self.access is not None and self.trunk is not None:
            raise wrong_field("give either access or trunk", "trunk")
        return self
