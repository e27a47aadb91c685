"""A plan as ``-o json`` and the daemon's socket say it: a stable interface, explained in docs/plan.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from smartxd.objects import ObjectRef
from smartxd.reconcile.plan import Action, Disruption, Plan, Problem, Verb

HIDDEN = "***"
"""In place of a secret: the value of a field that its dataclass keeps out of its ``repr``."""

Basis = Literal["nothing", "commit", "observed"]


class PlannedAction(BaseModel):
    """One step on one object."""

    plane: str = Field(description="kernel, frr or trace")
    id: str = Field(description="the object, unique within its plane: `link vx100`, `neighbor 192.0.2.2`")
    owner: str = Field(description="the spec object that asks for it, or asked for what goes: `Kind/name`")
    verb: Verb = Field(description="what is done to the object")
    disruption: Disruption = Field(
        description="what traffic notices: nothing, a session or port that goes down and comes back, "
        "or an object that is away until it is made anew"
    )
    fields: dict[str, tuple[JsonValue, JsonValue]] = Field(
        description="`[old, new]` of each field that changes; old is null in what is made, new in what goes. "
        "A create and a delete hold every field that says something. Secrets are `***`"
    )


class PlannedProblem(BaseModel):
    """What stands in the way of an object."""

    owner: str = Field(description="the spec object that is not as it should be, `Kind/name`")
    reason: str = Field(description="CamelCase, for programs: `MissingUnderlay`, `ForeignObject`")
    message: str = Field(description="one line that a person can act on")
    permanent: bool = Field(description="whether it stays until the spec or the box is changed")


class Disruptions(BaseModel):
    """How many actions disturb traffic, and how."""

    none: int = Field(description="actions that traffic does not notice")
    flap: int = Field(description="actions by which a session or port goes down and comes back")
    recreate: int = Field(description="actions that take an object away and make it anew")


class PlanSummary(BaseModel):
    """The plan in numbers."""

    create: int = Field(description="objects to make")
    update: int = Field(description="objects to change in place")
    recreate: int = Field(description="objects to remove and make anew")
    delete: int = Field(description="objects to remove")
    disruption: Disruptions = Field(description="the same actions by what traffic notices")
    problems: int = Field(description="problems")


class PlanReport(BaseModel):
    """What smartxd would do to one box, in the order in which it would."""

    box: str = Field(description="name of the Box")
    basis: Basis = Field(
        description="what the plan starts from: `nothing` (a box without anything of smartxd's), `commit` "
        "(a box as the specs of `base` make it) or `observed` (the box as it is)"
    )
    base: str = Field(
        description="full hash of the commit it starts from, or, where basis is `observed`, of the commit "
        "that was applied last; empty where there is none"
    )
    commit: str = Field(description="full hash of the commit it leads to; empty for files of no commit")
    summary: PlanSummary = Field(description="the plan in numbers")
    actions: tuple[PlannedAction, ...] = Field(description="the steps in the order of applying")
    problems: tuple[PlannedProblem, ...] = Field(description="what stands in the way")


def report(box: str, plans: Sequence[Plan], *, basis: Basis, commit: str = "", base: str = "") -> PlanReport:
    """The plans of a box's planes, in the order in which they are applied, as one report."""
    actions = [action for plan in plans for action in plan.actions]
    problems = dict.fromkeys(problem for plan in plans for problem in plan.problems)
    return PlanReport(
        box=box,
        basis=basis,
        base=base,
        commit=commit,
        summary=_summary(actions, len(problems)),
        actions=tuple(_action(action) for action in actions),
        problems=tuple(_problem(problem) for problem in problems),
    )


def _summary(actions: Sequence[Action], problems: int) -> PlanSummary:
    verbs = {verb.value: sum(a.verb is verb for a in actions) for verb in Verb}
    kinds = {kind.value: sum(a.disruption is kind for a in actions) for kind in Disruption}
    return PlanSummary(**verbs, disruption=Disruptions(**kinds), problems=problems)


def _action(action: Action) -> PlannedAction:
    return PlannedAction(
        plane=action.plane,
        id=action.id,
        owner=str(action.owner),
        verb=action.verb,
        disruption=action.disruption,
        fields=dict(_fields(action)),
    )


def _problem(problem: Problem) -> PlannedProblem:
    return PlannedProblem(
        owner=str(problem.owner),
        reason=problem.reason,
        message=problem.message,
        permanent=problem.permanent,
    )


def _fields(action: Action) -> Iterator[tuple[str, tuple[JsonValue, JsonValue]]]:
    """Old and new values: the changes, or every field of what is made or goes."""
    hidden = _hidden(action.old) | _hidden(action.new)
    for name, old, new in _values(action):
        show = (lambda value: None if value is None else HIDDEN) if name in hidden else plain
        yield name, (show(old), show(new))


def _values(action: Action) -> Iterator[tuple[str, object, object]]:
    """Name, old and new value. Of a field that changes twice (lines of FRR's) each change has a name."""
    if action.changes:
        seen: dict[str, int] = {}
        for change in action.changes:
            seen[change.field] = count = seen.get(change.field, 0) + 1
            yield change.field if count == 1 else f"{change.field} {count}", change.old, change.new
        return
    some = action.old if action.verb is Verb.DELETE else action.new
    for name in (f.name for f in fields(some)) if is_dataclass(some) else ():
        value = getattr(some, name)
        if name == "owner":
            continue
        for part, said in _flat(name, value):
            # What is empty or off is left out; 0 is neither.
            if said is not False and said not in ("", (), None, frozenset()):
                yield (part, said, None) if action.verb is Verb.DELETE else (part, None, said)


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    """What is nested, as the settings of a port, field by field."""
    if is_dataclass(value) and not isinstance(value, type) and not _has_words(value):
        yield from ((f"{name}.{f.name}", getattr(value, f.name)) for f in fields(value) if f.repr)
    else:
        yield name, value


def _has_words(value: object) -> bool:
    """Whether its class says how it is written."""
    return type(value).__str__ is not object.__str__


def _hidden(state: object) -> frozenset[str]:
    return frozenset(f.name for f in fields(state) if not f.repr) if is_dataclass(state) else frozenset()


def written(value: JsonValue) -> str:
    """The value as a person reads it, on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(map(written, value)) or "[]"
        case dict():
            return ",".join(f"{name}={written(item)}" for name, item in value.items()) or "{}"
        case str() if value.split() != [value]:
            return f'"{value}"'
        case _:
            return str(value)


def plain(value: object) -> JsonValue:  # noqa: PLR0911 (a line per type)
    """The value as JSON has it: enums and references as text, sets sorted, dataclasses by field."""
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int() | float() | str():
            return value
        case ObjectRef():
            return str(value)
        case list() | tuple():
            return [plain(item) for item in value]
        case AbstractSet():
            return [plain(item) for item in sorted(value)]
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case _ if is_dataclass(value) and not _has_words(value):
            return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.repr}
        case _:
            return str(value)
