"""TracePolicy specs to the tracers of one box."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from smartxd.planes.trace.filter import Filter
from smartxd.planes.trace.state import Sampling, Tracer, TraceState
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds import tracepolicy
from smartxd.spec.kinds.tracepolicy import TracePoint, TracePolicySpec
from smartxd.spec.pcap import FilterError, LibpcapMissing, compiled
from smartxd.terms import Budget, Privacy, Retention


def lower(fleet: Fleet, box: str) -> TraceState:
    """The tracers that the specs ask of ``box``."""
    return TraceState(tuple(_tracer(fleet, box, policy) for policy in fleet.on("TracePolicy", box)))


def _tracer(fleet: Fleet, box: str, policy: Object[TracePolicySpec]) -> Tracer:
    spec = policy.spec
    names = {name for point in spec.interfaces for name in _interfaces(fleet, box, point)}
    return Tracer(
        owner=policy.ref,
        interfaces=tuple(sorted(names)),
        directions=tuple(sorted(set(spec.directions))),
        flows_max=spec.flows_max if "flows" in spec.modes else None,
        patterns=tuple(sorted({point.pattern for point in spec.interfaces if point.pattern is not None})),
        filter=_filter(spec.filter) if spec.filter is not None else None,
        inner_filter=_filter(spec.inner_filter) if spec.inner_filter is not None else None,
        sampling=_sampling(spec.sampling),
        snap_length=spec.snap_length if "packets" in spec.modes else None,
        drops_max=spec.flows_max if "drops" in spec.modes else None,
        tcp_max=spec.flows_max if "tcp" in spec.modes else None,
        budget=_budget(spec.budget),
        privacy=_privacy(spec.privacy),
        retention=_retention(spec.retention),
        active_timeout_s=spec.active_timeout,
        idle_timeout_s=spec.idle_timeout,
    )


def _interfaces(fleet: Fleet, box: str, point: TracePoint) -> Iterator[str]:
    """The interfaces that a point names; a tunnel or session that the box is not part of names none."""
    if point.name is not None:
        yield point.name
    elif point.tunnel is not None:
        tunnel = fleet.tunnels[point.tunnel]
        if box in fleet.members(tunnel):
            yield from (tunnel.spec.link_name, fleet.boxes[box].spec.underlay.interface)
    elif point.peer is not None:
        yield from _session_links(fleet, box, point.peer)


def _session_links(fleet: Fleet, box: str, peer: str) -> Iterator[str]:
    """What a session runs over on the box; from a loopback its packets leave by the underlay."""
    for end in fleet.peers[peer].spec.box_ends:
        if end.box != box:
            continue
        link = fleet.link_at(box, fleet.address_of(end))
        if end.interface is not None:
            yield end.interface
        elif link is not None and link.segment != "loopback":
            yield link.interface
        else:
            yield fleet.boxes[box].spec.underlay.interface


@lru_cache(maxsize=1024)
def _filter(text: str) -> Filter:
    try:
        return Filter(text, tuple((i.code, i.jt, i.jf, i.k) for i in compiled(text)))
    except (FilterError, LibpcapMissing) as err:
        return Filter(text, refused=str(err))


def _sampling(spec: tracepolicy.Sampling) -> Sampling | None:
    if isinstance(spec, tracepolicy.NoSampling):
        return None
    return Sampling(spec.mode, spec.one_in, spec.seed if isinstance(spec, tracepolicy.HashSampling) else 0)


def _budget(spec: tracepolicy.Budget | None) -> Budget | None:
    if spec is None or (spec.cpu_percent is None and spec.records_per_second is None):
        return None
    return Budget(spec.cpu_percent, spec.records_per_second)


def _privacy(spec: tracepolicy.Privacy) -> Privacy | None:
    if spec.addresses == "keep":
        return None
    return Privacy(spec.addresses, spec.ipv4_prefix, spec.ipv6_prefix, spec.key_ref or "")


def _retention(spec: tracepolicy.Retention | None) -> Retention | None:
    if spec is None or (spec.hours is None and spec.megabytes is None):
        return None
    return Retention(spec.hours, spec.megabytes)
