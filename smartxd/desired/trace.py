"""TracePolicy specs to the tracers of one box."""

from __future__ import annotations

from smartxd.planes.trace.state import Tracer, TraceState
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.tracepolicy import TracePoint


def lower(fleet: Fleet, box: str) -> TraceState:
    """The tracers that the specs ask of ``box``."""
    tracers = []
    for policy in fleet.on("TracePolicy", box):
        names = {name for point in policy.spec.interfaces for name in _interfaces(fleet, box, point)}
        tracers.append(
            Tracer(
                owner=policy.ref,
                interfaces=tuple(sorted(names)),
                directions=tuple(sorted(set(policy.spec.directions))),
                flows_max=policy.spec.flows_max,
            )
        )
    return TraceState(tuple(tracers))


def _interfaces(fleet: Fleet, box: str, point: TracePoint) -> list[str]:
    """The interfaces of ``box`` that a point means; a tunnel that the box is not part of means none."""
    if point.name is not None:
        return [point.name]
    tunnel = fleet.tunnels[point.tunnel or ""]
    if box not in fleet.members(tunnel):
        return []
    return [tunnel.spec.link_name, fleet.boxes[box].spec.underlay.interface]
