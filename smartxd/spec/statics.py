"""Who keeps the static routes of a box: the kernel, or FRR where its speaker announces them as ``static``.

FRR's ``redistribute static`` is about the routes of its own staticd, in the main table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from smartxd.spec.addresses import family_of
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.route import RouteSpec
from smartxd.spec.places import Path
from smartxd.spec.ways import MAIN_TABLE


@dataclass(frozen=True, slots=True)
class Static:
    """A Route on one of its boxes."""

    route: Object[RouteSpec]
    asked: bool
    """Whether the box's speaker announces routes like this one as ``static``."""
    hindrance: tuple[Path, str] | None = None
    """What it says that FRR's static routes have not, where it is asked for."""

    @property
    def by_frr(self) -> bool:
        """Whether FRR keeps it, instead of the kernel plane."""
        return self.asked and self.hindrance is None


def statics(fleet: Fleet, box: str) -> tuple[Static, ...]:
    """The Routes of a box, in the order of names."""
    routes: tuple[Object[RouteSpec], ...] = fleet.on("Route", box)
    families = set(_announced(fleet, box))
    main = Counter(route.spec.destination for route in routes if route.spec.table == MAIN_TABLE)
    found = []
    for route in routes:
        spec = route.spec
        asked = spec.table == MAIN_TABLE and f"{family_of(spec.destination)}Unicast" in families
        hindrance = _hindrance(spec, alone=main[spec.destination] == 1) if asked else None
        found.append(Static(route, asked, hindrance))
    return tuple(found)


def _announced(fleet: Fleet, box: str) -> Iterator[str]:
    """The families in which the speaker of a box announces static routes."""
    router = fleet.router_of(box)
    if router is not None and any(entry.source == "static" for entry in router.spec.redistribute):
        yield from router.spec.families


def _hindrance(spec: RouteSpec, *, alone: bool) -> tuple[Path, str] | None:
    if spec.metric:
        return ("metric",), "FRR's static routes have no metric"
    for i, hop in enumerate(spec.via):
        if hop.weight != 1:
            return ("via", i, "weight"), "FRR's static routes have no weights"
    if not alone:
        # To zebra a route of the kernel is better than any of its own, whatever its metric.
        return ("destination",), "another Route leads there, and FRR would prefer that of the kernel"
    return None
