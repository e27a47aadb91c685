"""The kinds of specs, a file each; a new kind is a file here, a line below and a function in ``desired``."""

from __future__ import annotations

from smartxd.spec.fields import SpecModel
from smartxd.spec.kinds.bgppeer import BGPPeerSpec
from smartxd.spec.kinds.bgprouter import BGPRouterSpec
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.tracepolicy import TracePolicySpec
from smartxd.spec.kinds.tunnel import TunnelSpec

KINDS: dict[str, type[SpecModel]] = {
    "Box": BoxSpec,
    "Tunnel": TunnelSpec,
    "BGPRouter": BGPRouterSpec,
    "BGPPeer": BGPPeerSpec,
    "TracePolicy": TracePolicySpec,
}
