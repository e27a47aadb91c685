"""Whether two patterns of interface names match one name."""

from __future__ import annotations

import re
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from smartxd.spec.names import COMPILED_FROM, Names, both_match, ends

NAMES = ["".join(letters) for length in range(8) for letters in product("ab", repeat=length)]
PATTERNS = st.text("ab*?", max_size=4)


def matches(pattern: str) -> set[str]:
    """The names of up to seven letters, two of them, that a pattern of up to four characters matches."""
    compiled = re.compile(pattern.replace("*", ".*").replace("?", "."))
    return {name for name in NAMES if compiled.fullmatch(name)}


@given(PATTERNS, PATTERNS)
def test_patterns_meet_where_a_name_matches_both(one: str, other: str) -> None:
    # Two patterns of four characters that meet at all meet in a name of at most seven letters.
    assert both_match(one, other) == bool(matches(one) & matches(other))
    (bits, known), (others, known_too) = ends(one), ends(other)
    assert not both_match(one, other) or not (bits ^ others) & known & known_too


@given(st.text("abc-._", min_size=1, max_size=15))
def test_a_name_is_a_pattern_of_itself_alone(name: str) -> None:
    assert both_match(name, name)
    assert both_match(name, "*")
    assert not both_match(name, name + "x")


def test_the_hardest_patterns_are_decided_at_once() -> None:
    assert not both_match("*a*a*a*a*a*a*ab", "*b*b*b*b*b*b*ba")


@given(st.lists(st.sampled_from(NAMES[1:]), max_size=2 * COMPILED_FROM, unique=True), PATTERNS)
def test_of_few_and_of_many_names_those_are_found_that_a_pattern_matches(
    names: list[str], pattern: str
) -> None:
    known = Names(names)
    assert list(known.matching(pattern)) == [name for name in names if name in matches(pattern)]


def test_of_many_names_those_are_found_that_a_pattern_matches() -> None:
    known = Names(NAMES[1:])
    for pattern in ("a*b", "*", "?", "a??b*", "*ab*ba*", "*a*b*a?", "ab", "ba*ab", "**a"):
        assert list(known.matching(pattern)) == [name for name in NAMES[1:] if name in matches(pattern)]
