"""What a repo may ask for is bounded, by numbers that a large fleet does not come to."""

from __future__ import annotations

import pytest

from benchmarks import hostile
from smartxd.spec import bounds
from smartxd.spec.finding import HINTS_MAX, Finding
from smartxd.spec.load import judge


def findings(text: str, *rules: str) -> list[Finding]:
    verdict = judge(hostile.files(text))
    return [finding for finding in verdict.findings if finding.rule in rules]


def test_a_thousand_boxes_with_a_hundred_tunnels_each_are_within_the_bounds() -> None:
    assert judge(hostile.files(hostile.memberships(1_000, 100))).findings == ()


def test_objects_on_too_many_boxes_are_refused_before_the_rules_run() -> None:
    (finding,) = findings(hostile.memberships(1_000, 251), "SX011", "SX316")
    assert finding.rule == "SX011"
    assert f"more than {bounds.ON_BOXES_MAX} things on boxes" in finding.message


@pytest.mark.parametrize("make", [hostile.anycast, hostile.traced])
def test_what_an_object_gives_each_of_its_boxes_counts(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    text = make(10)  # type: ignore[operator]
    assert findings(text, "SX011") == []
    monkeypatch.setattr(bounds, "ON_BOXES_MAX", 2_000)
    assert len(findings(text, "SX011")) == 1


def test_the_patterns_of_a_box_are_bounded_and_its_plain_names_are_not() -> None:
    assert findings(hostile.names_of_ports(1_280), "SX011", "SX333") == []
    assert findings(hostile.patterns_of_ports(bounds.PATTERNS_MAX), "SX011", "SX333") == []
    (finding,) = findings(hostile.patterns_of_ports(bounds.PATTERNS_MAX + 64), "SX011")
    assert "b0 has more than" in finding.message


def test_of_many_misspelled_names_the_first_have_a_hint_each_and_the_right_one() -> None:
    found = findings(hostile.misspelled(400), "SX101")
    hints = [finding for finding in found if "did you mean seoul-rack" in finding.message]
    assert (len(found), len(hints)) == (400, HINTS_MAX)
    for finding in hints:
        given, _, meant = finding.message.removeprefix("no Box is named ").partition("; did you mean ")
        assert given[:-1] == meant[:-2]


def test_of_a_box_with_many_addresses_a_message_names_a_few() -> None:
    found = findings(hostile.wrong_addresses(100), "SX412")
    assert len(found) == 100
    assert all("and 97 more" in finding.message and len(str(finding)) < 400 for finding in found)
