"""The steps from what the kernel has to what it should have: pure.

What goes, goes first, the dependent before what it depends on; then links, bridges before their ports; then
addresses. Only an address on a link that stays goes last, when its successor is there. Nothing is planned for
an object that is not smartxd's by both keys, mark and inventory, save that one with the mark of the wanted
owner is adopted when the inventory has been lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.observed import KernelObserved, ObservedLink
from smartxd.planes.kernel.state import PLANE, Address, Bridge, KernelState, Link, Object, Vxlan, mark
from smartxd.reconcile.plan import Action, Change, Disruption, Ownership, Plan, Problem, Verb, changes_between

IMMUTABLE = frozenset({"vni", "group", "local", "underlay", "port"})
"""Fields of a VXLAN link that are fixed when the link is made."""


def plan(desired: KernelState, observed: KernelObserved, owned: Ownership) -> Plan:
    """The actions in the order in which they are applied, and what stands in the way of the rest."""
    recorded = owned.of(PLANE)
    deletions = _deletions(desired, observed, recorded)
    build = _Build(desired, observed, recorded, gone={a.old for a in deletions})
    for bridge in (link for link in desired.links if isinstance(link, Bridge)):
        build.link(bridge)
    build.exchange_vnis()
    for vxlan in (link for link in desired.links if isinstance(link, Vxlan)):
        build.link(vxlan)
    for address in desired.addresses:
        build.address(address)
    late = _late(deletions, build.actions)
    made = {(a.owner, type(a.new)) for a in build.actions if a.verb is Verb.CREATE}
    early = [_exchanged(a) if (a.owner, type(a.old)) in made else a for a in deletions if a not in late]
    return Plan((*early, *build.actions, *late), tuple(build.problems))


def _exchanged(deletion: Action) -> Action:
    """The deletion of a link that comes back under another name: traffic notices, as when it is made anew."""
    moved = isinstance(deletion.old, Address)
    return deletion if moved else replace(deletion, disruption=Disruption.RECREATE)


def _late(deletions: Collection[Action], build: Collection[Action]) -> list[Action]:
    """The deletions of addresses that can wait until what replaces them is there.

    Not of one that comes back with another prefix length or on another link: IPv6 takes it only once.
    """
    going = {a.old.name for a in deletions if not isinstance(a.old, Address)}
    coming = {_ip(a.new.address) for a in build if isinstance(a.new, Address)}
    addresses = [a for a in deletions if isinstance(a.old, Address)]
    return [a for a in addresses if a.old.link not in going and _ip(a.old.address) not in coming]


class _Whose(Enum):
    OURS = auto()
    """Mark and inventory agree."""
    ADOPTABLE = auto()
    """The mark says so; the inventory has been lost."""
    FOREIGN = auto()


def _whose(link: ObservedLink, owner: ObjectRef, recorded: ObjectRef | None) -> _Whose:
    if recorded is not None and (link.newborn or link.owner is not None):
        return _Whose.OURS
    if recorded is None and (link.newborn or link.owner == owner):
        return _Whose.ADOPTABLE
    return _Whose.FOREIGN


def _action(
    verb: Verb,
    old: Object | None,
    new: Object | None,
    changes: tuple[Change, ...] = (),
    disruption: Disruption = Disruption.NONE,
) -> Action:
    some = new or old
    assert some is not None
    return Action(PLANE, some.id, some.owner, verb, old, new, disruption, changes)


def _deletions(
    desired: KernelState, observed: KernelObserved, recorded: Mapping[str, ObjectRef]
) -> list[Action]:
    """What the inventory has, the specs no longer ask for, and the kernel still holds under our mark."""
    wanted = {o.id for o in (*desired.links, *desired.addresses)}
    unwanted = {id: owner for id, owner in recorded.items() if id not in wanted}
    if not unwanted:
        return []
    links: list[Link] = []
    for link in observed.links.values():
        owner = unwanted.get(f"link {link.name}")
        if owner and _whose(link, owner, owner) is _Whose.OURS and (state := link.as_state(owner)):
            links.append(state)
    going = {link.name for link in links}
    addresses: list[Address] = []
    for seen in observed.addresses.values():
        owner = unwanted.get(f"address {seen.address} dev {seen.link}")
        if owner and (seen.marked or not observed.marks_addresses or seen.link in going):
            addresses.append(Address(owner, seen.link, seen.address))
    links.sort(key=lambda link: (isinstance(link, Bridge), link.name))
    addresses.sort(key=lambda address: (address.link, address.address))
    return [_action(Verb.DELETE, gone, None) for gone in (*addresses, *links)]


@dataclass
class _Build:
    """Gathers the actions on what is wanted, one object after the other."""

    desired: KernelState
    observed: KernelObserved
    recorded: Mapping[str, ObjectRef]
    gone: set[Object]
    """What this plan deletes."""
    actions: list[Action] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Links that are or will be there to build upon, and those of them that are new and bare.
        self._there = set(self.observed.links) - {o.name for o in self.gone if not isinstance(o, Address)}
        self._made: set[str] = set()
        self._leaving: set[str] = set()
        self._segments: dict[tuple[int, int], list[ObservedLink]] = defaultdict(list)
        for link in self.observed.links.values():
            if link.vxlan is not None:
                self._segments[link.vxlan.vni, link.vxlan.port].append(link)
        self._wanted = {link.name: link for link in self.desired.links}
        gone = {o.id for o in self.gone}
        self._on_link = {
            (a.link, _ip(a.address)): a
            for a in self.observed.addresses.values()
            if f"address {a.address} dev {a.link}" not in gone
        }
        self._ips = {ip for _, ip in self._on_link}

    def link(self, want: Link) -> None:
        """Plan a bridge or a VXLAN link; a link that cannot be had is not there for what builds upon it."""
        have = self.observed.links.get(want.name)
        whose = _whose(have, want.owner, self.recorded.get(want.id)) if have else None
        problem = _foreign(want, have) if have and whose is _Whose.FOREIGN else None
        if problem is None and isinstance(want, Vxlan):
            problem = self._obstacle(want)
        if problem is not None:
            self._there.discard(want.name)
            self.problems.append(problem)
            return
        if isinstance(want, Vxlan):
            self._warn(want)
        if have is None:
            self._make(_action(Verb.CREATE, None, want))
        else:
            self._change(want, have, adopted=whose is _Whose.ADOPTABLE)

    def _make(self, action: Action) -> None:
        self._there.add(action.new.name)
        self._made.add(action.new.name)
        self.actions.append(action)

    def _change(self, want: Link, have: ObservedLink, *, adopted: bool) -> None:
        old = have.as_state(want.owner)
        if type(old) is not type(want):
            if adopted or old is None:
                self._there.discard(want.name)
                self.problems.append(_foreign(want, have))
                return
            kind = (Change("kind", have.kind, type(want).__name__.lower()),)
            self._make(_action(Verb.RECREATE, old, want, kind, Disruption.RECREATE))
            return
        changes = changes_between(old, want, ignore=("owner",)) if old != want else ()
        if not adopted and any(c.field in IMMUTABLE for c in changes):
            self._make(_action(Verb.RECREATE, old, want, changes, Disruption.RECREATE))
            return
        # The immutable fields of an adopted link wait for the next plan, when both keys allow to delete it.
        changes = tuple(c for c in changes if c.field not in IMMUTABLE)
        if not have.up:
            changes += (Change("up", False, True),)
        if have.owner != want.owner:
            changes += (Change("alias", have.alias, mark(want.owner)),)
        changes += self._entry(want)
        if changes:
            moved = any(c.field == "bridge" and c.old for c in changes)
            disruption = Disruption.FLAP if moved else Disruption.NONE
            self.actions.append(_action(Verb.UPDATE, old, want, changes, disruption))

    def _entry(self, want: Object) -> tuple[Change, ...]:
        recorded = self.recorded.get(want.id)
        return (Change("inventory", recorded, want.owner),) if recorded != want.owner else ()

    def _obstacle(self, want: Vxlan) -> Problem | None:
        """Why the VXLAN link cannot be had."""
        if want.bridge not in self._there:
            return _waits(want, want.bridge)
        if want.underlay not in self.observed.links:
            text = f"{want.id}: its underlay link {want.underlay} is not there"
            hint = "attach it, or correct the Box's underlay interface"
            return Problem(want.owner, "MissingUnderlay", f"{text}: {hint}")
        holder = self._holder(want, self._leaving)
        if holder is not None:
            text = f"{want.id}: VNI {want.vni} on UDP port {want.port} is in use by link {holder}"
            hint = f"delete {holder}, or choose another VNI"
            return Problem(want.owner, "VNIInUse", f"{text}: {hint}", permanent=True)
        return None

    def _holder(self, want: Vxlan, leaving: Collection[str]) -> str | None:
        """Another link that has the VNI and keeps it; the kernel takes a VNI once per UDP port."""
        others = (o.name for o in self._segments[want.vni, want.port] if o.name != want.name)
        return next((name for name in others if name not in leaving), None)

    def exchange_vnis(self) -> None:
        """Find the links that give up their VNI in this plan; the bridges have been planned before."""
        gone = {o.name for o in self.gone if not isinstance(o, Address)} | self._made
        moving: dict[str, Vxlan] = {}
        for link in self.observed.links.values():
            want = self._wanted.get(link.name)
            if (
                link.vxlan
                and isinstance(want, Vxlan)
                and (want.vni, want.port) != (link.vxlan.vni, link.vxlan.port)
            ):
                moving[link.name] = want
        while True:
            self._leaving = gone | moving.keys()
            stuck = [name for name, want in moving.items() if not self._moves(want)]
            if not stuck:
                return
            for name in stuck:
                del moving[name]

    def _moves(self, want: Vxlan) -> bool:
        have = self.observed.links[want.name]
        ours = _whose(have, want.owner, self.recorded.get(want.id)) is _Whose.OURS
        return ours and self._obstacle(want) is None

    def _warn(self, want: Vxlan) -> None:
        if want.local not in self._ips:
            text = f"{want.id}: its VTEP address {want.local} is on no link, so that nothing is sent"
            hint = f"add it to {want.underlay}, or correct the Box's underlay address"
            self.problems.append(Problem(want.owner, "MissingUnderlayAddress", f"{text}: {hint}"))

    def address(self, want: Address) -> None:
        """Plan an address. The same address put there by hand serves as well, and stays the hand's."""
        if want.link not in self._there:
            self.problems.append(_waits(want, want.link))
            return
        fresh = want.link in self._made
        have = None if fresh else self.observed.addresses.get((want.link, want.address))
        if have is not None:
            if have.marked and (changes := self._entry(want)):
                self.actions.append(_action(Verb.UPDATE, want, want, changes))
            return
        other = None if fresh else self._on_link.get((want.link, _ip(want.address)))
        if other is not None and ":" in want.address:
            text = f"{want.id}: the link has it as {other.address}, not by smartxd"
            hint = f"`ip address del {other.address} dev {want.link}`, or correct the spec"
            self.problems.append(Problem(want.owner, "ForeignObject", f"{text}: {hint}", permanent=True))
            return
        self.actions.append(_action(Verb.CREATE, None, want))


def _ip(address: str) -> str:
    return address.partition("/")[0]


def _waits(want: Object, link: str) -> Problem:
    return Problem(
        want.owner, "MissingLink", f"{want.id}: waits for link {link}, which is not there or not ours"
    )


def _foreign(want: Link, have: ObservedLink) -> Problem:
    kind = f"{have.kind or 'physical'} link"
    whose = f"is marked as {have.owner}'s" if have.owner else "does not bear smartxd's mark"
    return Problem(
        want.owner,
        "ForeignObject",
        f"{want.id}: a {kind} of that name {whose} and is left alone: rename or delete it,"
        f" or hand it over by `ip link set dev {want.name} alias {mark(want.owner)}`",
        permanent=True,
    )
