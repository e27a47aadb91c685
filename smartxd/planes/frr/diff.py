"""What has to be done to a running configuration, part by part: pure.

Two keys make a part ours: the inventory, and the mark in the description of a neighbour, prefix list or
route map, or in the name of a BFD profile. FRR has no place for a mark in networks, lists of communities and
AS paths, static routes and the ``router bgp`` section: there the inventory alone decides. Everything else is
foreign and is neither changed nor removed; where it stands in the way, that is a Problem.

What an inventory that was lost no longer has is entered again: what bears the mark of its owner, and beside
such parts what stands there just as wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from smartxd.planes.frr import render
from smartxd.planes.frr.needs import needs
from smartxd.planes.frr.ownership import Ownership
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.render.text import description
from smartxd.planes.frr.running import Configuration, redacted
from smartxd.planes.frr.state import PLANE, FRRState, Inner, Neighbor, Part, Router
from smartxd.planes.frr.words import Path, in_speaker, read
from smartxd.reconcile import plan as planning
from smartxd.reconcile.plan import Action, Change, Disruption, Plan, Problem, Verb
from smartxd.secrets import NO_SECRETS, Secrets

_QUIET = frozenset(
    {"inventory", "description", "timers", "timers connect", "advertisement-interval", "graceful-restart"}
)
"""Changes of a session that leave it up; timers and graceful restart count from its next start on."""

_LOUD = frozenset(
    {
        "remote-as",
        "interface",
        "peer-group",
        "password",
        "ebgp-multihop",
        "ttl-security",
        "update-source",
        "shutdown",
        "activate",
    }
)
"""Changes of a session that end it."""


def plan(
    desired: FRRState, running: Configuration, owned: planning.Ownership, secrets: Secrets = NO_SECRETS
) -> Plan:
    """The steps from the running configuration to ``desired``.

    Lists, maps and profiles first, then what of the speaker goes, the speaker and what is in it, and last
    the lists that nothing names any more.
    """
    ownership = Ownership(running, owned.of(PLANE))
    return _Planner(desired, running, ownership, secrets, Context.of(running, secrets.tokens)).plan()


@dataclass(frozen=True)
class _Planner:
    desired: FRRState
    running: Configuration
    ownership: Ownership
    secrets: Secrets
    context: Context
    blocked: dict[str, Problem] = field(default_factory=dict)
    """What cannot be made as wanted, by id, and why."""

    def plan(self) -> Plan:
        steps = {part.id: tuple(self._part(part)) for part in self.desired.parts}
        actions = [step for found in steps.values() for step in found if isinstance(step, Action)]
        problems = [step for found in steps.values() for step in found if isinstance(step, Problem)]
        problems += [p for n in self.desired.neighbors if (p := self._without_policy(n)) is not None]
        before = [a for a in actions if not isinstance(a.new, Router | Inner)]
        inside = [a for a in actions if isinstance(a.new, Router | Inner)]
        gone = tuple(self._deletions())
        first = [a for a in gone if in_speaker(a.id)]
        # What still names a list that is to go could not be changed: the list stays until it can.
        last = sorted(
            (a for a in gone if not in_speaker(a.id)), key=lambda a: not a.id.startswith("route-map ")
        )
        if self.blocked:
            held = frozenset(action.id for action in last)
            return Plan((*before, *first, *inside), tuple(dict.fromkeys(problems)), held)
        return Plan((*before, *first, *inside, *last), tuple(dict.fromkeys(problems)))

    # Deletions

    def _deletions(self) -> Iterator[Action]:
        """What is ours and no longer asked for; the section after what is in it, and only when it is empty.

        A section with foreign lines is left to them with the settings that it runs with.
        """
        wanted = {part.id for part in self.desired.parts}
        stale = sorted(id for id in self.ownership.inventory if id not in wanted)
        for id in stale:
            if not id.startswith("router ") and self.ownership.owns(id):
                yield self._deletion(id)
        section = self.running.section
        if section is not None and section.id in stale and not self.ownership.foreign_lines():
            yield self._deletion(section.id)

    def _deletion(self, id: str) -> Action:
        quiet = id.startswith(("network ", "redistribute ", "vni ")) or not in_speaker(id)
        disruption = Disruption.NONE if quiet else Disruption.FLAP
        changes = tuple(_changes(self.running.parts.get(id, frozenset()), frozenset()))
        return Action(PLANE, id, self.ownership.inventory[id], Verb.DELETE, None, None, disruption, changes)

    # Parts

    def _part(self, part: Part) -> Iterator[Action | Problem]:
        found = list(self._steps(part))
        problem = next((step for step in found if isinstance(step, Problem)), None)
        if problem is not None:
            self.blocked[part.id] = problem
        yield from found

    def _steps(self, part: Part) -> Iterator[Action | Problem]:
        """What is to be done to a part, or what keeps it from being as wanted."""
        if (problem := self._obstacle(part)) is not None:
            yield problem
            return
        want = render.lines(part, self.context)
        have = self.running.parts.get(part.id, frozenset())
        if isinstance(part, Router):
            yield from self._router(part, have, want)
        elif not have:
            yield self._action(part, Verb.CREATE, have, want)
        elif self.ownership.owns(part.id) or self._adopts(part, have, want):
            yield from self._update(part, have, want)
        elif have != frozenset(want):
            yield self._foreign(part)

    def _foreign(self, part: Part) -> Problem:
        """That a part is somebody else's, or has become so with its mark."""
        reason = "ForeignNeighbor" if isinstance(part, Neighbor) else "ForeignObject"
        what = f"FRR already has {part.id!r}, which smartxd did not make for {part.owner}"
        if self.ownership.inventory.get(part.id) == part.owner:
            what = f"the description of {part.id!r} no longer begins with {description(part.owner)!r}"
        message = f"{what}: it is left alone; remove it by hand to let smartxd make it"
        return Problem(part.owner, reason, message, permanent=True)

    def _obstacle(self, part: Part) -> Problem | None:
        """What keeps a part from being made at all."""
        if isinstance(part, Router | Inner) and (wrong := self._wrong_section):
            return Problem(part.owner, *wrong, permanent=True)
        if isinstance(part, Neighbor) and part.secret:
            fault = self.secrets.fault(part.secret)
            if fault is not None:
                return Problem(part.owner, fault.reason, fault.message)
        for id in needs(part):
            if (cause := self.blocked.get(id)) is not None:
                message = f"{part.id} names {id}, which is not as {cause.owner} says: {cause.message}"
                return Problem(part.owner, "DependencyFailed", message, cause.permanent)
        return None

    def _update(self, part: Part, have: frozenset[Path], want: tuple[Path, ...]) -> Iterator[Action]:
        section = self.running.section
        moved = isinstance(part, Inner) and section is not None and section.asn != part.asn
        entered = self.ownership.inventory.get(part.id) == part.owner
        if moved:
            yield self._action(part, Verb.RECREATE, have, want)
        elif have != frozenset(want) or not entered:
            yield self._action(part, Verb.UPDATE, have, want)

    def _action(self, part: Part, verb: Verb, have: frozenset[Path], want: tuple[Path, ...]) -> Action:
        recorded = self.ownership.inventory.get(part.id)
        changes = tuple(_changes(have, frozenset(want), want))
        if verb is Verb.UPDATE and recorded != part.owner:
            changes = (Change("inventory", recorded, part.owner), *changes)
        section = self.running.section
        if verb is Verb.RECREATE and isinstance(part, Inner) and section is not None:
            changes = (Change("asn", section.asn, part.asn), *changes)
        return Action(PLANE, part.id, part.owner, verb, None, part, _disruption(part, verb, changes), changes)

    def _adopts(self, part: Part, have: frozenset[Path], want: tuple[Path, ...]) -> bool:
        """Whether a part that lacks a key is ours all the same, or may be taken over."""
        lost = self._adopts_section if isinstance(part, Inner) else self.ownership.is_lost
        return self.ownership.adopts(part, have, want, lost=lost or part.owner in self.desired.adopt)

    # The section

    @cached_property
    def _adopts_section(self) -> bool:
        return self.ownership.adopts_section(self.desired, self.context)

    @cached_property
    def _wrong_section(self) -> tuple[str, str] | None:
        """Why the speaker cannot be made: FRR holds one for the default VRF, and it is another."""
        section, router = self.running.section, self.desired.router
        if section is None or router is None or section.asn == router.asn:
            return None
        if section.id not in self.ownership.inventory:
            return (
                "ForeignRouter",
                f"FRR already has {section.id!r}, which smartxd did not make, and room for one speaker only: "
                f"remove it (vtysh: no {section.id}) or give the spec its AS number",
            )
        if foreign := self.ownership.foreign_lines():
            return (
                "ForeignRouter",
                f"{section.id!r} must go for AS {router.asn}, but others have put "
                f"{redacted(foreign[0][-1])!r} into it: remove that by hand first",
            )
        return None

    def _router(
        self, part: Router, have: frozenset[Path], want: tuple[Path, ...]
    ) -> Iterator[Action | Problem]:
        section = self.running.section
        if section is None or section.asn != part.asn:
            yield self._action(part, Verb.CREATE, frozenset(), want)
        elif part.id in self.ownership.inventory or self._adopts_section:
            yield from self._update(part, have, want)
        else:
            yield from self._foreign_section(part, have, want)

    def _foreign_section(
        self, part: Router, have: frozenset[Path], want: tuple[Path, ...]
    ) -> Iterator[Problem]:
        """What in someone else's section of the same AS number keeps the spec from being met.

        That routes pass without a policy is asked of its sessions only, and one path is as good as many.
        """
        asked = [
            path
            for path in want
            if not path[-1].endswith(("bgp ebgp-requires-policy", "maximum-paths 1", "maximum-paths ibgp 1"))
        ]
        for path in asked:
            if path not in have:
                rest = " ".join(path[1:])
                name = "ForeignRouterID" if "router-id" in rest else "ForeignRouter"
                yield Problem(
                    part.owner,
                    name,
                    f"{part.id!r} was not made by smartxd and lacks {rest!r}: "
                    "set it by hand, or change the spec",
                    permanent=True,
                )

    def _without_policy(self, part: Neighbor) -> Problem | None:
        """Why a session would carry nothing in a section that is someone else's."""
        section = self.running.section
        if section is None or section.asn != part.asn or part.remote_as == part.asn:
            return None
        if section.id in self.ownership.inventory or self._adopts_section:
            return None
        if render.bgp.passes_ebgp(section, self.running.profile):
            return None
        return Problem(
            part.owner,
            "EBGPRequiresPolicy",
            f"{section.id!r} was not made by smartxd and drops the routes of eBGP neighbours "
            "without a policy: add 'no bgp ebgp-requires-policy' to it",
            permanent=True,
        )


