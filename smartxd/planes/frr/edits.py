"""The commands that lead to a target, safe to be applied as one batch, and what FRR says to them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from smartxd.planes.frr.delta import Delta, by_part
from smartxd.planes.frr.running import Configuration, redacted
from smartxd.planes.frr.words import (
    FAMILIES,
    Path,
    closer,
    entry,
    in_speaker,
    negated,
    opens,
    part_of,
    read,
    removal,
    subject,
)

_REFUSAL = re.compile(r"^line (\d+): (.*)$")
_GROUPED = "The following commands were dynamically grouped"
_FAMILY_ORDER = {header: place for place, header in enumerate(FAMILIES.values())}


@dataclass(frozen=True, slots=True)
class Edit:
    """One command and the headers of the sections in which it is given."""

    path: Path

    @property
    def command(self) -> str:
        """What is typed."""
        return self.path[-1]

    @property
    def headers(self) -> Path:
        """The sections to be entered for the command; one that only opens a section is its own header."""
        return self.path if opens(self.command) else self.path[:-1]

    @property
    def part(self) -> str:
        """The id of the part that the command is about."""
        return part_of(self.path) or ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that FRR did not take, and what it said."""

    edit: Edit
    message: str
    grouped: bool = False
    """Whether it was refused together with others, any of which may be the cause."""


def edits(delta: Delta, running: Configuration, wanted: Mapping[str, tuple[Path, ...]]) -> list[Edit]:
    """The commands that bring the parts ``wanted`` to their lines, in the order in which they stand there.

    Within the speaker's section what goes comes first, because much of it stands in the way of what comes;
    but what keeps routes back stays until that has come which does so from then on.
    """
    gone, new = by_part(delta.deletions), by_part(delta.additions)
    sections = {id for id in wanted if id.startswith("router ") and id in gone and not wanted[id]}
    found: list[Edit] = []
    for speaker, ids in groupby(wanted, in_speaker):
        steps = [
            _steps(wanted[id], gone.get(id, frozenset()), new.get(id, frozenset()), running.parts.get(id))
            for id in ids
        ]
        if not speaker:
            found += [edit for deletions, additions in steps for edit in (*deletions, *additions)]
            continue
        # What stands in a section that goes as a whole goes with it.
        going = [edit for deletions, _ in steps for edit in deletions if edit.path[0] not in sections]
        additions = [edit for _, additions in steps for edit in additions]
        anew = {subject(edit.path) for edit in additions}
        guards = dict.fromkeys(e for e in going if _guards(e.path) and subject(e.path) not in anew)
        found += [edit for edit in going if edit not in guards]
        found += sorted(
            additions, key=lambda edit: _FAMILY_ORDER.get(edit.path[1], 9) + 1 if len(edit.path) > 2 else 0
        )
        found += guards
    return found + _no_bfd(delta, running)


def _guards(path: Path) -> bool:
    """Whether a command is about what keeps routes of a neighbour back."""
    found = read(path)
    words = found.field.split() if found is not None and found.part.startswith("neighbor ") else []
    return words == ["shutdown"] or bool({*words} & {"route-map", "prefix-list", "filter-list"})


def _no_bfd(delta: Delta, running: Configuration) -> list[Edit]:
    """The command that takes BFD's section away where nothing stays in it: FRR would go on printing it."""
    inside = {path for path in running.paths if path[0] == "bfd"}
    goes = bool(inside) and inside <= delta.deletions and not any(p[0] == "bfd" for p in delta.additions)
    return [Edit(("no bfd",))] if goes else []


def _steps(
    want: tuple[Path, ...], gone: frozenset[Path], new: frozenset[Path], have: frozenset[Path] | None
) -> tuple[list[Edit], list[Edit]]:
    """The commands that take lines of one part away, and those that add some.

    What is set anew is not deleted before: for an AS number that would take the neighbour down, for a
    description the mark away. In a prefix list or map what is new comes before what goes, so that it permits
    nothing for a moment that neither the old nor the new one does: an empty list permits all.
    """
    if gone and not want and have is not None:
        return [Edit(path) for path in removal(part_of(next(iter(gone))) or "", have)], []
    if have is not None and any(map(_stays_alone, gone)):
        whole = removal(part_of(next(iter(gone))) or "", have)
        return [Edit(path) for path in whole], [Edit(path) for path in want]
    additions = [Edit(path) for path in want if path in new]
    anew = {subject(path) for path in new}
    headers = {subject(path): path for path in want if opens(path[-1])}
    anew -= _lingering(gone, new)
    deletions = [Edit(path) for path in _taken(gone, anew, headers)]
    if deletions and deletions[0].path[0].startswith(("route-map ", "no route-map ")):
        return [], [*additions, *deletions]
    # Of the other lists FRR keeps none that is empty, and it has rules of its own what an entry repeats.
    if deletions and deletions[0].part.startswith("prefix-list "):
        return [], list(_in_turn(additions, deletions))
    return deletions, additions


