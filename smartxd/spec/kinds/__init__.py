"""The kinds of specs, a file each; a new kind is a file here, a line below and a function in ``desired``."""

from __future__ import annotations

from smartxd.spec.fields import SpecModel
from smartxd.spec.kinds.aspathlist import ASPathListSpec
from smartxd.spec.kinds.bgppeer import BGPPeerSpec
from smartxd.spec.kinds.bgprouter import BGPRouterSpec
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.bridge import BridgeSpec
from smartxd.spec.kinds.checkpolicy import CheckPolicySpec
from smartxd.spec.kinds.communitylist import CommunityListSpec
from smartxd.spec.kinds.port import PortSpec
from smartxd.spec.kinds.prefixlist import PrefixListSpec
from smartxd.spec.kinds.route import RouteSpec
from smartxd.spec.kinds.routemap import RouteMapSpec
from smartxd.spec.kinds.tracepolicy import TracePolicySpec
from smartxd.spec.kinds.tunnel import TunnelSpec

KINDS: dict[str, type[SpecModel]] = {
    "Box": BoxSpec,
    "Tunnel": TunnelSpec,
    "Bridge": BridgeSpec,
    "Port": PortSpec,
    "BGPRouter": BGPRouterSpec,
    "BGPPeer": BGPPeerSpec,
    "PrefixList": PrefixListSpec,
    "RouteMap": RouteMapSpec,
    "CommunityList": CommunityListSpec,
    "ASPathList": ASPathListSpec,
    "Route": RouteSpec,
    "TracePolicy": TracePolicySpec,
    "CheckPolicy": CheckPolicySpec,
}
"""In the order in which a reader meets them."""
