"""What would be pinned once a state had been applied: where a plan between commits starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smartxd.planes.trace.diff import fingerprint, refusals, wanted
from smartxd.planes.trace.state import Interface, PinnedPolicy, TraceObserved, TraceState
from smartxd.secrets import Secrets

FINGERPRINT = "assumed"
"""In place of the fingerprint of the C sources: the program is taken to be the same before and after."""


def assumed(state: TraceState, interfaces: Mapping[str, Interface], *others: TraceState) -> TraceObserved:
    """A box with these interfaces and the tracers of ``state`` that can be built.

    The keys are there which it names, and which ``others`` name.
    """
    policies = (
        PinnedPolicy(
            name=tracer.owner.name,
            fingerprint=fingerprint(tracer, FINGERPRINT),
            incarnation=FINGERPRINT,
            pin_dir=Path(tracer.owner.name),
            flow_entries=tracer.flow_entries,
            drops_max=tracer.drops_max,
            attachments=wanted(tracer, interfaces),
            terms=tracer.terms,
        )
        for tracer in state.tracers
        if not any(refusals(tracer))
    )
    tracers = (tracer for each in (state, *others) for tracer in each.tracers)
    keys = frozenset(tracer.privacy.key for tracer in tracers if tracer.privacy is not None)
    pinned = tuple(sorted(policies, key=lambda p: p.name))
    return TraceObserved(FINGERPRINT, pinned, dict(interfaces), Secrets.assumed(keys))
