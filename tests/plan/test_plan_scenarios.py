"""Changes of specs and the plans that they make: ``scenarios/WHAT/{base,head}/*.yaml`` and ``plan.txt``.

``SMARTXD_REWRITE=1 pytest tests/plan/test_plan_scenarios.py`` writes each plan.txt anew: read the difference.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from smartxd.ctl.plan import between
from smartxd.ctl.plantext import lines
from smartxd.reconcile.planned import PlanReport
from smartxd.source import folder
from smartxd.spec.load import load

SCENARIOS = sorted(path.parent for path in (Path(__file__).parent / "scenarios").glob("*/base"))


def reports(scenario: Path) -> list[PlanReport]:
    """The plan of each box that is before or after."""
    before, after = load(folder.read(scenario / "base")), load(folder.read(scenario / "head"))
    return [between(before, after, box) for box in sorted(before.boxes | after.boxes)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_change_of_specs_makes_the_plan_that_was_read_and_approved(scenario: Path) -> None:
    texts = ["\n".join(text for text, _ in lines(report, sys.maxsize)) for report in reports(scenario)]
    plan, approved = "\n\n".join(texts) + "\n", scenario / "plan.txt"
    if os.environ.get("SMARTXD_REWRITE"):
        approved.write_text(plan)
    assert plan == approved.read_text()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_the_numbers_of_a_plan_are_those_of_its_actions(scenario: Path) -> None:
    for report in reports(scenario):
        counts = report.summary.model_dump()
        disruptions = counts.pop("disruption")
        assert counts.pop("problems") == len(report.problems)
        assert counts == {v: sum(a.verb == v for a in report.actions) for v in counts}
        assert disruptions == {d: sum(a.disruption == d for a in report.actions) for d in disruptions}
        assert PlanReport.model_validate_json(report.model_dump_json()) == report
