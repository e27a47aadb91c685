"""From what is traced to what should be: pure.

A policy is ours when it is pinned in the box's own folder: only smartxd makes folders of that name there, and
to remove them touches nobody else's. The folder is therefore enough of a key, where other planes need two: a
policy that the inventory has lost is entered again when it is wanted, and retired, not left to run for ever,
when it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from smartxd.objects import ObjectRef
from smartxd.planes.trace.state import (
    INTERFACES_MAX,
    Attachment,
    Interface,
    PinnedPolicy,
    TraceObserved,
    Tracer,
    TraceState,
)
from smartxd.reconcile.plan import Action, Change, Ownership, Plan, Problem, Verb, changes_between

PLANE = "trace"
KIND = "TracePolicy"
"""The kind of object that policies are made for; a folder's name gives its name only."""


def wanted(tracer: Tracer, interfaces: Mapping[str, Interface]) -> frozenset[Attachment]:
    """Where the tracer's programs should run, as far as the interfaces exist."""
    return frozenset(
        Attachment(name, direction, interfaces[name].ifindex)
        for name in tracer.interfaces
        if name in interfaces and interfaces[name].ethernet
        for direction in tracer.directions
    )


def fits(policy: PinnedPolicy, tracer: Tracer, fingerprint: str) -> bool:
    """Whether a build can serve the tracer as it is; where it is attached does not matter."""
    return policy.fingerprint == fingerprint and policy.flows_max == tracer.flows_max


def plan(desired: TraceState, observed: TraceObserved, owned: Ownership) -> Plan:
    """The steps from observed to desired; what is pinned and not desired goes."""
    actions: list[Action] = []
    problems: list[Problem] = []
    inventory = owned.of(PLANE)
    for tracer in desired.tracers:
        found = _problems(tracer, observed.interfaces)
        problems += found
        if len(tracer.interfaces) > INTERFACES_MAX:
            continue
        action = _action(tracer, observed, inventory.get(tracer.id))
        if action is not None:
            actions.append(action)
    names = {tracer.owner.name for tracer in desired.tracers}
    for name in sorted({p.name for p in observed.policies if not p.retired} - names):
        owner = inventory.get(f"policy {name}", ObjectRef(KIND, name))
        old = _as_tracer(owner, observed.live(name)[0])
        actions.append(Action(PLANE, old.id, owner, Verb.DELETE, old=old))
    return Plan(tuple(actions), tuple(problems))


def _action(tracer: Tracer, observed: TraceObserved, recorded: ObjectRef | None) -> Action | None:
    live = observed.live(tracer.owner.name)
    if not live:
        return Action(PLANE, tracer.id, tracer.owner, Verb.CREATE, new=tracer)
    serving = next((p for p in live if fits(p, tracer, observed.fingerprint)), None)
    if serving is None:
        old = _as_tracer(tracer.owner, live[0])
        changes = changes_between(old, tracer, ignore=("owner", "interfaces", "directions"))
        if live[0].fingerprint != observed.fingerprint:
            changes += (Change("program", live[0].fingerprint, observed.fingerprint),)
        return Action(PLANE, tracer.id, tracer.owner, Verb.RECREATE, old=old, new=tracer, changes=changes)
    changes = ()
    places = wanted(tracer, observed.interfaces)
    if places != serving.attachments or len(live) > 1:
        changes += (Change("attached", _names(serving.attachments), _names(places)),)
    if recorded != tracer.owner:
        changes += (Change("inventory", recorded, tracer.owner),)
    if not changes:
        return None
    old = _as_tracer(tracer.owner, serving)
    return Action(PLANE, tracer.id, tracer.owner, Verb.UPDATE, old=old, new=tracer, changes=changes)


def _problems(tracer: Tracer, interfaces: Mapping[str, Interface]) -> list[Problem]:
    owner, count = tracer.owner, len(tracer.interfaces)
    if count > INTERFACES_MAX:
        message = f"{count} interfaces, at most {INTERFACES_MAX} fit in one policy: split it"
        return [Problem(owner, "TooManyInterfaces", message, permanent=True)]
    found = []
    for name in tracer.interfaces:
        if name not in interfaces:
            message = f"interface {name} does not exist; it is traced as soon as it appears"
            found.append(Problem(owner, "WaitingForInterface", message))
        elif not interfaces[name].ethernet:
            message = f"interface {name} carries no Ethernet frames: it cannot be traced"
            found.append(Problem(owner, "NotEthernet", message))
    return found


def _names(places: frozenset[Attachment]) -> tuple[str, ...]:
    return tuple(f"{p.interface}/{p.direction}" for p in sorted(places))


def _as_tracer(owner: ObjectRef, policy: PinnedPolicy) -> Tracer:
    places = policy.attachments
    empty = Tracer(owner, (), (), policy.flows_max)
    return replace(
        empty,
        interfaces=tuple(sorted({p.interface for p in places})),
        directions=tuple(sorted({p.direction for p in places})),
    )
