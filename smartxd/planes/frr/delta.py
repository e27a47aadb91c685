"""What frr-reload says is to be done, made safe to be applied as one batch. Pure.

frr-reload deletes line by line and repeats itself: after ``no neighbor X remote-as N`` has taken the whole
neighbour away, it goes on to delete each of its other lines, on which a batch trips; and where a value is to
change it deletes the old one first, which for an AS number takes the neighbour down, and for a description
the mark away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from smartxd.planes.frr.running import Path, object_of

_REFUSAL = re.compile(r"^line (\d+): (.*)$")


@dataclass(frozen=True, slots=True)
class Edit:
    """One command and the headers of the sections in which it is given."""

    path: Path

    @property
    def command(self) -> str:
        """What is typed."""
        return self.path[-1]

    @property
    def subject(self) -> Path:
        """What the command sets or removes: an edit of the same subject replaces an earlier value."""
        key: Path
        match self.command.removeprefix("no ").split():
            case ["neighbor", who, "timers", "connect", *_]:
                key = ("neighbor", who, "timers connect")
            case ["neighbor", who, attribute, *_]:
                key = ("neighbor", who, attribute)
            case ["network", prefix, *_]:
                key = ("network", prefix)
            case ["bgp", "router-id", *_]:
                key = ("bgp router-id",)
            case words:
                key = tuple(words)
        return (*self.path[:-1], *key)

    @property
    def takes_neighbor(self) -> bool:
        """Whether a whole neighbour goes with the line."""
        return self.command.startswith("no neighbor ") and self.subject[-1] == "remote-as"

    @property
    def headers(self) -> Path:
        """The sections to be entered for the command; one that only opens a section is its own header."""
        opens = self.command.startswith(("router ", "address-family "))
        return self.path if opens else self.path[:-1]

    @property
    def object(self) -> str | None:
        """The plane's id of the object that the command is about; None where it is none of this plane's."""
        header = self.path[0].removeprefix("no ")
        if not re.fullmatch(r"router bgp \d+", header):
            return None
        inner = self.path[1:]
        return (object_of(inner) if inner else None) or header


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that FRR did not take, and what it said."""

    edit: Edit
    message: str


def parse(output: str) -> tuple[list[Edit], list[Edit]]:
    """The deletions and additions that ``frr-reload --test`` prints, in its order."""
    found: dict[str, list[Edit]] = {"Lines To Delete": [], "Lines To Add": []}
    current: list[Edit] = []
    stack: list[str] = []
    for line in output.split("\n"):
        if line in found:
            _flush(stack, current)
            current = found[line]
        elif line.strip() and not line.startswith("==="):
            depth = len(line) - len(line.lstrip(" "))
            # Each edit begins anew at the top with all its headers.
            if depth == 0:
                _flush(stack, current)
            stack.append(" ".join(line.split()))
    _flush(stack, current)
    return found["Lines To Delete"], found["Lines To Add"]


def _flush(stack: list[str], edits: list[Edit]) -> None:
    if stack:
        edits.append(Edit(tuple(stack)))
        stack.clear()


def prune(deletions: Sequence[Edit], additions: Sequence[Edit]) -> list[Edit]:
    """The deletions that are needed, then the additions.

    What goes with a section or neighbour that goes is not deleted again, and what is set anew is not
    deleted before.
    """
    set_anew = {e.subject for e in additions}
    sections = {e.command.removeprefix("no ") for e in deletions if len(e.path) == 1}
    needed = [e for e in deletions if e.path[0] not in sections and e.subject not in set_anew]
    neighbors = dict.fromkeys((e.path[0], e.object) for e in needed if e.takes_neighbor)
    return [
        *(Edit((section, f"no {id}")) for section, id in neighbors),
        *(e for e in needed if (e.path[0], e.object) not in neighbors),
        *additions,
    ]


def batch(edits: Sequence[Edit]) -> tuple[str, dict[int, Edit]]:
    """The text for ``vtysh -f``, and the edit that each numbered line, counted from 1, belongs to.

    Each section is left by its ``exit``: if one is refused, its lines must not go to the one before it.
    """
    lines: list[str] = []
    origin: dict[int, Edit] = {}
    opened: Path = ()
    for edit in edits:
        if edit.headers != opened:
            lines += [_exit(header) for header in reversed(opened)]
            for header in edit.headers:
                lines.append(header)
                origin[len(lines)] = edit
            opened = edit.headers
        if edit.headers != edit.path:
            lines.append(edit.command)
            origin[len(lines)] = edit
    lines += [_exit(header) for header in reversed(opened)]
    return "\n".join(lines) + "\n", origin


def _exit(header: str) -> str:
    return "exit-address-family" if header.startswith("address-family ") else "exit"


def refusals(output: str, origin: dict[int, Edit]) -> list[Refusal]:
    """The lines that vtysh says were not taken, each with the reason printed before it, if any was."""
    found: list[Refusal] = []
    said = ""
    for line in output.split("\n"):
        match = _REFUSAL.match(line)
        if match is None:
            said = line.strip() or said
        elif edit := origin.get(int(match[1])):
            found.append(Refusal(edit, (said or match[2]).removeprefix("% ").strip()))
            said = ""
    return found
