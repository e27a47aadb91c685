"""Rows of a benchmark: what was measured, the limit it has to keep, and the peer it is compared with."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. With a ``limit`` the row holds when ``value`` is at most that; without one it informs."""

    metric: str
    value: float
    unit: str
    limit: float | None = None
    peer: str = ""
    peer_value: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.limit is None or self.value <= self.limit


def spread(samples: Sequence[float]) -> str:
    """Median, least and greatest of the samples, for a metric's name or a note."""
    return f"{statistics.median(samples):.3g} ({min(samples):.3g}–{max(samples):.3g})"


def show(name: str, rows: Sequence[Row]) -> str:
    """The rows as an aligned table."""
    head = ("metric", "value", "unit", "limit", "holds", "peer", "peer value")
    body = [
        (
            *(row.metric, f"{row.value:.4g}", row.unit),
            *("" if row.limit is None else f"{row.limit:.4g}", "yes" if row.holds else "NO"),
            *(row.peer, "" if row.peer_value is None else f"{row.peer_value:.4g}"),
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in (head, *body)
    ]
    return "\n".join((f"## {name}", *lines))


def write(folder: Path, name: str, rows: Sequence[Row]) -> None:
    """Write ``NAME.json``: a list of objects, the fields of Row and ``holds``."""
    folder.mkdir(parents=True, exist_ok=True)
    body = [{**asdict(row), "holds": row.holds} for row in rows]
    (folder / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n")
