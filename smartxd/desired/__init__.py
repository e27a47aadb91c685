"""Fleet and box name to what the box should be. Pure and deterministic: same specs, same value."""

from __future__ import annotations

from dataclasses import dataclass

from smartxd.desired import frr, kernel, trace
from smartxd.objects import ObjectRef
from smartxd.planes.frr.state import ASPathList, CommunityList, FRRState, PrefixList, RouteMap
from smartxd.planes.kernel.state import KernelState
from smartxd.planes.trace.state import TraceState
from smartxd.spec.fleet import Fleet

_POLICIES = (PrefixList, CommunityList, ASPathList, RouteMap)


@dataclass(frozen=True, slots=True)
class Desired:
    """What one box should be, plane by plane, and the spec objects that say so."""

    objects: tuple[ObjectRef, ...] = ()
    """The objects that concern this box, its Box first."""
    kernel: KernelState = KernelState()
    frr: FRRState = FRRState()
    trace: TraceState = TraceState()


def desire(fleet: Fleet, box: str) -> Desired:
    """What ``box`` should be; KeyError when the fleet has no such box."""
    me = fleet.boxes[box]
    router, speaker = fleet.router_of(box), frr.lower(fleet, box)
    others = [
        *(o.ref for kind in ("Tunnel", "Bridge", "Port", "Route") for o in fleet.on(kind, box)),
        *([router.ref] if router is not None else []),
        *(o.ref for o in fleet.peers_of(box)),
        *(part.owner for kind in _POLICIES for part in speaker.of(kind)),
        *(o.ref for o in fleet.on("TracePolicy", box)),
    ]
    return Desired(
        objects=(me.ref, *others),
        kernel=kernel.lower(fleet, box),
        frr=speaker,
        trace=trace.lower(fleet, box),
    )
