"""FRR state as the lines that ``show running-config`` of FRR prints for it: what is rendered converges.

FRR leaves out a line that is its default, and some defaults depend on the profile (``frr defaults``). Written
to what FRR 8.4 prints.
"""

from __future__ import annotations

from smartxd.planes.frr.render import bgp, lists, neighbor, routemap, static
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.state import (
    VNI,
    ASPathList,
    BFDProfile,
    CommunityList,
    Neighbor,
    Network,
    Part,
    PrefixList,
    Redistribution,
    RouteMap,
    Router,
    StaticRoute,
)
from smartxd.planes.frr.words import Path

__all__ = ["Context", "lines"]


def lines(part: Part, context: Context) -> tuple[Path, ...]:  # noqa: PLR0911 (a line per kind of part)
    """The statements of a part, in an order in which FRR takes them."""
    match part:
        case PrefixList():
            return lists.prefix_list(part)
        case CommunityList():
            return lists.community_list(part)
        case ASPathList():
            return lists.as_path_list(part)
        case RouteMap():
            return routemap.route_map(part)
        case BFDProfile():
            return static.bfd_profile(part)
        case StaticRoute():
            return static.route(part)
        case Router():
            return bgp.router(part, context)
        case Network():
            return bgp.network(part)
        case Redistribution():
            return bgp.redistribution(part)
        case VNI():
            return bgp.vni(part)
        case Neighbor():
            return neighbor.neighbor(part, context)
