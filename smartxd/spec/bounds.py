"""What a repo may ask for at most: the rules and the boxes work within these bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.port import PortSpec
from smartxd.spec.kinds.route import RouteSpec
from smartxd.spec.kinds.tracepolicy import TracePolicySpec
from smartxd.spec.kinds.tunnel import TunnelSpec
from smartxd.spec.names import is_pattern

DOCUMENTS_MAX = 50_000
"""Documents of one repo."""

VALUES_MAX = 2_000_000
"""Values of one repo, aliases expanded."""

ON_BOXES_MAX = 250_000
"""What objects do on their boxes, in one repo: see ``_on_each``."""

PATTERNS_MAX = 512
"""Patterns with * or ? of the Ports of one box: each may meet each other."""

TOO_MUCH = Rule(
    "SX011",
    "too-much",
    f"A repo has at most {DOCUMENTS_MAX} documents, {VALUES_MAX} values in them, and {ON_BOXES_MAX} things on"
    f" boxes; the Ports of a box have at most {PATTERNS_MAX} patterns with `*` or `?`.",
    "Every box reads the whole repo; the bounds keep a runaway generator, or somebody who means harm, from"
    " taking a box's memory and time. What stands behind the bound is not read. An object is one thing on"
    " each of its boxes, and so is each anycast address, pattern, next hop and traced interface that it"
    " gives them: divide the fleet into repos, or choose fewer boxes.",
    fixed=True,
)


def exceeded(fleet: Fleet) -> Iterator[Finding]:
    """Where objects, by the boxes that they choose, are too much; the first place of each bound."""
    total = 0
    patterns: dict[str, int] = {}
    for kind in ("Tunnel", "Bridge", "Port", "Route", "TracePolicy"):
        for obj in fleet.objects.get(kind, {}).values():
            boxes = fleet.members(obj)
            total += len(boxes) * _on_each(obj)
            if total > ON_BOXES_MAX:
                message = f"with those of {obj.ref} there are more than {ON_BOXES_MAX} things on boxes"
                yield obj.finding(TOO_MUCH, ("boxes",), message)
                return
            if isinstance(obj.spec, PortSpec):
                yield from _patterns(obj, boxes, patterns)


def _on_each(obj: Object[Any]) -> int:
    """What an object does on each of its boxes, itself included."""
    match obj.spec:
        case TunnelSpec(anycast_gateway=gateway):
            return 1 + (len(gateway.addresses) if gateway is not None else 0)
        case PortSpec(interfaces=given) | RouteSpec(via=given) | TracePolicySpec(interfaces=given):
            return 1 + len(given)
    return 1


def _patterns(port: Object[PortSpec], boxes: tuple[str, ...], counts: dict[str, int]) -> Iterator[Finding]:
    """Whether the patterns of a Port are too many with those before it; told of each box once."""
    given = sum(map(is_pattern, port.spec.interfaces))
    for box in boxes if given else ():
        before = counts.get(box, 0)
        counts[box] = before + given
        if before <= PATTERNS_MAX < counts[box]:
            message = f"with those of {port.ref} {box} has more than {PATTERNS_MAX} patterns with * or ?"
            yield port.finding(TOO_MUCH, ("interfaces",), message)
            return
