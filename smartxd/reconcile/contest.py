"""Objects that someone keeps changing back: repaired at once a few times, then seldom. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from smartxd.objects import ObjectRef
from smartxd.reconcile.plan import Action, Verb
from smartxd.reconcile.planned import plain, written

REPAIRS = 5
"""So many repairs of one object ..."""
WINDOW_S = 60.0
"""... in so short a time are a fight."""
PAUSE_S = 60.0
"""A contested object is repaired at most this often."""
QUIET_S = 300.0
"""A fight is over when nobody has changed the object for so long."""
_NEVER = float("inf")

Key = tuple[str, str]
"""Plane and the plane's name for an object."""


@dataclass(slots=True)
class _Fight:
    owner: ObjectRef
    repairs: deque[float] = field(default_factory=lambda: deque(maxlen=REPAIRS))
    """When it was repaired last, up to as often as makes a fight."""
    change: str = ""
    """What was changed last."""
    contested: bool = False
    pending: bool = False
    """Changed again, and not repaired yet."""

    def due(self) -> float:
        """When it may be repaired again, or is at peace again."""
        return self.repairs[-1] + (PAUSE_S if self.pending else QUIET_S)


@dataclass(slots=True)
class Contests:
    """The repairs of each object in the near past. Times are seconds of any monotonic clock."""

    _fights: dict[Key, _Fight] = field(default_factory=dict)

    def note(
        self, plane: str, repairs: Iterable[Action], held: Iterable[Action], now: float
    ) -> frozenset[ObjectRef]:
        """Take in what a round of a plane repaired, and what it left alone; whose fights began with it."""
        for (of, _), fight in self._fights.items():
            fight.pending = fight.pending and of != plane
        begun = set()
        for action in repairs:
            fight = self._fights.setdefault(_key(action), _Fight(action.owner))
            fight.owner, fight.change = action.owner, drift(action)
            fight.repairs.append(now)
            often = len(fight.repairs) == REPAIRS and fight.repairs[0] > now - WINDOW_S
            if often and not fight.contested:
                fight.contested = True
                begun.add(action.owner)
        for action in held:
            # Unless the fight has ended while the round went on.
            if held_fight := self._fights.get(_key(action)):
                held_fight.pending, held_fight.change = True, drift(action)
        self._end(now)
        return frozenset(begun)

    def _end(self, now: float) -> None:
        """Forget what is over: a fight after a long quiet, a few repairs after a short one."""
        self._fights = {
            key: fight
            for key, fight in self._fights.items()
            if fight.pending or fight.repairs[-1] + (QUIET_S if fight.contested else WINDOW_S) > now
        }

    def resting(self, plane: str, now: float) -> frozenset[str]:
        """The objects of a plane that are not to be repaired at ``now``, by the plane's names for them."""
        fights = self._fights.items()
        return frozenset(
            id for (of, id), f in fights if of == plane and f.contested and f.repairs[-1] + PAUSE_S > now
        )

    def contested(self, plane: str, id: str) -> bool:
        """Whether someone fights about the object."""
        fight = self._fights.get((plane, id))
        return fight is not None and fight.contested

    def messages(self) -> Mapping[ObjectRef, tuple[str, ...]]:
        """What is said of each owner's contested objects."""
        found: dict[ObjectRef, tuple[str, ...]] = {}
        for _, fight in sorted(self._fights.items()):
            if fight.contested:
                said = (
                    f"{fight.change}: someone keeps changing it back, so that it is repaired at most every "
                    f"{PAUSE_S:.0f} s until nobody has for {QUIET_S / 60:.0f} minutes: find out who does it"
                )
                found[fight.owner] = (*found.get(fight.owner, ()), said)
        return found

    def next(self, plane: str) -> float:
        """When the next repair, or the end of a fight, of a plane is due; infinity when there is none."""
        due = (f.due() for (of, _), f in self._fights.items() if of == plane and f.contested)
        return min(due, default=_NEVER)

    def reset(self) -> None:
        """Forget all: a new commit may have ended the quarrel."""
        self._fights.clear()


def _key(action: Action) -> Key:
    return action.plane, action.id


def drift(action: Action) -> str:
    """What someone changed that the action repairs: ``link vx100: mtu 1450 → 1400``."""
    match action.verb:
        case Verb.CREATE:
            return f"{action.id}: removed"
        case Verb.DELETE:
            return f"{action.id}: made again"
        case _:
            changes = [
                f"{c.field} {written(plain(c.new))} → {written(plain(c.old))}"
                for c in action.changes
                if c.field != "inventory"
            ]
            return f"{action.id}: {', '.join(changes)}" if changes else action.id


def drifted(actions: Collection[Action]) -> str:
    """What someone changed, on one line."""
    return f"changed by someone else: {'; '.join(map(drift, actions))}"
