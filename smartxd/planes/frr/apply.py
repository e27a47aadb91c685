"""A plan done to a running FRR: health first, one batch, read back."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smartxd.errors import PlaneError
from smartxd.planes.frr import delta
from smartxd.planes.frr.delta import Edit, Refusal
from smartxd.planes.frr.running import Configuration, parse_running, redacted
from smartxd.planes.frr.target import target
from smartxd.planes.frr.vtysh import DAEMONS, BadLine, Vtysh
from smartxd.reconcile.plan import Action, Plan, Problem, Result

log = logging.getLogger(__name__)

_ROUNDS = 2
"""FRR drops lines on its own when others change, so a second look is worth it; a third is not."""

_BAD_LINES_MAX = 8
"""Objects that one round sets aside because FRR does not know a line of theirs."""

_LINES_SHOWN = 5


OBSERVE_TIMEOUT_S = 5.0
"""To read what runs takes 50 ms for hundreds of neighbours; a hung daemon must not hold up the kernel."""


def observe(vtysh: Vtysh) -> Configuration:
    """The running configuration; PlaneError where a daemon is dead, hung or missing.

    vtysh leaves out a dead daemon's part of the configuration without a word. One call therefore asks for
    both: who takes part, and what it has.
    """
    vtysh.require()
    answer = vtysh.command("show daemons", "show running-config", timeout_s=OBSERVE_TIMEOUT_S)
    first, _, output = answer.partition("\n")
    answering = first.split()
    if not set(DAEMONS) <= set(answering):
        raise vtysh.missing(answering)
    return parse_running(output)


@dataclass
class _Outcome:
    """What is left to do, and what FRR said, by the id of the object."""

    left: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    homeless: frozenset[str] = frozenset()


def apply(vtysh: Vtysh, plan: Plan, running: Configuration, written: Callable[[], None]) -> Iterator[Result]:
    """Do the plan and say of each action what became of it; ``written`` is called when FRR was changed.

    PlaneError, before anything is written, where a daemon that is needed does not answer.
    """
    if not plan.actions:
        return
    vtysh.probe()
    outcome = _converge(vtysh, plan.actions, running, written)
    for action in plan.actions:
        yield Result(action, _problem(action, outcome))


def _converge(
    vtysh: Vtysh, actions: Sequence[Action], running: Configuration, written: Callable[[], None]
) -> _Outcome:
    outcome = _Outcome()
    for _ in range(_ROUNDS):
        if not _left(running, target(running, actions).configuration):
            break
        edits = _edits(vtysh, actions, running, outcome)
        if not edits:
            break
        written()
        for refusal in _write(vtysh, edits):
            # The first is the cause: what follows it stumbles over it.
            outcome.refused.setdefault(refusal.edit.object or "", refusal)
        running = observe(vtysh)
    goal = target(running, actions)
    outcome.left = _left(running, goal.configuration)
    outcome.homeless = frozenset(a.id for a in goal.homeless)
    return outcome


def _left(running: Configuration, goal: Configuration) -> dict[str, list[str]]:
    """The lines in which the two differ, ``+`` to be added and ``-`` to be removed, by object."""
    have, want = frozenset(running.paths()), frozenset(goal.paths())
    found: dict[str, list[str]] = {}
    for path in sorted(have ^ want):
        found.setdefault(Edit(path).object or "", []).append(
            f"{'-' if path in have else '+'}{redacted(path[-1])}"
        )
    return found


def _edits(vtysh: Vtysh, actions: Sequence[Action], running: Configuration, outcome: _Outcome) -> list[Edit]:
    """What frr-reload says is to be done, less what is not ours to do.

    frr-reload gives up at a line that is not FRR's: its object is noted as refused, and the others go on.
    """
    able = list(actions)
    for _ in range(_BAD_LINES_MAX):
        goal = target(running, able).configuration
        try:
            printed = _delta(vtysh, running, goal)
        except BadLine as bad:
            edit = Edit(goal.path_at(bad.number))
            if not any(a.id == edit.object for a in able):
                raise PlaneError(
                    "FRRReloadFailed",
                    f"FRR prints a line that it does not read: {redacted(edit.command)!r}: {bad.message}",
                    "change that line by hand",
                ) from bad
            outcome.refused[edit.object or ""] = Refusal(edit, bad.message)
            able = [a for a in able if a.id != edit.object]
            continue
        ours = {a.id for a in able}
        edits = delta.prune(*delta.parse(printed))
        for edit in edits:
            if edit.object not in ours:
                log.warning(
                    "frr-reload wants %r, which is not smartxd's: left out", redacted(" / ".join(edit.path))
                )
        return [e for e in edits if e.object in ours]
    return []


def _delta(vtysh: Vtysh, running: Configuration, goal: Configuration) -> str:
    with tempfile.TemporaryDirectory(prefix="smartxd-frr-") as folder:
        before = _private(Path(folder) / "running.conf", running.text)
        after = _private(Path(folder) / "target.conf", goal.text)
        return vtysh.delta(before, after)


def _write(vtysh: Vtysh, edits: Sequence[Edit]) -> list[Refusal]:
    """One batch; the lines that FRR refused."""
    text, origin = delta.batch(edits)
    with tempfile.TemporaryDirectory(prefix="smartxd-frr-") as folder:
        output = vtysh.file(_private(Path(folder) / "batch.conf", text))
    return delta.refusals(output.text, origin)


def _private(path: Path, text: str) -> Path:
    """A file that only this user can read, in a folder that only this user can enter.

    Bytes that are not UTF-8 become escapes, alike in each file, because frr-reload does not read them.
    """
    path.touch(mode=0o600)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def _problem(action: Action, outcome: _Outcome) -> Problem | None:
    if action.id in outcome.homeless:
        return Problem(action.owner, "RouterMissing", f"{action.id}: its router bgp section is not there")
    left = outcome.left.get(action.id)
    if not left:
        return None
    if refusal := outcome.refused.get(action.id):
        line = redacted(refusal.edit.command)
        return Problem(action.owner, "FRRRefused", f"FRR refused {line!r}: {refusal.message}", permanent=True)
    more = f" and {len(left) - _LINES_SHOWN} more" if len(left) > _LINES_SHOWN else ""
    lines = "; ".join(left[:_LINES_SHOWN]) + more
    return Problem(action.owner, "NotConverged", f"{action.id}: still to be done: {lines}", permanent=True)
