"""What a look at one thing has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Not as it should be, or missing and not needed by this box's specs."""
    FAIL = "fail"
    """Something that the box's specs or its configuration need does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for the operator; ``advice`` is empty where there is nothing to do."""

    check: str
    """Its name in JSON, which stays."""
    verdict: Verdict
    found: str
    needed_for: str
    advice: str = ""


Look = Callable[[], Iterable[Finding]]


def judged(
    check: str, wrong: str, right: str, needed_for: str, advice: str, *, needed: bool = False
) -> Finding:
    """Ok with ``right`` where nothing is ``wrong``; else as bad as the box needs it."""
    if not wrong:
        return Finding(check, Verdict.OK, right, needed_for)
    return Finding(check, Verdict.FAIL if needed else Verdict.WARNING, wrong, needed_for, advice)
