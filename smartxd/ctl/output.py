"""How verbs print: aligned columns, coloured only on a terminal, and JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

_GOOD = frozenset({"Ready", "Established", "up", "forwarding", "create", "attached"})
_BAD = frozenset({"NOT READY", "Stalled", "Drifted", "DOWN", "DETACHED", "delete", "recreate"})
_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?")


def print_json(value: BaseModel | Any) -> None:
    """The value as indented JSON; models by their own fields, times as RFC 3339."""
    if isinstance(value, BaseModel):
        print(value.model_dump_json(indent=2))
    else:
        print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns under their names, numbers to the right; a cell that is None is ``-``.

    On a terminal a long cell wraps within its column; piped, each row is one line of text without colour.
    """
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    right = [
        bool(cells) and all(_NUMBER.fullmatch(row[i]) or row[i] == "-" for row in cells)
        for i in range(len(columns))
    ]
    if sys.stdout.isatty():
        _print_rich(columns, cells, right)
    else:
        _print_plain(columns, cells, right)


def _print_plain(columns: Sequence[str], cells: list[list[str]], right: list[bool]) -> None:
    table = [[" ".join(cell.split()) for cell in row] for row in [list(columns), *cells]]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    for row in table:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        print("  ".join(parts).rstrip())


def _print_rich(columns: Sequence[str], cells: list[list[str]], right: list[bool]) -> None:
    from rich.console import Console  # noqa: PLC0415 (slow to import, and only a terminal needs it)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, is_right in zip(columns, right, strict=True):
        table.add_column(name, justify="right" if is_right else "left", overflow="fold")
    for row in cells:
        # Text, not markup: what a box or a spec wrote must not be read as styles.
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    Console(highlight=False).print(table)


def _style(cell: str) -> str:
    return "green" if cell in _GOOD else "red" if cell in _BAD else ""
