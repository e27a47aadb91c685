"""What has to be done to a running configuration, per object: pure.

Two keys make an object ours. For a neighbour they are the inventory and the mark in its description; for a
network and for the ``router bgp`` section, which cannot carry a mark, the inventory alone. Everything else
is foreign and is neither changed nor removed; where it stands in the way, that is a Problem. What an
inventory that was lost no longer has is entered again: a neighbour by its mark, and a section with its
networks when nothing is in it but what is wanted and neighbours with a mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from smartxd.objects import ObjectRef
from smartxd.planes.frr import render
from smartxd.planes.frr.running import Configuration, Path, Section, object_of, redacted
from smartxd.planes.frr.state import BGP, PLANE, FRRState, Neighbor, Network, Object, Router
from smartxd.reconcile.plan import Action, Change, Disruption, Ownership, Plan, Problem, Verb, changes_between

_QUIET = frozenset(
    {"inventory", "description", "keepalive_s", "hold_s", "connect_retry_s", "timers", "timers connect"}
)
"""Changes that leave a session up; timers count from its next start on."""

_FIELDS = {
    "remote-as": {"remote_as"},
    "description": {"description"},
    "timers": {"keepalive_s", "hold_s"},
    "timers connect": {"connect_retry_s"},
}
"""The fields of a Neighbor that each of its lines carries."""


def plan(desired: FRRState, running: Configuration, owned: Ownership) -> Plan:
    """The steps from the running configuration to ``desired``: deletions, the section, what is in it."""
    inventory = owned.of(PLANE)
    has_router = any(id.startswith("router bgp ") for id in inventory)
    return _Planner(desired, running, running.router, inventory, has_router).plan()


@dataclass(frozen=True, slots=True)
class _Planner:
    desired: FRRState
    running: Configuration
    section: Section | None
    inventory: dict[str, ObjectRef]
    has_router: bool
    """Whether the inventory has a section, be it the one that is there or not."""

    def plan(self) -> Plan:
        deletions = tuple(self._deletions())
        bgp = self.desired.bgp
        if bgp is None:
            return Plan(deletions)
        if problem := self._wrong_section(bgp):
            owners = dict.fromkeys((bgp.owner, *(n.owner for n in bgp.neighbors)))
            return Plan(deletions, tuple(replace(problem, owner=owner) for owner in owners))
        steps = [*self._router(bgp), *self._networks(bgp), *self._neighbors(bgp)]
        actions = tuple(step for step in steps if isinstance(step, Action))
        return Plan(deletions + actions, tuple(step for step in steps if isinstance(step, Problem)))

    # What is ours

    def _lines(self, id: str) -> frozenset[Path]:
        return self.section.of(id) if self.section is not None else frozenset()

    def _mark(self, id: str) -> ObjectRef | None:
        return render.mark(id.removeprefix("neighbor "), self._lines(id))

    def _owns(self, id: str | None) -> bool:
        """Whether the keys of a neighbour or network that is there agree."""
        owner = self.inventory.get(id or "")
        if id is None or owner is None or self.section is None:
            return False
        if id.startswith("neighbor "):
            return self._mark(id) == owner
        # One key only: in a section that has taken the place of ours, nothing is ours.
        return self.section.id in self.inventory or not self.has_router

    def _foreign_parts(self) -> list[Path]:
        """What others have put into the section."""
        paths = self.section.paths if self.section is not None else ()
        return [p for p in paths if not render.is_setting(p) and not self._owns(object_of(p))]

    def _adopts_section(self, bgp: BGP) -> bool:
        """Whether the section was made by smartxd, though the inventory, lost as a whole, does not say so."""
        section = self.section
        if self.inventory or section is None or section.asn != bgp.asn:
            return False
        networks = (Network(bgp.owner, prefix, bgp.asn) for prefix in bgp.networks)
        wanted = {
            *render.router(bgp.router, self.running.profile),
            *(path for network in networks for path in render.network(network)),
        }
        marked = {id for id in section.parts if id.startswith("neighbor ") and self._mark(id)}
        return bool(marked) and all(p in wanted or object_of(p) in marked for p in section.paths)

    # Deletions

    def _deletions(self) -> Iterator[Action]:
        """What is ours and no longer asked for; the section last, and only when nothing foreign is in it.

        A section with foreign parts is left to them with the router ID and policy that they run with.
        """
        wanted = {o.id for o in self.desired.objects()}
        stale = sorted(id for id in self.inventory if id not in wanted)
        for id in stale:
            if self._lines(id) and self._owns(id):
                yield self._deletion(id, self._read(id, self.inventory[id]))
        section = self.section
        if section is not None and section.id in stale and not self._foreign_parts():
            owner = self.inventory[section.id]
            yield self._deletion(section.id, Router(owner, section.asn, section.router_id))

    def _deletion(self, id: str, old: Object) -> Action:
        disruption = Disruption.NONE if isinstance(old, Network) else Disruption.FLAP
        return Action(PLANE, id, self.inventory[id], Verb.DELETE, old, None, disruption)

    def _read(self, id: str, owner: ObjectRef) -> Object:
        assert self.section is not None
        kind, _, name = id.partition(" ")
        if kind == "network":
            return Network(owner, name, self.section.asn)
        return render.read_neighbor(owner, self.section.asn, name, self._lines(id))

    # The section

    def _wrong_section(self, bgp: BGP) -> Problem | None:
        """Why the speaker cannot be made: FRR holds one for the default VRF, and it is another."""
        section = self.section
        if section is None or section.asn == bgp.asn:
            return None
        if section.id not in self.inventory:
            return Problem(
                bgp.owner,
                "ForeignRouter",
                f"FRR already has {section.id!r}, which smartxd did not make, and room for one speaker only: "
                f"remove it (vtysh: no {section.id}) or give the spec its AS number",
                permanent=True,
            )
        if foreign := self._foreign_parts():
            return Problem(
                bgp.owner,
                "ForeignRouter",
                f"{section.id!r} must go for AS {bgp.asn}, but others have put "
                f"{redacted(foreign[0][-1])!r} into it: remove that by hand first",
                permanent=True,
            )
        return None

    def _router(self, bgp: BGP) -> Iterator[Action | Problem]:
        section, new = self.section, bgp.router
        if section is None or section.asn != bgp.asn:
            yield Action(PLANE, new.id, new.owner, Verb.CREATE, None, new)
            return
        if new.id not in self.inventory and not self._adopts_section(bgp):
            yield from self._foreign_section(bgp, section)
            return
        old = Router(self.inventory.get(new.id, new.owner), section.asn, section.router_id)
        have = {p for p in section.paths if render.is_setting(p)}
        want = set(render.router(new, self.running.profile))
        changes = [*self._entry(new), *changes_between(old, new, ignore=("owner",))]
        # The router ID is a field; the policy line is not.
        odd = [p[0] for p in have ^ want if not p[0].startswith("bgp router-id ")]
        changes += [
            Change("line", *((line, None) if (line,) in have else (None, line))) for line in sorted(odd)
        ]
        if changes:
            flap = any(c.field == "router_id" for c in changes)
            disruption = Disruption.FLAP if flap else Disruption.NONE
            yield Action(PLANE, new.id, new.owner, Verb.UPDATE, old, new, disruption, tuple(changes))

    def _foreign_section(self, bgp: BGP, section: Section) -> Iterator[Problem]:
        """What in someone else's section of the same AS number keeps the spec from being met."""
        if section.router_id != bgp.router_id:
            has = f"router ID {section.router_id}" if section.router_id else "no router ID"
            yield Problem(
                bgp.owner,
                "ForeignRouterID",
                f"{section.id!r} was not made by smartxd and has {has}, the spec says {bgp.router_id}: "
                "set it by hand, or change the spec",
                permanent=True,
            )
        if not render.passes_ebgp(section.paths, self.running.profile):
            for neighbor in bgp.neighbors:
                if neighbor.remote_as != bgp.asn:
                    yield Problem(
                        neighbor.owner,
                        "EBGPRequiresPolicy",
                        f"{section.id!r} was not made by smartxd and drops the routes of eBGP neighbours "
                        "without a policy: add 'no bgp ebgp-requires-policy' to it",
                        permanent=True,
                    )

    # What is in the section

    def _networks(self, bgp: BGP) -> Iterator[Action]:
        adopted = self._adopts_section(bgp)
        for prefix in bgp.networks:
            new = Network(bgp.owner, prefix, bgp.asn)
            have = self._lines(new.id)
            if not have:
                yield Action(PLANE, new.id, new.owner, Verb.CREATE, None, new)
            elif adopted or self._owns(new.id):
                yield from self._update(new, have, set(render.network(new)))
            # Else someone announces it already, in their own way.

    def _neighbors(self, bgp: BGP) -> Iterator[Action | Problem]:
        context = render.Context.of(self.section if self.section and self.section.asn == bgp.asn else None)
        for neighbor in bgp.neighbors:
            text = render.description(neighbor.owner, neighbor.description).partition(" ")[2]
            new = replace(neighbor, asn=bgp.asn, description=text)
            have = self._lines(new.id)
            if not have:
                yield Action(PLANE, new.id, new.owner, Verb.CREATE, None, new)
            elif self._owns(new.id) or self._adoptable(new, have, context):
                yield from self._update(new, have, set(render.neighbor(new, context)))
            else:
                yield Problem(
                    new.owner,
                    "ForeignNeighbor",
                    f"FRR already has {new.id!r} without the mark of {new.owner}: it is left alone; remove "
                    f"it by hand (vtysh: no {new.id}) to let smartxd make it",
                    permanent=True,
                )

    def _adoptable(self, new: Neighbor, have: frozenset[Path], context: render.Context) -> bool:
        """Whether a neighbour that lacks one key is ours all the same.

        Marked for this very object but unknown to the inventory: from a life before. Or in the inventory and
        nothing but the first line that we write: made by a batch that was cut off before the mark.
        """
        if new.id not in self.inventory:
            return self._mark(new.id) == new.owner
        first = render.neighbor(new, context)[0]
        return self.inventory[new.id] == new.owner and have == {first}

    def _update(self, new: Network | Neighbor, have: frozenset[Path], want: set[Path]) -> Iterator[Action]:
        assert self.section is not None
        old = self._read(new.id, self.inventory.get(new.id, new.owner))
        if self.section.asn != new.asn:
            changes = changes_between(old, new)
            yield Action(PLANE, new.id, new.owner, Verb.RECREATE, old, new, Disruption.RECREATE, changes)
            return
        changes = tuple(_changes(old, new, have, want)) if have != want else ()
        changes = (*self._entry(new), *changes)
        if changes:
            quiet = isinstance(new, Network) or all(c.field in _QUIET for c in changes)
            disruption = Disruption.NONE if quiet else Disruption.FLAP
            yield Action(PLANE, new.id, new.owner, Verb.UPDATE, old, new, disruption, changes)

    def _entry(self, new: Object) -> tuple[Change, ...]:
        recorded = self.inventory.get(new.id)
        return (Change("inventory", recorded, new.owner),) if recorded != new.owner else ()


def _changes(
    old: Object, new: Network | Neighbor, have: frozenset[Path], want: set[Path]
) -> Iterator[Change]:
    """The fields that differ, and the lines that differ in what no field says."""
    fields = changes_between(old, new, ignore=("owner",))
    yield from fields
    named = {c.field for c in fields}
    for path in sorted(have ^ want):
        known = render.attribute(new.address, path) if isinstance(new, Neighbor) else None
        if known is None or not _FIELDS[known[0]] & named:
            name, value = known or ("line", redacted(path[-1]))
            yield Change(name, value, None) if path in have else Change(name, None, value)
