"""Static routes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from smartxd.planes.kernel.diff.scene import Scene, action
from smartxd.planes.kernel.observed import ObservedRoute
from smartxd.planes.kernel.state import NextHop, Route
from smartxd.reconcile.plan import Action, Change, Verb


@dataclass
class Routes:
    """Plans routes: their own protocol number is the mark, so that those of others are not even seen."""

    scene: Scene

    def deletions(self) -> tuple[list[Action], list[Action]]:
        """Those that would go with a link, before it goes, and those that wait until others are there."""
        early: list[Action] = []
        late: list[Action] = []
        for gone, have in self._gone():
            (early if self._falls(have, whole=False) else late).append(action(Verb.DELETE, gone, None))
        return early, late

    def _gone(self) -> list[tuple[Route, ObservedRoute]]:
        """What the inventory has, the specs no longer ask for, and the kernel still has as ours."""
        found = []
        for id, owner in self.scene.unwanted("route"):
            destination, _, metric, _, table = id.split(" ")
            have = self.scene.observed.routes.get((destination, int(metric), int(table)))
            if have is not None:
                route = Route(owner, have.destination, have.hops, have.metric, have.table)
                found.append((route, have))
        # A gateway is often reached by a route of its own, which goes after what needs it.
        return sorted(found, key=lambda pair: (not _by_gateway(pair[0]), pair[0].id))

    def plan(self) -> None:
        """Plan what is wanted; links and addresses, by which gateways are reached, come before."""
        for want in sorted(self.scene.desired.routes, key=lambda r: (_by_gateway(r), _key(r))):
            self._route(want)

    def _route(self, want: Route) -> None:
        scene = self.scene
        missing = next((h.link for h in want.hops if h.link and not scene.there(h.link)), None)
        if missing is not None:
            scene.waits(want.owner, want.id, missing)
            return
        have = scene.observed.routes.get(_key(want))
        if have is None or self._falls(have, whole=True):
            scene.actions.append(action(Verb.CREATE, None, want))
            return
        changes: tuple[Change, ...] = ()
        if have.blackhole == bool(want.hops):
            changes += (Change("blackhole", have.blackhole, not want.hops),)
        if self._falls(have, whole=False) or _linked(want.hops, have.hops) != _sorted(have.hops):
            changes += (Change("hops", have.hops, want.hops),)
        changes += scene.entry(want.id, want.owner)
        if changes:
            old = replace(want, hops=have.hops)
            scene.actions.append(action(Verb.UPDATE, old, want, changes))

    def _falls(self, have: ObservedRoute, *, whole: bool) -> bool:
        """Whether links or addresses that perish take the route with them, or some of its next hops.

        One next hop takes all of an IPv4 route, and itself only of an IPv6 one.
        """
        scene = self.scene
        ipv6 = ":" in have.destination
        fallen = [scene.perishes(h.link) or (not ipv6 and h.link in scene.bared) for h in have.hops]
        return all(fallen) and bool(fallen) if whole and ipv6 else any(fallen)


def _key(route: Route | ObservedRoute) -> tuple[str, int, int]:
    return route.destination, route.metric, route.table


def _by_gateway(route: Route) -> bool:
    return any(h.address for h in route.hops)


def _linked(wanted: Iterable[NextHop], there: Iterable[NextHop]) -> list[NextHop]:
    """The wanted next hops, sorted; of one that names no link it is the kernel that knows the link."""
    links = {(h.address, h.weight): h.link for h in there}
    return _sorted(h if h.link else replace(h, link=links.get((h.address, h.weight), "")) for h in wanted)


def _sorted(hops: Iterable[NextHop]) -> list[NextHop]:
    return sorted(hops, key=lambda h: (h.address, h.link, h.weight))
