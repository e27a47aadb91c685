"""Which VXLAN links can have the VNI that they want: the kernel takes one once per UDP port and family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from smartxd.planes.kernel.diff.scene import Scene
from smartxd.planes.kernel.observed import ObservedVxlan
from smartxd.planes.kernel.state import Vxlan

Segment = tuple[int, int, bool]
"""VNI, UDP port, and whether the underlay is IPv6."""


def segment(vxlan: Vxlan | ObservedVxlan) -> Segment:
    """What two VXLAN links cannot both have."""
    return vxlan.vni, vxlan.port, ":" in vxlan.local + vxlan.group


def refused(scene: Scene, candidates: Mapping[str, Vxlan]) -> dict[str, str]:
    """Those of the links that would be made, or made anew, which cannot be: who has the VNI, by name.

    A candidate gives up the VNI that it has, so that tunnels may pass their VNIs on, or exchange them; one
    that is refused stays as it is, and whoever wanted its VNI is refused as well.
    """
    if not candidates:
        return {}
    holders: dict[Segment, list[str]] = defaultdict(list)
    held: dict[str, Segment] = {}
    for name in sorted(scene.observed.links):
        link = scene.observed.links[name]
        if link.vxlan is None or scene.perishes(name):
            continue
        if name in candidates:
            held[name] = segment(link.vxlan)
        else:
            holders[segment(link.vxlan)].append(name)
    found: dict[str, str] = {}
    takers: dict[Segment, str] = {}
    for name, want in candidates.items():
        holder = next(iter(holders[segment(want)]), None) or takers.get(segment(want))
        if holder is not None:
            found[name] = holder
        else:
            takers[segment(want)] = name
    stuck = [name for name in found if name in held]
    while stuck:
        holder = stuck.pop()
        taker = takers.get(held[holder])
        if taker is not None and taker != holder and taker not in found:
            found[taker] = holder
            if taker in held:
                stuck.append(taker)
    return found
