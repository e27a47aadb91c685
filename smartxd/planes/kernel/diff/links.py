"""Bridges, VLANs and VXLAN links."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.diff.compare import IMMUTABLE, differences, disruption
from smartxd.planes.kernel.diff.forwarding import not_routed
from smartxd.planes.kernel.diff.scene import Scene, action, ip
from smartxd.planes.kernel.diff.segments import refused, segment
from smartxd.planes.kernel.observed import ObservedLink
from smartxd.planes.kernel.state import Bridge, Link, Vlan, Vxlan
from smartxd.reconcile.plan import Action, Change, Disruption, Verb

ADOPT = 'smartx.io/adopt: "true"'
"""The annotation by which a spec lets its links be taken over."""


class _Whose(Enum):
    OURS = auto()
    """Mark and inventory agree."""
    ADOPTABLE = auto()
    """The mark says so and the inventory has been lost, or the annotation says so."""
    FOREIGN = auto()


@dataclass
class Links:
    """Plans the links, each after what it is on."""

    scene: Scene
    _had: dict[str, tuple[_Whose, tuple[Change, ...]]] = field(default_factory=dict)
    """Of the links that are there but not as wanted by both keys: whose they are, and what differs."""
    _settled: set[str] = field(default_factory=set)
    """Names of the links that are there as wanted by both keys: most of them, most of the time."""

    def deletions(self) -> list[Action]:
        """Links that the inventory has, the specs no longer ask for, and the kernel still holds marked.

        A bridge of ours that has become an external one stays: it has been handed over.
        """
        scene = self.scene
        kept = {link.bridge for link in scene.desired.links if not isinstance(link, Bridge)}
        kept |= {rule.bridge for rule in scene.desired.ports}
        gone: list[Link] = []
        for name, owner in scene.unwanted("link"):
            if name in kept or name not in scene.observed.links:
                continue
            have = scene.observed.links[name]
            state = have.as_state(owner)
            if state is not None and _whose(have, owner, owner) is _Whose.OURS:
                gone.append(state)
        order = (Vxlan, Vlan, Bridge)
        gone.sort(key=lambda link: (order.index(type(link)), link.name))
        scene.going.update(link.name for link in gone)
        return [action(Verb.DELETE, link, None) for link in gone]

    def exchanged(self, deletions: Iterable[Action]) -> list[Action]:
        """The deletions; of a link that comes back under another name traffic notices as if made anew."""
        made = {(a.owner, type(a.new)) for a in self.scene.actions if a.verb is Verb.CREATE}
        return [
            replace(a, disruption=Disruption.RECREATE) if (a.owner, type(a.old)) in made else a
            for a in deletions
        ]

    def plan(self) -> None:
        """Plan what is wanted; a link that cannot be had is not there for what builds upon it."""
        by_name = sorted(self.scene.desired.links, key=lambda link: link.name)
        for bridge in (link for link in by_name if isinstance(link, Bridge)):
            if self._available(bridge):
                self._link(bridge)
        if not self.scene.observed.routes_ipv6:
            for link in by_name:
                if not isinstance(link, Vxlan) and link.forwarding6:
                    self.scene.problems.append(not_routed(link.owner, link.name))
        for vlan in (link for link in by_name if isinstance(link, Vlan)):
            if self._available(vlan) and self._placed(vlan):
                self._link(vlan)
        self._vxlans([link for link in by_name if isinstance(link, Vxlan)])

    def _vxlans(self, wanted: list[Vxlan]) -> None:
        possible = {w.name: w for w in wanted if self._available(w) and self._carried(w) and self._placed(w)}
        taken = refused(self.scene, {name: w for name, w in possible.items() if self._seeks(w)})
        for name, holder in taken.items():
            want = possible.pop(name)
            text = f"{want.id}: VNI {want.vni} on UDP port {want.port} is in use by link {holder}"
            hint = f"delete {holder}, or choose another VNI"
            self.scene.problem(want.owner, "VNIInUse", text, hint, permanent=True)
            self.scene.lost.add(name)
        self._warn(possible.values())
        for want in possible.values():
            self._link(want)

    def _available(self, want: Link) -> bool:
        """Whether there is no link of that name, or one that may be changed."""
        scene = self.scene
        have = scene.observed.links.get(want.name)
        if have is None:
            return True
        changes = differences(want, have, aware=self._aware(want))
        recorded = scene.recorded.get(want.id)
        if not changes and recorded == want.owner:
            self._settled.add(want.name)
            return True
        whose = _whose(have, want.owner, recorded)
        if whose is _Whose.FOREIGN and not _unfit(want, changes) and want.owner in scene.desired.adopt:
            whose = _Whose.ADOPTABLE
        other = any(c.field == "kind" for c in changes)
        # A link of a kind that smartxd never makes is somebody else's, whatever it is marked as.
        if whose is _Whose.FOREIGN or (
            other and (whose is _Whose.ADOPTABLE or have.as_state(want.owner) is None)
        ):
            self._foreign(want, have, changes)
            return False
        self._had[want.name] = whose, changes
        return True

    def _aware(self, want: Link) -> bool:
        return not isinstance(want, Bridge) and self.scene.aware(want.bridge)

    def _foreign(self, want: Link, have: ObservedLink, changes: tuple[Change, ...]) -> None:
        kind = f"{have.kind or 'physical'} link"
        whose = f"is marked as {have.owner}'s" if have.owner else "does not bear smartxd's mark"
        hint = "rename or delete it"
        unfit = _unfit(want, changes)
        if not unfit:
            hint += f", or let {want.owner} take it over by the annotation {ADOPT}"
        elif want.owner in self.scene.desired.adopt:
            other = ", ".join(f"{c.field} {c.old or 'none'}, not {c.new or 'none'}" for c in unfit)
            hint += f"; it is too different to be taken over: {other}"
        self.scene.lost.add(want.name)
        text = f"{want.id}: a {kind} of that name {whose} and is left alone"
        self.scene.problem(want.owner, "ForeignObject", text, hint, permanent=True)

    def _placed(self, want: Vlan | Vxlan) -> bool:
        """Whether there is a bridge for it: to be a port of, or to be a VLAN of."""
        scene = self.scene
        if isinstance(want, Vxlan):
            fit = scene.plugs_in(want.owner, want.id, want.bridge, want.settings)
        else:
            fit = scene.there(want.bridge)
            if not fit:
                scene.waits(want.owner, want.id, want.bridge)
        if not fit:
            scene.lost.add(want.name)
        return fit

    def _carried(self, want: Vxlan) -> bool:
        """Whether its underlay link is there; without one the routes decide."""
        if not want.underlay or self.scene.there(want.underlay):
            return True
        text = f"{want.id}: its underlay link {want.underlay} is not there"
        hint = "attach it, or correct the Box's underlay interface"
        self.scene.problem(want.owner, "MissingUnderlay", text, hint)
        self.scene.lost.add(want.name)
        return False

    def _seeks(self, want: Vxlan) -> bool:
        """Whether it is to be made or made anew, with a VNI that it must get."""
        if want.name in self._settled:
            return False
        have = self.scene.observed.links.get(want.name)
        if have is None or have.vxlan is None:
            return True
        whose, _ = self._had[want.name]
        return whose is _Whose.OURS and segment(have.vxlan) != segment(want)

    def _warn(self, wanted: Iterable[Vxlan]) -> None:
        scene = self.scene
        wanted = list(wanted)
        missing = {w.local for w in wanted}
        missing -= {ip(address) for _, address in scene.observed.addresses}
        if not missing:
            return
        missing -= {a.ip for a in scene.desired.addresses}
        for want in (w for w in wanted if w.local in missing):
            text = f"{want.id}: its VTEP address {want.local} is on no link, so that nothing is sent"
            hint = f"add it to {want.underlay or 'the underlay'}, or correct the Box's underlay address"
            scene.problem(want.owner, "MissingUnderlayAddress", text, hint)

    def _link(self, want: Link) -> None:
        scene = self.scene
        settled = want.name in self._settled
        if settled and not scene.made and not scene.going:
            return
        have = scene.observed.links.get(want.name)
        if have is None:
            self._make(action(Verb.CREATE, None, want))
            return
        whose, changes = self._had.get(want.name, (_Whose.OURS, ()))
        falls, unplugged = scene.falls(have), bool(have.master) and not scene.master(have)
        if settled and not falls and not unplugged:
            return
        old = have.as_state(want.owner)
        if falls:
            self._make(action(Verb.RECREATE, old, want, changes, Disruption.RECREATE))
            return
        if unplugged and isinstance(want, Vxlan):
            loose = replace(have, master="", port=None)
            changes = differences(want, loose, aware=self._aware(want))
        fixed = _fixed(want, changes)
        if fixed and whose is _Whose.OURS:
            self._make(action(Verb.RECREATE, old, want, changes, Disruption.RECREATE))
            return
        # The fixed fields of an adopted link wait for the next plan, when both keys allow to delete it.
        changes = tuple(c for c in changes if c not in fixed)
        changes += scene.entry(want.id, want.owner)
        if changes:
            moved = bool(have.master) and any(c.field == "bridge" for c in changes)
            scene.actions.append(action(Verb.UPDATE, old, want, changes, disruption(changes, moved=moved)))

    def _make(self, made: Action) -> None:
        self.scene.made.add(made.new.name)
        self.scene.actions.append(made)


def _whose(have: ObservedLink, owner: ObjectRef, recorded: ObjectRef | None) -> _Whose:
    if recorded is not None and (have.newborn or have.owner is not None):
        return _Whose.OURS
    if recorded is None and (have.newborn or have.owner == owner):
        return _Whose.ADOPTABLE
    return _Whose.FOREIGN


def _fixed(want: Link, changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(c for c in changes if c.field in IMMUTABLE[type(want)])


def _unfit(want: Link, changes: Iterable[Change]) -> tuple[Change, ...]:
    """Why a foreign link cannot be taken over: what is fixed differs, or it is a port of another bridge."""
    return tuple(
        c for c in changes if c.field in IMMUTABLE[type(want)] or (c.field == "bridge" and c.old != "")
    )
