"""What would be pinned once a state had been applied: where a plan between commits starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smartxd.planes.trace.diff import wanted
from smartxd.planes.trace.state import INTERFACES_MAX, Interface, PinnedPolicy, TraceObserved, TraceState

FINGERPRINT = "assumed"
"""In place of the fingerprint of the C sources: the program is taken to be the same before and after."""


def assumed(state: TraceState, interfaces: Mapping[str, Interface]) -> TraceObserved:
    """A box with these interfaces and the tracers of ``state``; a policy that is too large is not there."""
    policies = (
        PinnedPolicy(
            name=tracer.owner.name,
            fingerprint=FINGERPRINT,
            incarnation=FINGERPRINT,
            pin_dir=Path(tracer.owner.name),
            flows_max=tracer.flows_max,
            attachments=wanted(tracer, interfaces),
        )
        for tracer in state.tracers
        if len(tracer.interfaces) <= INTERFACES_MAX
    )
    return TraceObserved(FINGERPRINT, tuple(sorted(policies, key=lambda p: p.name)), dict(interfaces))
