"""The rules across objects: what no single document can tell. A check is a function, Fleet to findings.

A module of rules has ``RULES``, the rules it knows; ``CHECKS``, the checks that are right about any part of
a fleet (what is in conflict stays so); and ``WHOLE_CHECKS``, those that take what is not there for missing
and so mislead while a document cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from smartxd.spec import document, envelope, severity
from smartxd.spec.finding import Finding, Location, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.rules import (
    claims,
    evpn,
    facing,
    gateways,
    management,
    policies,
    references,
    routes,
    sessions,
    shadows,
    speakers,
    switches,
    traces,
    underlays,
    unnumbered,
)

Check = Callable[[Fleet], Iterator[Finding]]


class _Rules(Protocol):
    """A module of rules."""

    RULES: tuple[Rule, ...]
    CHECKS: tuple[Check, ...]
    WHOLE_CHECKS: tuple[Check, ...]


_MODULES: tuple[_Rules, ...] = (
    references,
    claims,
    management,
    routes,
    gateways,
    underlays,
    evpn,
    switches,
    speakers,
    sessions,
    facing,
    unnumbered,
    policies,
    shadows,
    traces,
)

RULES: tuple[Rule, ...] = (
    *(document.UNREADABLE, document.SYNTAX, document.DUPLICATE_KEY),
    *envelope.RULES,
    *severity.RULES,
    *(rule for module in _MODULES for rule in module.RULES),
)
"""Of documents and of fleets, in no order."""


def check(fleet: Fleet, *, whole: bool) -> Iterator[Finding]:
    """What the rules find; of what one says of a field, the first. ``whole``: every document was read."""
    said: set[tuple[Location, str, str, str]] = set()
    for module in _MODULES:
        for run in (*module.CHECKS, *(module.WHOLE_CHECKS if whole else ())):
            for finding in run(fleet):
                key = (finding.location, finding.object, finding.field, finding.rule)
                if key not in said:
                    said.add(key)
                    yield finding