def _disruption(part: Part, verb: Verb, changes: tuple[Change, ...]) -> Disruption:
    if verb is Verb.RECREATE:
        return Disruption.RECREATE
    if verb is Verb.UPDATE:
        fields = {change.field for change in changes}
        if isinstance(part, Router) and "router-id" in fields:
            return Disruption.FLAP
        if isinstance(part, Neighbor) and any(set(f.split()) & _LOUD for f in fields - _QUIET):
            return Disruption.FLAP
    return Disruption.NONE


def _changes(have: frozenset[Path], want: frozenset[Path], order: tuple[Path, ...] = ()) -> Iterator[Change]:
    """What the lines in which two versions of a part differ set, in the order of the new ones."""
    old, new = _values(sorted(have - want)), _values([p for p in order if p not in have])
    for name in dict.fromkeys((*old, *new)):
        # Alike are what moves to another section, and passwords, which are not shown.
        if old.get(name) != new.get(name) or name == "password":
            yield Change(name, old.get(name), new.get(name))


def _values(paths: list[Path]) -> dict[str, str]:
    """What lines set, by field."""
    found: dict[str, str] = {}
    for path in paths:
        statement = read(path)
        if statement is None or not (statement.field or statement.value):
            continue
        value = "***" if statement.field == "password" else statement.value
        word = "no" if path[-1].startswith("no ") else value or "yes"
        found[statement.field or statement.part.partition(" ")[0]] = word
    return found
