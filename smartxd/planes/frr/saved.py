"""Whether FRR would start again with what it runs: what was written is saved, late where it has to be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.frr.loaded import Loaded
from smartxd.planes.frr.needs import DAEMONS
from smartxd.planes.frr.ownership import Ownership
from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.vtysh import Vtysh
from smartxd.reconcile.plan import Action, Problem, Verb

Look = tuple[Configuration, frozenset[str]]
"""What runs, and which daemons took part."""


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

    def catch_up(self) -> Look | None:
        """What runs and who answered, looked at and saved in one call, if anything is not saved yet.

        None where it was not saved: ``problems`` says why, and the next call tries again.
        """
        if not self._owners or not self._may_save():
            return None
        before = self._file()
        found = None
        try:
            found = self.vtysh.observe(save=True)
        except PlaneError as err:
            self._why = err.message
        if not self._may_save():
            self._put_back(before)
            return None
        if found is not None:
            self._owners.clear()
            self._gone.clear()
        return found

    def _may_save(self) -> bool:
        """Whether each daemon answers and is whole.

        ``write memory`` drops the configuration of one that does not. One that was away for a moment has
        been started anew.
        """
        if silent := self.vtysh.silent(sorted({*DAEMONS, *self.vtysh.started()})):
            self._why = (
                f"{', '.join(silent)} does not answer, and its configuration would be lost; "
                "start it, and it is saved"
            )
            return False
        if not self.loaded.is_whole:
            self._why = "a daemon has been started anew, and what it has to load would be lost"
            return False
        return True

    def _file(self) -> bytes | None:
        try:
            return self.loaded.file.read_bytes()
        except OSError:
            return None

    def _put_back(self, before: bytes | None) -> None:
        """A daemon ended while it was saved, and what it keeps for its next start may have gone with it."""
        if before is None or self._file() == before:
            return
        try:
            _replace(self.loaded.file, before)
        except OSError as err:
            file = self.loaded.file
            self._why += f"; {file} cannot be put back ({err.strerror}): see {file}.sav"

    def problems(self) -> tuple[Problem, ...]:
        """What is not saved."""
        text = f"done, but not saved for FRR's next start: {self._why}"
        return tuple(Problem(owner, "FRRNotSaved", text) for owner in sorted(self._owners))


def _replace(file: Path, content: bytes) -> None:
    """Another content under the same owner and mode, whole at any moment."""
    was, fresh = file.stat(), file.with_name(f"{file.name}.smartxd")
    fresh.unlink(missing_ok=True)
    fresh.touch(0o600)
    fresh.write_bytes(content)
    os.chown(fresh, was.st_uid, was.st_gid)
    fresh.chmod(stat.S_IMODE(was.st_mode))
    fresh.replace(file)
