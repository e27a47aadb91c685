"""How far BGP carries the routes of a box, by what the specs say of speakers and sessions.

A speaker passes on its best route alone, so what comes where depends on all routes at once. This is simpler
and errs on one side only. Of all the ways on which a route may come to a speaker, those marks are kept that
it carries on each: AS numbers of its path, cluster IDs of its reflectors. A speaker that refuses one of them
refuses the route on whatever way it comes. So where no way is found there is none; where one is found FRR
may choose another. Marks only ever fall away, so it ends, and no ways have to be counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Literal

from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BoxEnd, OutsideEnd
from smartxd.spec.kinds.bgprouter import AddressFamily

OUTSIDE = "the outside"
"""All speakers outside the repo, as one box: of them nothing is known, so they pass on all to all."""

STEPS_MAX = 200_000
"""Boxes that are visited, and marks that are carried there, for all questions together: what is not found by
then is taken for reached, so that a fleet of any size and shape is judged in seconds and some megabytes."""

Came = Literal["freely", "client", "neighbor"]
"""How a route came to a speaker: of its own or by eBGP, by iBGP from a client, by iBGP from another."""
Mark = tuple[Literal["AS", "cluster ID"], str]
Marks = frozenset[Mark]
Heard = tuple[str, Came, Marks]
"""A box that hears a route, how it came there, and with which marks."""

_NONE: Marks = frozenset()


@dataclass(frozen=True, slots=True)
class _Hop:
    """A session, as one of its ends tells routes over it."""

    to: str
    came: Came
    internal: bool
    to_client: bool
    refused: Marks


class Sessions:
    """The sessions of a fleet that carry a family: who tells whom what."""

    def __init__(self, fleet: Fleet, family: AddressFamily) -> None:
        self._asns: dict[str, int] = {}
        clusters: dict[str, str] = {}
        for box in fleet.boxes:
            router = fleet.router_of(box)
            if router is not None and family in router.spec.families and (asn := fleet.asn_of(router)):
                self._asns[box] = asn
                clusters[box] = str(router.spec.cluster_id or fleet.router_id_of(router))
        self._as_marks = _marks("AS", self._asns)
        self._cluster_marks = _marks("cluster ID", clusters)
        self._hops: dict[str, list[_Hop]] = {}
        self._alike: dict[str, str] = {}
        self._reaches: dict[str | frozenset[Heard], _Reach] = {}
        self._steps = 0
        for peer in fleet.peers.values():
            if family in peer.spec.families and peer.spec.shutdown is None:
                one, other = peer.spec.between
                self._add(one, other)
                self._add(other, one)
                self._join(peer.spec.box_ends)

    def _add(self, here: BoxEnd | OutsideEnd, there: BoxEnd | OutsideEnd) -> None:
        """What one end of a session tells the other."""
        teller, hearer = (end.box if isinstance(end, BoxEnd) else OUTSIDE for end in (here, there))
        asns = [self._asns.get(end.box) if isinstance(end, BoxEnd) else end.asn for end in (here, there)]
        if None in asns:
            return
        internal = asns[0] == asns[1]
        from_client = isinstance(there, BoxEnd) and there.route_reflector_client
        came: Came = "freely" if not internal else "client" if from_client else "neighbor"
        refused = self._cluster_marks.get(hearer, _NONE)
        if isinstance(there, BoxEnd) and there.allow_as_in is None:
            refused |= self._as_marks.get(hearer, _NONE)
        to_client = teller == OUTSIDE or (isinstance(here, BoxEnd) and here.route_reflector_client)
        hop = _Hop(hearer, "freely" if hearer == OUTSIDE else came, internal, to_client, refused)
        self._hops.setdefault(teller, []).append(hop)

    def _join(self, ends: tuple[BoxEnd, ...]) -> None:
        """Two ASes of a box each pass on all of each other's routes as their own: they have one reach."""
        asns = [self._asns.get(end.box) for end in ends]
        lone = not any(end.box in self._as_marks for end in ends)
        if lone and len(ends) == 2 and None not in asns and asns[0] != asns[1]:
            one, other = (self._first_alike(end.box) for end in ends)
            self._alike[other] = one

    def _first_alike(self, box: str) -> str:
        """The box that stands for all that have one reach with a box."""
        while (nearer := self._alike.get(box, box)) != box:
            self._alike[box] = self._alike.get(nearer, nearer)
            box = nearer
        return box

    def speaks(self, box: str) -> bool:
        """Whether a box speaks the family."""
        return box in self._asns

    def missed(self, origin: str, boxes: Set[str]) -> str | None:
        """The first of some boxes to which the routes of a box do not come; None if they come to all."""
        reach = self._reach_of(origin)
        missing = set(boxes - reach.boxes) - {origin}
        while missing and self._steps < STEPS_MAX:
            if (box := reach.next()) is None:
                return min(missing)
            self._steps += 1 + reach.marks
            missing.discard(box)
        return None

    def where_it_ends(self, origin: str, missed: str) -> str:
        """How far the routes of a box come that miss another, in words."""
        reach = self._reach_of(origin)
        reached = sorted(reach.boxes - {origin})
        if not reached:
            return f"{origin} has no session for them that is up"
        shown = ", ".join(reached[:3]) + f" and {len(reached) - 3} more" * (len(reached) > 3)
        return f"they reach {shown}, and {reach.why_no_further(origin, missed)}"

    def _reach_of(self, origin: str) -> _Reach:
        """Boxes that tell the same boxes the same, as the clients of a reflector do, have one reach."""
        first = self._first_alike(origin)
        if first not in self._reaches:
            start = frozenset(self.told(first, "freely", _NONE, {}))
            self._reaches[first] = self._reaches.setdefault(start, _Reach(self, start))
        return self._reaches[first]

    def told(self, box: str, came: Came, marks: Marks, refusals: dict[str, Mark]) -> Iterator[Heard]:
        """Whom a box tells a route; who refuses it is noted with the mark that it does not like."""
        outward = frozenset(mark for mark in marks if mark[0] == "AS") | self._as_marks.get(box, _NONE)
        inward = marks if came == "freely" else marks | self._cluster_marks.get(box, _NONE)
        for hop in self._hops.get(box, ()):
            if hop.internal and came == "neighbor" and not hop.to_client:
                continue
            told = _NONE if OUTSIDE in (box, hop.to) else inward if hop.internal else outward
            if told.isdisjoint(hop.refused):
                yield hop.to, hop.came, told
            else:
                refusals.setdefault(hop.to, min(told & hop.refused))


