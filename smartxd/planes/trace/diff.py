"""From what is traced to what should be: pure.

A policy is ours when it is pinned in the box's own folder: only smartxd makes folders of that name there, and
to remove them touches nobody else's. The folder is therefore enough of a key, where other planes need two: a
policy that the inventory has lost is entered again when it is wanted, and retired, not left to run for ever,
when it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace

from smartxd.objects import ObjectRef
from smartxd.planes.trace import selection
from smartxd.planes.trace.state import (
    DROPPED,
    INTERFACES_MAX,
    TCP,
    Attachment,
    Interface,
    PinnedPolicy,
    TraceObserved,
    Tracer,
    TraceState,
    unavailable,
)
from smartxd.reconcile.plan import Action, Change, Ownership, Plan, Problem, Verb
from smartxd.secrets import Secrets
from smartxd.terms import Terms

PLANE = "trace"
KIND = "TracePolicy"
"""The kind of object that policies are made for; a folder's name gives its name only."""

_TOLD = {"drops": "drops", "tcp": "TCP connections"}
"""What programs on tracepoints record, by their name."""


def watched(tracer: Tracer, interfaces: Mapping[str, Interface]) -> tuple[str, ...]:
    """The interfaces that are there and that the tracer means, those it names first, then the oldest."""
    named = [name for name in tracer.interfaces if name in interfaces and interfaces[name].ethernet]
    matches = _matcher(tracer.patterns)
    matching = [
        (interface.ifindex, name)
        for name, interface in interfaces.items()
        if interface.ethernet and name not in tracer.interfaces and matches(name)
    ]
    return (*named, *(name for _, name in sorted(matching)))


def wanted(tracer: Tracer, interfaces: Mapping[str, Interface]) -> frozenset[Attachment]:
    """Where the tracer's programs should run, as far as the interfaces exist and there is room."""
    return frozenset(
        Attachment(name, direction, interfaces[name].ifindex)
        for name in watched(tracer, interfaces)[:INTERFACES_MAX]
        for direction in tracer.points
    )


def fingerprint(tracer: Tracer, sources: str) -> str:
    """Of a build for the tracer from these sources: another one than this must be built anew."""
    return sources + selection.fingerprint(tracer)


def fits(policy: PinnedPolicy, tracer: Tracer, sources: str) -> bool:
    """Whether a build can serve the tracer as it is; where it is attached does not matter."""
    return (policy.fingerprint, policy.flow_entries, policy.probes) == (
        *(fingerprint(tracer, sources), tracer.flow_entries),
        tracer.probes,
    )


def feasible(tracer: Tracer, observed: TraceObserved) -> Tracer:
    """The tracer as far as this kernel can do what it asks."""
    return _with_probes(
        tracer, {name: most for name, most in tracer.probes.items() if name not in observed.refused}
    )


def _with_probes(tracer: Tracer, probes: Mapping[str, int]) -> Tracer:
    return replace(tracer, drops_max=probes.get("drops"), tcp_max=probes.get("tcp"))


def plan(desired: TraceState, observed: TraceObserved, owned: Ownership) -> Plan:
    """The steps from observed to desired; what is pinned and not desired goes."""
    actions: list[Action] = []
    problems: list[Problem] = []
    inventory = owned.of(PLANE)
    for tracer in desired.tracers:
        problems += _problems(tracer, observed)
        problems += _key_problems(tracer, observed.secrets)
        if any(refusals(tracer)):
            continue
        action = _action(feasible(tracer, observed), observed, inventory.get(tracer.id))
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
        old, changes = _as_tracer(tracer.owner, live[0]), _rebuilt(live[0], tracer, observed.fingerprint)
        return Action(PLANE, tracer.id, tracer.owner, Verb.RECREATE, old=old, new=tracer, changes=changes)
    changes = ()
    places = wanted(tracer, observed.interfaces)
    if places != serving.attachments or len(live) > 1:
        changes += (Change("attached", _names(serving.attachments), _names(places)),)
    changes += tuple(_other_terms(serving.terms, tracer.terms))
    if recorded != tracer.owner:
        changes += (Change("inventory", recorded, tracer.owner),)
    if not changes:
        return None
    old = _as_tracer(tracer.owner, serving)
    return Action(
        *(PLANE, tracer.id, tracer.owner, Verb.UPDATE),
        old=old,
        new=tracer,
        changes=changes,
        # Interfaces come and go by themselves; a program that was ended was ended by somebody.
        follows=len(live) == 1 and serving.ended.isdisjoint(places) and serving.terms == tracer.terms,
    )


