"""Small repos of specs: wrong ones with the findings that they must give, right ones that must give none.

``bad/<case>/`` holds spec files, in which a comment names the rule at each line that breaks one, and
``expected``: one finding a line, ``RULE FILE:LINE``. What cannot stand in a folder of text is in
``test_made_repos.py``. Findings of what this release does not do yet are left out, but for the cases that are
about them. ``messages.txt`` has every line in full; SMARTXD_REWRITE=1 writes it anew, for review.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smartxd.source import folder
from smartxd.spec.finding import Finding
from smartxd.spec.load import RULES, judge

HERE = Path(__file__).parent
BAD = sorted(path for path in (HERE / "bad").iterdir() if path.is_dir())
RIGHT = sorted(path for path in (HERE / "right").iterdir() if path.is_dir())


def findings(repo: Path) -> tuple[Finding, ...]:
    return judge(folder.read(repo)).open


def found(repo: Path) -> list[str]:
    """The findings of a repo as ``RULE FILE:LINE``, sorted."""
    places = [(f.rule, Path(f.location.file).relative_to(repo), f.location.line) for f in findings(repo)]
    return sorted(f"{rule} {file}:{line}" for rule, file, line in places)


@pytest.mark.parametrize("repo", BAD, ids=lambda path: path.name)
def test_a_wrong_repo_gives_the_findings_beside_it(repo: Path) -> None:
    assert found(repo) == sorted((repo / "expected").read_text().split("\n")[:-1])


def test_every_finding_says_what_is_wrong_as_reviewed() -> None:
    golden = HERE / "messages.txt"
    lines = [str(finding) for repo in BAD for finding in findings(repo)]
    text = "".join(line.removeprefix(f"{HERE}/bad/").replace(f"{HERE}/bad/", "") + "\n" for line in lines)
    if os.environ.get("SMARTXD_REWRITE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("repo", RIGHT, ids=lambda path: path.name)
def test_a_right_repo_gives_none(repo: Path) -> None:
    assert found(repo) == []


MADE = {"SX001", "SX011", "SX602", "SX705"}
"""Rules about files that are no text, about masses, about a machine, and about a change."""


def test_every_rule_has_a_wrong_repo() -> None:
    shown = {line.split()[0] for repo in BAD for line in (repo / "expected").read_text().splitlines()}
    assert set(RULES) - shown == MADE
