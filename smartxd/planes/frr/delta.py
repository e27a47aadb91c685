"""Which lines are to change: our own comparison, and what frr-reload says to it. Pure.

frr-reload deletes line by line and repeats itself (after ``no neighbor X remote-as N`` has taken the whole
neighbour away it deletes each of its other lines, on which a batch trips), removes what is not ours, and
shortens a deletion that fails until something goes. So it is asked about our parts alone, and what only it
wants is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.words import Path, negated, part_of


@dataclass(frozen=True, slots=True)
class Delta:
    """The lines in which two configurations differ."""

    deletions: frozenset[Path] = frozenset()
    """As they stand in the first."""
    additions: frozenset[Path] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.deletions or self.additions)

    @classmethod
    def between(cls, running: Configuration, goal: Configuration, parts: Collection[str]) -> Delta:
        """What differs in ``parts``."""
        have = {path for part in parts for path in running.parts.get(part, ())}
        want = {path for part in parts for path in goal.parts.get(part, ())}
        return cls(frozenset(have - want), frozenset(want - have))

    def by_part(self) -> dict[str, Delta]:
        """The lines of each part that differs."""
        gone, new = by_part(self.deletions), by_part(self.additions)
        return {
            part: Delta(gone.get(part, frozenset()), new.get(part, frozenset())) for part in {*gone, *new}
        }


def by_part(paths: Iterable[Path]) -> dict[str, frozenset[Path]]:
    """Lines by the id of the part that they are of."""
    found: dict[str, set[Path]] = {}
    for path in paths:
        found.setdefault(part_of(path) or "", set()).add(path)
    return {part: frozenset(lines) for part, lines in found.items()}


def parse(output: str) -> Delta:
    """The deletions and additions that ``frr-reload --test`` prints."""
    found: dict[str, list[Path]] = {"Lines To Delete": [], "Lines To Add": []}
    current: list[Path] = []
    stack: list[str] = []
    for line in [*output.split("\n"), "==="]:
        text = " ".join(line.split())
        if text and not line.startswith(" ") and stack:  # each command begins anew at the top
            current.append(tuple(stack))
            stack.clear()
        if line in found:
            current = found[line]
        elif text and not text.startswith("==="):
            stack.append(text)
    return Delta(frozenset(map(_taken_back, found["Lines To Delete"])), frozenset(found["Lines To Add"]))


def disputed(own: Delta, reload: Delta) -> tuple[list[Path], list[Path]]:
    """The lines that only one of the two would change: ours, and frr-reload's.

    What goes as a whole is each of its lines. frr-reload gives some of its deletions among the additions.
    """
    late = {path for path in reload.additions if _taken_back(path) in own.deletions}
    gone = reload.deletions | {_taken_back(path) for path in late}
    ours = [p for p in own.deletions if not any(p[:end] in gone for end in range(1, len(p) + 1))]
    ours += own.additions - reload.additions
    theirs = (gone - own.deletions) | (reload.additions - late - own.additions)
    return sorted(ours), sorted(theirs)


def _taken_back(path: Path) -> Path:
    return (*path[:-1], negated(path[-1]))
