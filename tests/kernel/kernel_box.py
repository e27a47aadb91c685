"""A kernel plane in a namespace of the tests', with the inventory that a daemon would keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from conftest import Namespace

from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.kernel.plane import KernelPlane
from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.state import Address, Bridge, KernelState, Vxlan
from smartxd.reconcile.converge import Round, converge
from smartxd.reconcile.plan import Ownership, Plan, Problem


class Entries:
    """An inventory in memory."""

    def __init__(self) -> None:
        self.by_id: dict[str, OwnedObject] = {}

    def owned(self) -> frozenset[OwnedObject]:
        return frozenset(self.by_id.values())

    def claim(self, objects: Iterable[OwnedObject]) -> None:
        self.by_id |= {o.id: o for o in objects}

    def release(self, objects: Iterable[OwnedObject]) -> None:
        for o in objects:
            self.by_id.pop(o.id, None)


class Box:
    """A box whose network smartxd keeps: a namespace, a plane in it, an inventory."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.inventory = Entries()
        with namespace.inside():
            self.plane = KernelPlane()

    def close(self) -> None:
        self.plane.close()

    def plan(self, desired: KernelState) -> Plan:
        return self.plane.plan(desired, self.plane.observe(), Ownership(self.inventory.owned()))

    def converge(self, desired: KernelState) -> Round:
        return converge(self.plane, desired, self.inventory, ())

    def settle(self, desired: KernelState) -> list[str]:
        """What one round did; nothing fails, and nothing is left to do."""
        steps = done(self.converge(desired))
        self.check(desired)
        return steps

    def check(self, desired: KernelState) -> None:
        """Nothing is left to do, by what the view has kept and by a fresh look at everything."""
        for fresh in (False, True):
            if fresh:
                self.plane.resync()
            left = self.plan(desired)
            assert [(a.verb.value, a.id, a.changes) for a in left.actions] == [], f"{fresh=}"

    @contextmanager
    def applying_with(self, kind: type[Rtnl], *arguments: Any) -> Iterator[Any]:
        """Changes go by a socket of this kind meanwhile; looks by the view's own."""
        with self.namespace.inside():
            other = kind(*arguments)
        own, self.plane._rtnl = self.plane._rtnl, other
        try:
            yield other
        finally:
            self.plane._rtnl = own
            other.close()


def done(found: Round) -> list[str]:
    """The steps of a round in which nothing failed."""
    assert [p.message for p in found.failures] == []
    return [f"{r.action.verb} {r.action.id}" for r in found.results]


def problems(found: Round) -> list[Problem]:
    return [*found.failures, *found.obstacles]


def segment(
    number: int = 100, host: int = 1, owner: ObjectRef | None = None
) -> tuple[Bridge, Vxlan, Address]:
    """A tunnel with its bridge and the box's address in it."""
    owner = owner or ObjectRef("Tunnel", f"seg{number}")
    bridge = Bridge(owner, f"br{number}", 1450)
    vxlan = Vxlan(
        owner,
        f"vx{number}",
        number,
        f"192.0.2.{host}",
        bridge.name,
        1450,
        group="239.1.1.100",
        underlay="wan",
        ttl=5,
    )
    return bridge, vxlan, Address(owner, bridge.name, f"10.0.{number % 250}.{host}/24")


def state(*segments: tuple[Bridge, Vxlan, Address]) -> KernelState:
    links = (*(s[0] for s in segments), *(s[1] for s in segments))
    return KernelState(links, addresses=tuple(s[2] for s in segments))
