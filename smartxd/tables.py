"""How commands print: aligned columns that fit the terminal, coloured only there, and JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from textwrap import TextWrapper
from typing import Any

from pydantic import BaseModel

_GOOD = frozenset({"yes", "ok", "Ready", "Established", "up", "forwarding", "create", "attached"})
_BAD = frozenset(
    {"fail", "NOT READY", "Stalled", "Contested", "Drifted", "DOWN", "DETACHED", "delete", "recreate"}
)
_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?")
_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_WHOLE = re.compile(r"$")
_WORDS = re.compile(r"(\s+)")
_PARTS = re.compile(r"(\s+|(?<=,)(?=[a-z])|(?<!:\d\d)(?=:\d+(?:\s|$)))")
"""Words, a list behind its commas, and an address apart from its port; a time of day stays whole."""

Rows = Sequence[Sequence[str]]


def print_json(value: BaseModel | Any) -> None:
    """The value as indented JSON; models by their own fields, times as RFC 3339."""
    print(_json(value))


def _json(value: BaseModel | Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json(indent=2)
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)


def print_data(value: BaseModel | Any, output: str) -> None:
    """The value for a program, as ``output`` says: ``json`` or ``yaml``."""
    if output == "yaml":
        import yaml  # noqa: PLC0415 (seldom wanted)

        print(yaml.safe_dump(json.loads(_json(value)), sort_keys=False, allow_unicode=True), end="")
    else:
        print_json(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns under their names, numbers to the right; a cell that is None is ``-``.

    On a terminal, columns without any value are left out and long cells fold at their words; piped, each row
    is one line of text with every column.
    """
    cells = [["-" if cell is None else _CONTROL.sub(" ", str(cell)).strip() for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, cells)
    else:
        _print_plain(columns, cells)


def fitted(header: Sequence[str], cells: Rows, room: int) -> tuple[list[int], int]:
    """Widths of the columns and the gap between them that fit into ``room`` characters.

    The widest columns give way first: they fold at their words, then ports go below their addresses, and only
    where no other way is left words break. Numbers never do.
    """
    widths, words, parts = (_longest((header, *cells), pieces) for pieces in (_WHOLE, _WORDS, _PARTS))
    last = [width if i in _numeric(cells) else 1 for i, width in enumerate(parts)]
    gap = 2
    for gap, floors in ((2, words), (1, words), (1, parts), (1, last)):
        excess = sum(widths) + gap * (len(widths) - 1) - room
        while excess > 0 and (wide := [i for i, w in enumerate(widths) if w > floors[i]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
            excess -= 1
        if excess <= 0:
            break
    return widths, gap


def folded(cell: str, width: int) -> str:
    """The cell in lines of at most ``width`` characters."""
    wrapper = TextWrapper(width, break_on_hyphens=False)
    wrapper.wordsep_simple_re = _PARTS
    return wrapper.fill(cell)


def _print_plain(columns: Sequence[str], cells: Rows) -> None:
    widths, right = [max(map(len, column)) for column in zip(columns, *cells, strict=True)], _numeric(cells)
    for row in (columns, *cells):
        parts = [
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(parts).rstrip())


def _print_rich(columns: Sequence[str], cells: Rows) -> None:
    from rich.console import Console  # noqa: PLC0415 (slow to import, and only a terminal needs it)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    told = [i for i in range(len(columns)) if not cells or any(row[i] not in {"", "-"} for row in cells)]
    header, *cells = [[row[i] for i in told] for row in (columns, *cells)]
    console = Console(highlight=False)
    (widths, gap), right = fitted(header, cells, console.width), _numeric(cells)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for i, (name, width) in enumerate(zip(header, widths, strict=True)):
        table.add_column(folded(name, width), justify="right" if i in right else "left", min_width=width)
    for row in cells:
        # Text, not markup: what a box or a spec wrote must not be read as styles.
        table.add_row(*(Text(folded(c, w), style=_style(c)) for c, w in zip(row, widths, strict=True)))
    console.print(table)


def _longest(table: Rows, pieces: re.Pattern[str] = _WHOLE) -> list[int]:
    """The length of the longest cell of each column, or of the longest piece of one."""
    columns = zip(*table, strict=True)
    return [max(len(piece) for cell in column for piece in pieces.split(cell)) for column in columns]


def _numeric(cells: Rows) -> set[int]:
    """The columns that hold nothing but numbers."""
    columns = (set(column) - {"-"} for column in zip(*cells, strict=True))
    return {i for i, told in enumerate(columns) if told and all(map(_NUMBER.fullmatch, told))}


def _style(cell: str) -> str:
    return "green" if cell in _GOOD else "red" if cell in _BAD else ""
