"""Whether FRR would start again with what it runs: what was written is saved, late where it has to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.frr.loaded import Loaded
from smartxd.planes.frr.needs import DAEMONS
from smartxd.planes.frr.ownership import Ownership
from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.vtysh import Vtysh
from smartxd.reconcile.plan import Action, Problem, Verb


@dataclass(slots=True)
class Saved:
    """What still has to be saved, and why that could not be done."""

    vtysh: Vtysh
    loaded: Loaded
    _owners: set[ObjectRef] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)
    """Parts that FRR would start again with, though they were taken away."""
    _why: str = ""
    _has_looked_back: bool = False

    @property
    def pending(self) -> bool:
        """Whether anything is left to save."""
        return bool(self._owners)

    @property
    def gone(self) -> frozenset[str]:
        """Parts that stay smartxd's until it is saved that they are gone: FRR may bring them back."""
        return frozenset(self._gone)

    def lacks(self, actions: Iterable[Action]) -> None:
        """What is written by these is not saved yet."""
        for action in actions:
            self._owners.add(action.owner)
            if action.verb is Verb.DELETE:
                self._gone.add(action.id)

    def look_back(self, running: Configuration, inventory: Mapping[str, ObjectRef]) -> None:
        """Once in a life: save what a life before has written and did not come to save.

        A session that it took away would be back with FRR's next start, and be nobody's.
        """
        if self._has_looked_back:
            return
        self._has_looked_back = True
        kept = self.loaded.kept()
        marks = Ownership(kept, inventory)
        for id in {*inventory, *kept.parts}:
            owner = inventory.get(id) or marks.mark(id)
            if owner is not None and kept.parts.get(id) != running.parts.get(id):
                self._owners.add(owner)
                if id in inventory and id not in running.parts:
                    self._gone.add(id)
        self.catch_up()

    def catch_up(self) -> None:
        """Save what is not saved yet; where that fails, ``problems`` says why and the next call tries again.

        ``write memory`` writes what answers, and so drops the configuration of a daemon that does not.
        """
        if not self._owners:
            return
        if silent := self.vtysh.silent(sorted({*DAEMONS, *self.vtysh.started()})):
            self._why = (
                f"{', '.join(silent)} does not answer, and its configuration would be lost; "
                "start it, and it is saved"
            )
            return
        if not self.loaded.is_whole:
            self._why = "a daemon has been started anew, and what it has to load would be lost"
            return
        try:
            self.vtysh.command("write memory")
        except PlaneError as err:
            self._why = err.message
        else:
            self._owners.clear()
            self._gone.clear()

    def problems(self) -> tuple[Problem, ...]:
        """What is not saved."""
        text = f"done, but not saved for FRR's next start: {self._why}"
        return tuple(Problem(owner, "FRRNotSaved", text) for owner in sorted(self._owners))
