"""Patterns of interface names: ``*`` stands for any characters, ``?`` for one."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def both_match(one: str, other: str) -> bool:
    """Whether there is a name that both patterns match; a name is a pattern of itself."""
    # What is left of both, character by character; patterns are at most 15 long.
    if not one or not other:
        return not (one or other).strip("*")
    if one[0] == "*":
        return both_match(one[1:], other) or both_match(one, other[1:])
    if other[0] == "*":
        return both_match(other, one)
    return (one[0] == other[0] or "?" in (one[0], other[0])) and both_match(one[1:], other[1:])
