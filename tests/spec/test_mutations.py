"""Specs that an operator, a merge or a program has mangled are findings, or a fleet that every box can be.

``make bench ONLY=fuzz`` does the same with a hundred times as many and other seeds.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import mutants
from benchmarks.fuzz import misplaced, trial
from smartxd.spec.load import judge

MUTANTS = 1200


def test_mangled_specs_are_findings_or_a_fleet_that_every_box_can_be() -> None:
    rules: Counter[str] = Counter()
    valid = 0
    for number in range(MUTANTS):
        files = mutants.of_seed(20261122, number).files
        findings, derived = trial(files)
        assert [*misplaced(files, findings)] == [], number
        rules.update(finding.rule for finding in findings)
        valid += derived
    assert valid > MUTANTS // 20  # and what is derived of specs is exercised
    assert len(rules) > 50  # what is thrown reaches the rules across objects, too


@settings(max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_hypothesis_finds_nothing_that_breaks_the_loader(rng: object) -> None:
    files = mutants.repo(rng).files  # type: ignore[arg-type]
    findings, _ = trial(files)
    assert [*misplaced(files, findings)] == []


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(["a.yaml", "b.yaml"]), st.binary(max_size=400), min_size=1))
def test_any_bytes_are_judged(files: dict[str, bytes]) -> None:
    assert [*misplaced(files, judge(files).findings)] == []


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_judged(text: str) -> None:
    files = {"a.yaml": text.encode("utf-8", "surrogatepass")}
    assert [*misplaced(files, judge(files).findings)] == []


@pytest.mark.parametrize("shuffled", [1, 2, 3])
def test_the_order_of_files_changes_no_finding(shuffled: int) -> None:
    for number in range(60):
        files = mutants.of_seed(7, number).files
        turned = dict(sorted(files.items(), key=lambda item: hash((shuffled, item[0]))))
        assert judge(turned).findings == judge(files).findings
