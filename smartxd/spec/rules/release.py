"""What the language has and the planes of this release do not do yet.

A box refuses such a commit as a whole, as it would refuse a field that it does not know: half of what was
asked for may be worse than nothing. What a plane learns leaves this list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from smartxd.spec.fields import SpecModel
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.places import Path

NOT_YET = Rule(
    "SX012",
    "not-in-this-release",
    "The specs ask for nothing that this release cannot do yet.",
    "The language is larger than this release: `activeTimeout` and `idleTimeout` of a TracePolicy"
    " are to come, and so is `privacy` beside the mode packets. A box refuses the whole commit"
    " and keeps what it has, because half of what a spec asks for can be worse than nothing. Leave the field"
    " out, or validate with `--ignore SX012` to write specs for a later one.",
    fixed=True,
)

_FIELDS: dict[str, tuple[str, ...]] = {
    "TracePolicy": ("activeTimeout", "idleTimeout"),
}
"""Fields by kind that may only have their defaults; ``*`` stands for each item of a list."""


def nothing_is_asked_too_early(fleet: Fleet) -> Iterator[Finding]:
    """Each field that a plane does not know has its default."""
    for kind, fields in _FIELDS.items():
        for obj in fleet.objects.get(kind, {}).values():
            for field in fields:
                for path in _given(obj.spec, tuple(field.split("."))):
                    yield obj.finding(NOT_YET, path, "this release does not do it yet")


def no_value_is_asked_too_early(fleet: Fleet) -> Iterator[Finding]:
    """Each field of which a plane knows some values has one of those."""
    for policy in fleet.policies.values():
        if "packets" in policy.spec.modes and policy.spec.privacy.addresses != "keep":
            message = "this release hides addresses in flows, drops and connections, not in packets"
            yield policy.finding(NOT_YET, ("privacy",), message)


def _given(model: SpecModel, path: Path, above: Path = ()) -> Iterator[Path]:
    """Where a field below a model has something else than its default."""
    name = str(path[0])
    attribute, default = _field(type(model), name)
    if not attribute:  # of another branch of a union
        return
    value: Any = getattr(model, attribute)
    here: Path = (*above, name)
    if len(path) == 1:
        if value != default:
            yield here
    elif path[1] == "*":
        for i, item in enumerate(value):
            yield from _given(item, path[2:], (*here, i))
    elif value is not None:
        yield from _given(value, path[1:], here)


@cache
def _field(model: type[SpecModel], name: str) -> tuple[str, object]:
    """The attribute of a field and its default; an empty name where there is none."""
    for attribute, field in model.model_fields.items():
        if (field.alias or attribute) == name:
            return attribute, field.get_default(call_default_factory=True, validated_data={})
    return "", None


RULES: tuple[Rule, ...] = (NOT_YET,)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    nothing_is_asked_too_early,
    no_value_is_asked_too_early,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
