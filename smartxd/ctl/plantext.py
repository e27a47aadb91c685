"""A plan for a person: a line for each action, the fields below it, the numbers at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import zip_longest
from textwrap import TextWrapper

from pydantic import JsonValue

from smartxd.reconcile.plan import Verb
from smartxd.reconcile.planned import PlannedAction, PlanReport, PlanSummary, written
from smartxd.spec.finding import printable
from smartxd.tables import fitted, folded

VALUE_MAX = 160
"""Characters of a value that are shown; ``-o json`` has all of it."""

_HEADER = ("ACTION", "PLANE", "OBJECT", "FOR", "DISRUPTION")
_SIGNS = {Verb.CREATE: "+", Verb.UPDATE: "~", Verb.RECREATE: "±", Verb.DELETE: "-"}
_STYLES = {Verb.CREATE: "green", Verb.UPDATE: "yellow", Verb.RECREATE: "red", Verb.DELETE: "red"}
_GAP = "  "

Line = tuple[str, str]
"""Text and its style, which only a terminal shows."""


def show(report: PlanReport) -> None:
    """Print the plan; coloured and folded to its width on a terminal, one line of text each elsewhere."""
    if not sys.stdout.isatty():
        for text, _ in lines(report, sys.maxsize):
            print(text)
        return
    from rich.console import Console  # noqa: PLC0415 (slow to import, and only a terminal needs it)
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    for text, style in lines(report, console.width):
        # Text, not markup: what a spec wrote must not be read as styles.
        console.print(Text(text, style=style), soft_wrap=True)


def lines(report: PlanReport, room: int) -> Iterator[Line]:
    """The plan in lines of at most ``room`` characters, as far as words allow."""
    yield from _actions(report.actions, room)
    problem = TextWrapper(room, subsequent_indent=" " * 4, break_on_hyphens=False, break_long_words=False)
    for p in report.problems:
        text = printable(f"! {p.owner}: {p.reason}: {p.message}")
        yield from ((line, "red") for line in problem.wrap(text))
    if report.actions or report.problems:
        yield "", ""
    yield _numbers(report), "bold"


def _actions(actions: tuple[PlannedAction, ...], room: int) -> Iterator[Line]:
    if not actions:
        return
    cells = [_cells(action) for action in actions]
    widths, gap = fitted(_HEADER, cells, room - len(_GAP))
    between = " " * gap
    field = TextWrapper(room, initial_indent=" " * 6, subsequent_indent=" " * 8, break_on_hyphens=False)

    def row(sign: str, texts: tuple[str, ...]) -> Iterator[str]:
        columns = (folded(text, width).split("\n") for text, width in zip(texts, widths, strict=True))
        for i, parts in enumerate(zip_longest(*columns, fillvalue="")):
            aligned = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            yield f"{' ' if i else sign} {between.join(aligned)}".rstrip()

    yield from ((line, "bold") for line in row(" ", _HEADER))
    for action, texts in zip(actions, cells, strict=True):
        yield from ((line, _STYLES[action.verb]) for line in row(_SIGNS[action.verb], texts))
        for text in _fields(action):
            yield from ((line, "") for line in field.wrap(printable(text)))


def _cells(action: PlannedAction) -> tuple[str, ...]:
    return tuple(
        map(printable, (action.verb, action.plane, action.id, action.owner, action.disruption.value))
    )


def _fields(action: PlannedAction) -> Iterator[str]:
    """A line for each field that changes; one for all fields of what is made or goes."""
    match action.verb:
        case Verb.CREATE:
            made = " ".join(f"{name}={_text(new)}" for name, (_, new) in action.fields.items())
            yield from [made] if made else []
        case Verb.DELETE:
            gone = " ".join(f"{name}={_text(old)}" for name, (old, _) in action.fields.items())
            yield from [gone] if gone else []
        case _:
            yield from (f"{name}: {_text(old)} → {_text(new)}" for name, (old, new) in action.fields.items())


def _text(value: JsonValue) -> str:
    whole = written(value)
    return whole if len(whole) <= VALUE_MAX else f"{whole[: VALUE_MAX - 1]}…"


def _numbers(report: PlanReport) -> str:
    """The last line: what the plan comes to."""
    s = report.summary
    if not report.actions and not report.problems:
        return f"{report.box}: nothing to do"
    verbs = f"{s.create} to create, {s.update} to update, {s.recreate} to recreate, {s.delete} to delete"
    problems = f"{s.problems} problem{'s' * (s.problems != 1)}"
    return f"{report.box}: {verbs}; disruption: {_disruption(s)}; {problems}"


def _disruption(summary: PlanSummary) -> str:
    counts = {"flap": summary.disruption.flap, "recreate": summary.disruption.recreate}
    return ", ".join(f"{n} {kind}" for kind, n in counts.items() if n) or "none"
