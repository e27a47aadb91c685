"""Patterns of interface names: ``*`` stands for any characters, ``?`` for one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_LONG = 15
"""Characters of an interface's name at most."""
COMPILED_FROM = 64
"""Names for which compiling a pattern costs less than it saves."""


def is_pattern(name: str) -> bool:
    """Whether it may stand for several names."""
    return "*" in name or "?" in name


def both_match(one: str, other: str) -> bool:
    """Whether there is a name that both patterns match; a name is a pattern of itself."""
    if "*" not in one:
        return _fits(other, one)
    if "*" not in other:
        return _fits(one, other)
    # What stands between the stars of one a star of the other takes: the beginnings and the ends decide.
    return _alike(one.partition("*")[0], other.partition("*")[0]) and _alike(
        one.rpartition("*")[2][::-1], other.rpartition("*")[2][::-1]
    )


def ends(pattern: str) -> tuple[int, int]:
    """What each name that it matches begins and ends with, as a number, and a mask of what is known of it.

    Where the numbers of two patterns differ in what is known of both there is no name that both match.
    """
    first, last = pattern.partition("*")[0][:_LONG], pattern.rpartition("*")[2][-_LONG:]
    text = first.ljust(_LONG, "?") + last.rjust(_LONG, "?")
    known = bytes(0 if c == "?" else 0xFF for c in text)
    return int.from_bytes(text.encode()), int.from_bytes(known)


def _fits(pattern: str, name: str) -> bool:
    """Whether both match a name, of which the second has no star and so tells the length."""
    first, *parts = pattern.split("*")
    if not parts:
        return len(first) == len(name) and _alike(first, name)
    last, end = parts.pop(), len(name)
    at, end = len(first), end - len(last)
    if at > end or not _alike(first, name) or not _alike(last, name[end:]):
        return False
    for part in parts:  # the nearest place for each is as good as any
        while at + len(part) <= end and not _alike(part, name[at:]):
            at += 1
        at += len(part)
    return at <= end


def _alike(one: str, other: str) -> bool:
    """Whether a text begins as both do."""
    return all(a in (b, "?") or b == "?" for a, b in zip(one, other, strict=False))


class Names:
    """Names of interfaces, to be asked which of them a pattern matches."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._text = "\n".join(self._names) if len(self._names) >= COMPILED_FROM else None

    def matching(self, pattern: str) -> Iterator[str]:
        """The names that a pattern matches, in their order."""
        if not is_pattern(pattern):
            return iter([pattern] if pattern in self._names else ())
        if self._text is None:
            return (name for name in self._names if both_match(pattern, name))
        return (found[0] for found in _compiled(pattern).finditer(self._text))


def _compiled(pattern: str) -> re.Pattern[str]:
    """What finds the lines of a text that a pattern matches."""
    first, *parts = (re.escape(part).replace(r"\?", ".") for part in pattern.split("*"))
    middle = "".join(f"(?>.*?{part})" for part in parts[:-1])
    return re.compile(f"^{first}{middle}{''.join(f'.*{part}' for part in parts[-1:])}$", re.MULTILINE)
