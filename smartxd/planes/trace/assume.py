"""What would be pinned once a state had been applied: where a plan between commits starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smartxd.planes.trace.diff import fingerprint, refusals, wanted
from smartxd.planes.trace.state import Interface, PinnedPolicy, TraceObserved, TraceState

FINGERPRINT = "assumed"
"""In place of the fingerprint of the C sources: the program is taken to be the same before and after."""


def assumed(state: TraceState, interfaces: Mapping[str, Interface]) -> TraceObserved:
    """A box with these interfaces and the tracers of ``state`` that can be built."""
    policies = (
        PinnedPolicy(
            name=tracer.owner.name,
            fingerprint=fingerprint(tracer, FINGERPRINT),
            incarnation=FINGERPRINT,
            pin_dir=Path(tracer.owner.name),
            flows_max=tracer.flows_max,
            attachments=wanted(tracer, interfaces),
            budget=tracer.budget,
        )
        for tracer in state.tracers
        if not any(refusals(tracer))
    )
    return TraceObserved(FINGERPRINT, tuple(sorted(policies, key=lambda p: p.name)), dict(interfaces))