def _marks(kind: Literal["AS", "cluster ID"], values: Mapping[str, object]) -> dict[str, Marks]:
    """The mark of each box, if another has the same: nobody else refuses it."""
    counts = Counter(values.values())
    return {box: frozenset({(kind, str(value))}) for box, value in values.items() if counts[value] > 1}


class _Reach:
    """The boxes to which what some boxes hear is carried, found as far as somebody asks."""

    def __init__(self, sessions: Sessions, start: Iterable[Heard]) -> None:
        self.boxes: set[str] = set()
        self.marks = 0
        """How many were carried to the last box."""
        self._refusals: dict[str, Mark] = {}
        self._more = self._spread(sessions, start)

    def _spread(self, sessions: Sessions, start: Iterable[Heard]) -> Iterator[str]:
        """The boxes, nearest first; each again when the route comes in another way or with fewer marks."""
        known: dict[tuple[str, Came], Marks] = {}
        waiting = deque([iter(start)])
        while waiting:
            for box, came, marks in waiting.popleft():
                before = known.get((box, came))
                if before is None or not before <= marks:
                    left = known[box, came] = marks if before is None else marks & before
                    self.marks = len(left)
                    waiting.append(sessions.told(box, came, left, self._refusals))
                    yield box

    def next(self) -> str | None:
        """One more box, or one that is known already; None where there are no more."""
        box = next(self._more, None)
        if box is not None:
            self.boxes.add(box)
        return box

    def why_no_further(self, origin: str, missed: str) -> str:
        """What keeps the route of a box from another, in words."""
        refusing = self._refusals.keys() - self.boxes - {origin}
        box = missed if missed in refusing else min(refusing, default=None)
        if box is None:
            return "no reflector or other AS takes them further"
        kind, value = self._refusals[box]
        if kind == "AS":
            return f"{box} refuses a path with its own AS {value} and has no allowAsIn"
        return f"{box} drops what a reflector of its own cluster ID, {value}, has reflected"
