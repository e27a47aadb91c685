"""What is wrong with specs: rules, each with a stable ID, and their findings, each with its place."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as attribute
from enum import StrEnum

HINTS_MAX = 100
"""Hints of one kind: nobody reads as many, and each costs milliseconds."""
NEAR_MAX = 25
"""Known words on each side of a word, by their beginnings and by their ends, that are compared."""


class Severity(StrEnum):
    """What a finding means: an error refuses the commit, a warning fails CI, a note is only said."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Rule:
    """What specs are judged by; ``docs/rules.md`` is made of these."""

    id: str
    """``SX`` and three digits; never given to another rule."""
    name: str
    """Two or three words with hyphens: ``gateway-subnet``."""
    summary: str
    """What must hold, one sentence."""
    why: str
    """What goes wrong on a box where it does not hold, and what to do; Markdown."""
    severity: Severity = Severity.ERROR
    fixed: bool = False
    """Whether no CheckPolicy and no annotation can change it: without it no box can be derived."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong, as one line."""

    location: Location
    object: str
    """``Kind/name``; empty where the document does not say."""
    field: str
    """Dotted path of the field; empty where the whole object is meant."""
    message: str
    rule: str
    """ID of the rule."""
    severity: Severity = Severity.ERROR
    other: Location | None = attribute(default=None, compare=False)
    """The other place of a conflict; the message names it too."""
    hint: str = ""
    """What to do about it, where the message does not say."""
    silenced: str = ""
    """Why the object's annotation says that this does not count; empty where none does."""

    def __str__(self) -> str:
        where_what = (str(self.location), self.object, self.field, self.message)
        tag = self.rule if self.severity is Severity.ERROR else f"{self.rule} {self.severity}"
        return printable(f"{': '.join(part for part in where_what if part)} [{tag}]")


def shown(text: object) -> str:
    """Text of the input, cut and made safe to print on one line."""
    return printable(str(text)[:63])


def printable(text: str) -> str:
    """Text without what would begin another line or move a terminal's cursor."""
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text)


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """The end of a message about a word that is not known: the one that was likely meant."""
    close = difflib.get_close_matches(shown(given), list(known), n=1) if isinstance(given, str) else []
    return f"; did you mean {close[0]}?" if close else ""


class Hints:
    """``did_you_mean`` for many words and a fixed set of known ones, which may be many too."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = sorted(set(known))
        self._backwards = sorted(word[::-1] for word in self._known)
        self._left = HINTS_MAX

    def __call__(self, given: str) -> str:
        """The end of a message; empty once HINTS_MAX are made."""
        if self._left == 0:
            return ""
        self._left -= 1
        if len(self._known) <= 2 * NEAR_MAX:
            return did_you_mean(given, self._known)
        # A slip leaves what is before it or what is behind it as it was.
        behind = (word[::-1] for word in _near(given[::-1], self._backwards))
        return did_you_mean(given, sorted({*_near(given, self._known), *behind}))


def _near(word: str, words: list[str]) -> list[str]:
    """The words that stand around a word in their order."""
    at = bisect_left(words, word)
    return words[max(0, at - NEAR_MAX) : at + NEAR_MAX]
