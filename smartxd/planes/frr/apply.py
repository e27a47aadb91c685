"""A plan done to a running FRR: health first, one batch, read back; what FRR refuses is undone."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from smartxd.errors import PlaneError
from smartxd.planes.frr import delta as deltas
from smartxd.planes.frr.delta import Delta
from smartxd.planes.frr.edits import Edit, Refusal, batch, edits, refusals
from smartxd.planes.frr.needs import named, needs
from smartxd.planes.frr.program import NoAnswer
from smartxd.planes.frr.reload import BadLine, Reload
from smartxd.planes.frr.running import Configuration, redacted
from smartxd.planes.frr.state import Inner
from smartxd.planes.frr.target import only, target, wanted
from smartxd.planes.frr.vtysh import Vtysh
from smartxd.planes.frr.words import Path, in_speaker, part_of
from smartxd.reconcile.plan import Action, Problem, Result

log = logging.getLogger(__name__)

ROUNDS = 2
"""FRR drops lines on its own when others change, so a second look is worth it; a third is not."""

REFUSALS_MAX = 8
"""Rounds in which FRR may refuse something, each of which sets aside what it refused."""

_LINES_SHOWN = 5


@dataclass
class Convergence:
    """The parts of a plan on their way to their lines."""

    vtysh: Vtysh
    reload: Reload
    actions: tuple[Action, ...]
    before: Configuration
    passwords: Mapping[str, str]
    """What stands for each secret, by its name."""
    written: Callable[[], None]
    """Called when FRR is about to be changed."""
    read_back: Callable[[bool], Configuration]
    """What runs after it was; given whether FRR took all of it."""
    refused: dict[str, Problem] = field(default_factory=dict)
    """Parts that are put back to what they were, by id."""
    apart: bool = False
    """Whether each entry of a map is written by itself: slow, but it tells which one FRR refuses."""

    def run(self) -> Iterator[Result]:
        """Do the plan and say of each action what became of it."""
        running, rounds = self.before, 0
        for _ in range(ROUNDS + REFUSALS_MAX):
            lines = self._wanted(running)
            goal = target(running, lines)
            if self._is_torn(goal):
                continue
            delta = Delta.between(running, goal, lines)
            if not delta or rounds == ROUNDS:
                break
            if self._is_refused(self._foreseen(running, goal, delta)):
                continue
            self.written()
            found = self._write(edits(delta, running, lines))
            running = self.read_back(not found)
            if not self.apart and any(refusal.grouped for refusal in found):
                self.apart = True
            elif not self._is_refused(found):
                rounds += 1
        lines = self._wanted(running)
        left = Delta.between(running, target(running, lines), self._ids).by_part()
        for action in self.actions:
            yield Result(action, self._problem(action, lines, left.get(action.id)))

    @property
    def _ids(self) -> tuple[str, ...]:
        return tuple(action.id for action in self.actions)

    def _wanted(self, running: Configuration) -> dict[str, tuple[Path, ...]]:
        """The lines of each part; of what was refused those that it had before."""
        kept = {id: self.before.lines_of(id) for id in self.refused}
        return wanted(self.actions, running, self.passwords, kept)

    def _foreseen(self, running: Configuration, goal: Configuration, delta: Delta) -> list[Refusal]:
        """What frr-reload says to the change: the first line that is not FRR's, if there is one."""
        before, after = only(running, self._ids), only(goal, self._ids)
        try:
            printed = self._said(before, after)
        except BadLine as bad:
            path = after.path_at(bad.number)
            if part_of(path) not in self._ids:
                raise PlaneError(
                    "FRRReloadFailed",
                    f"FRR prints a line that it does not read: {redacted(path[-1])!r}: {bad.message}",
                    "change that line by hand",
                ) from bad
            return [Refusal(Edit(path), bad.message)]
        except NoAnswer as err:
            # 8.4's fails over some changes of a neighbour's route map; our own comparison stands without it.
            log.info("frr-reload has nothing to say of the change: %s", err)
            return []
        ours, theirs = deltas.disputed(delta, deltas.parse(printed))
        for path in ours:
            log.debug("frr-reload does not see that %r is to change", redacted(" / ".join(path)))
        for path in theirs:
            log.debug("frr-reload would change %r as well: left out", redacted(" / ".join(path)))
        return []

    def _said(self, before: Configuration, after: Configuration) -> str:
        with tempfile.TemporaryDirectory(prefix="smartxd-frr-") as folder:
            return self.reload.delta(
                private(FilePath(folder) / "running.conf", before.text),
                private(FilePath(folder) / "target.conf", after.text),
            )

    def _write(self, commands: Sequence[Edit]) -> list[Refusal]:
        """One batch; the lines that FRR refused."""
        text, origin = batch(commands, apart=self.apart)
        with tempfile.TemporaryDirectory(prefix="smartxd-frr-") as folder:
            file = private(FilePath(folder) / "batch.conf", self.vtysh.vault.reveal(text))
            output = self.vtysh.file(file)
        return refusals(output.text, origin)

    def _is_refused(self, found: Sequence[Refusal]) -> bool:
        """Whether FRR refused something: its part is set aside, and with it what cannot be without it.

        What was refused on the way back to what was is let be: it shows in what is left to do.
        """
        fresh = [r for r in found if r.edit.part in self._ids and r.edit.part not in self.refused]
        for refusal in fresh[:1]:  # the first is the cause: others may stumble over it
            owner = next(a.owner for a in self.actions if a.id == refusal.edit.part)
            line = redacted(refusal.edit.command)
            message = f"FRR refused {line!r}: {refusal.message}; {refusal.edit.part} is as it was before"
            self._set_aside(refusal.edit.part, Problem(owner, "FRRRefused", message, permanent=True))
        return bool(fresh)

    def _is_torn(self, goal: Configuration) -> bool:
        """Whether a list or map would be away that something names: FRR would drop the routes of a session.

        What names it may be someone else's, or of an object whose turn it is not.
        """
        going = {a.id: a for a in self.actions if a.new is None and a.id not in self.refused}
        going = {id: action for id, action in going.items() if not in_speaker(id)}
        before = len(self.refused)
        for path in goal.paths if going else ():
            for id in going.keys() & set(named(path)) - {part_of(path)} - self.refused.keys():
                message = f"{id} stays, because {redacted(' / '.join(path))!r} names it"
                self._set_aside(id, Problem(going[id].owner, "StillNamed", message))
        for action in self.actions:
            if action.new is None or action.id in self.refused:
                continue
            if missing := [id for id in needs(action.new) if id not in goal.parts]:
                message = f"{action.id} names {missing[0]}, which is not there yet"
                self._set_aside(action.id, Problem(action.owner, "DependencyFailed", message))
        return len(self.refused) > before

    def _set_aside(self, part: str, problem: Problem) -> None:
        self.refused[part] = problem
        for action in self.actions:
            if action.new is None or action.id in self.refused:
                continue
            inside = isinstance(action.new, Inner) and part == f"router bgp {action.new.asn}"
            if inside or part in needs(action.new):
                message = f"{action.id} needs {part} of {problem.owner}, which could not be made"
                failed = Problem(action.owner, "DependencyFailed", message, problem.permanent)
                self._set_aside(action.id, failed)

    def _problem(
        self, action: Action, given: Mapping[str, tuple[Path, ...]], mine: Delta | None
    ) -> Problem | None:
        if (refused := self.refused.get(action.id)) is not None:
            return refused
        if action.id not in given:
            message = f"{action.id}: its router bgp section is not there"
            return Problem(action.owner, "RouterMissing", message)
        if mine is None:
            return None
        lines = [f"-{redacted(p[-1])}" for p in sorted(mine.deletions)]
        lines += [f"+{redacted(p[-1])}" for p in sorted(mine.additions)]
        more = f" and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
        text = f"{action.id}: still to be done: {'; '.join(lines[:_LINES_SHOWN])}{more}"
        return Problem(action.owner, "NotConverged", text, permanent=True)


def private(path: FilePath, text: str) -> FilePath:
    """A file that only this user can read, in a folder that only this user can enter.

    Bytes that are not UTF-8 become escapes, alike in each file, because frr-reload does not read them.
    """
    path.touch(mode=0o600)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8", errors="backslashreplace")
    return path