def _stays_alone(path: Path) -> bool:
    """Whether a line goes with its whole part only.

    With its peer group FRR takes a neighbour itself away, where the group has the AS number; and of what a
    BFD profile sets it takes nothing back.
    """
    in_group = path[-1].removeprefix("no ").split()[2:-1] in (["peer-group"], ["interface", "peer-group"])
    return in_group or (path[0] == "bfd" and len(path) > 2)


def _in_turn(additions: Sequence[Edit], deletions: Sequence[Edit]) -> Iterator[Edit]:
    """Each line of a list that comes, behind what has to go for it, and last what else goes."""
    left = dict.fromkeys(deletions)
    in_the_way = {key: edit for edit in deletions for key in (subject(edit.path), entry(edit.path))}
    for addition in additions:
        for key in (subject(addition.path), entry(addition.path)):
            if (edit := in_the_way.get(key)) in left:
                del left[edit]
                yield edit
        yield addition
    yield from left


def _lingering(gone: frozenset[Path], new: frozenset[Path]) -> set[Path]:
    """The subjects whose line has to go before another can come that sets the same or says the same.

    FRR takes no notice of an entry of a list that says what another one does, and goes on with the message
    of a shutdown that has none.
    """
    entries = {entry(path) for path in new} - {None}
    lines = {subject(path): path[-1] for path in new}
    return {
        subject(path)
        for path in gone
        if entry(path) in entries or path[-1].startswith(f"{lines.get(subject(path), path[-1])} message ")
    }


def _taken(gone: frozenset[Path], anew: set[Path], headers: Mapping[Path, Path]) -> Iterator[Path]:
    """The commands for lines that go: a section's for all that stands in it."""
    for path in sorted(gone):
        if subject(path) in anew or any(
            path[:end] in gone and subject(path[:end]) not in anew for end in range(1, len(path))
        ):
            continue
        # An entry of a map whose action has changed has another header by now.
        above = headers.get(subject(path[:-1]), path[:-1]) if len(path) > 1 and opens(path[-2]) else path[:-1]
        yield (*above, negated(path[-1]))


def batch(edits: Sequence[Edit], *, apart: bool = False) -> tuple[str, dict[int, Edit]]:
    """The text for ``vtysh -f``, and the edit that each numbered line, counted from 1, belongs to.

    Each section is left by its ``exit``: if one is refused, its lines must not go to the one before it.
    Not so the entries of route maps, unless they are to be kept ``apart``: at an ``exit`` FRR commits what it
    was told of them, and each commit copies all that it has (10 s for 300 entries, 0.4 s together).
    """
    lines: list[str] = []
    origin: dict[int, Edit] = {}
    opened: Path = ()
    for edit in edits:
        if edit.headers != opened:
            if apart or not (_in_map(opened) and _in_map(edit.headers)):
                lines += [closer(header) for header in reversed(opened)]
            for header in edit.headers:
                lines.append(header)
                origin[len(lines)] = edit
            opened = edit.headers
        if edit.headers != edit.path:
            lines.append(edit.command)
            origin[len(lines)] = edit
    lines += [closer(header) for header in reversed(opened)]
    return "\n".join(lines) + "\n", origin


def _in_map(headers: Path) -> bool:
    return len(headers) == 1 and headers[0].startswith("route-map ")


def refusals(output: str, origin: Mapping[int, Edit]) -> list[Refusal]:
    """The lines that vtysh says were not taken, each with the reason printed before it, if any was.

    Of commands that FRR takes as one transaction it names all, and refuses all for one.
    """
    found: list[Refusal] = []
    said, grouped = "", False
    by_command = {edit.command: edit for edit in origin.values()}
    for line in output.split("\n"):
        text = line.strip()
        match = _REFUSAL.match(line)
        if grouped and text.startswith("- "):
            if edit := by_command.get(text.removeprefix("- ")):
                found.append(Refusal(edit, said, grouped=True))
            continue
        if text.startswith(_GROUPED):
            grouped = True
        elif match is None:
            grouped = False
            said = text.removeprefix("Error description:").strip() or said
        elif edit := origin.get(int(match[1])):
            # Where FRR says nothing, vtysh repeats the line.
            found.append(Refusal(edit, redacted((said or match[2]).removeprefix("% ").strip())))
            said, grouped = "", False
    return found