def _other_terms(was: Terms, now: Terms) -> Iterator[Change]:
    for field in fields(Terms):
        old, new = getattr(was, field.name), getattr(now, field.name)
        if old != new:
            yield Change(field.name, old, new)


def _rebuilt(policy: PinnedPolicy, tracer: Tracer, sources: str) -> tuple[Change, ...]:
    """Why a build cannot serve the tracer."""
    length, now = len(sources), fingerprint(tracer, sources)
    pairs = (
        ("flows_max", policy.flow_entries, tracer.flow_entries),
        *((f"{name}_max", policy.probes.get(name), tracer.probes.get(name)) for name in _TOLD),
        ("program", policy.fingerprint[:length], sources),
        ("selection", policy.fingerprint[length:], now[length:]),
    )
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def refusals(tracer: Tracer) -> Iterator[str]:
    """Why no program can be built for the tracer."""
    for name, filter in (("filter", tracer.filter), ("innerFilter", tracer.inner_filter)):
        if filter is not None and filter.refused:
            yield f"{name} {filter.text}: {filter.refused}"


def _key_problems(tracer: Tracer, secrets: Secrets) -> Iterator[Problem]:
    """Without its key a policy counts on, and capture leaves in the kernel what it may not store in clear."""
    key = tracer.privacy.key if tracer.privacy is not None else ""
    if key and (fault := secrets.fault(key)) is not None:
        yield Problem(tracer.owner, fault.reason, f"{fault.message}; until then nothing is stored")


def _problems(tracer: Tracer, observed: TraceObserved) -> list[Problem]:
    owner, interfaces = tracer.owner, observed.interfaces
    found = [Problem(owner, "FilterRefused", message, permanent=True) for message in refusals(tracer)]
    for name in tracer.interfaces:
        if name not in interfaces:
            message = f"interface {name} does not exist; it is traced as soon as it appears"
            found.append(Problem(owner, "WaitingForInterface", message))
        elif not interfaces[name].ethernet:
            message = f"interface {name} carries no Ethernet frames: it cannot be traced"
            found.append(Problem(owner, "NotEthernet", message))
    for name in tracer.probes:
        if name in observed.refused:
            message = f"{_TOLD[name]} are not recorded: {observed.refused[name]}"
            found.append(Problem(owner, unavailable(name), message))
    left_out = watched(tracer, interfaces)[INTERFACES_MAX:]
    if left_out:
        message = (
            f"{len(left_out)} interfaces from {left_out[0]} on are left out: a policy watches at most"
            f" {INTERFACES_MAX}; make several of it"
        )
        found.append(Problem(owner, "TooManyInterfaces", message))
    return found


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    """Tells names that one of the patterns matches: ``*`` stands for any characters, ``?`` for one."""
    wild = {"*": ".*", "?": "."}
    # Names are at most 15 characters long, so that no pattern takes long.
    choices = ("".join(wild.get(c, re.escape(c)) for c in pattern) for pattern in patterns)
    return re.compile("|".join(choices), re.DOTALL).fullmatch if patterns else lambda _: False


def _names(places: frozenset[Attachment]) -> tuple[str, ...]:
    return tuple(f"{p.interface}/{p.direction}" for p in sorted(places))


def _as_tracer(owner: ObjectRef, policy: PinnedPolicy) -> Tracer:
    places = policy.attachments
    tracer = Tracer(
        owner,
        interfaces=tuple(sorted({p.interface for p in places})),
        directions=tuple(sorted({p.direction for p in places} - {DROPPED, TCP})),
        flows_max=policy.flow_entries,
        budget=policy.terms.budget,
        privacy=policy.terms.privacy,
        retention=policy.terms.retention,
        active_timeout_s=policy.terms.active_timeout_s,
        idle_timeout_s=policy.terms.idle_timeout_s,
    )
    return _with_probes(tracer, policy.probes)
