"""However many lesser findings there are, an error is told."""

from __future__ import annotations

import pytest

from smartxd.errors import SpecError
from smartxd.spec.load import FINDINGS_MAX, judge, load

HEAD = "---\napiVersion: smartx.io/v1alpha1\n"
MAP = HEAD + "kind: RouteMap\nmetadata: {{name: m{}}}\nspec: {{entries: [{{seq: 1, action: permit}}]}}\n"
OFF = HEAD + "kind: CheckPolicy\nmetadata: {name: p}\nspec: {rules: {SX105: 'off'}}\n"


def box(name: str, annotations: str = "") -> str:
    spec = "spec: {underlay: {interface: wan0, address: 192.0.2.1/24}}"
    return f"{HEAD}kind: Box\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n{spec}\n"


UNUSED = "".join(MAP.format(i) for i in range(FINDINGS_MAX + 100))
CLASH = box("a") + box("b")
USELESS = "".join(
    box(f"u{i}", ", ".join(f"check.smartx.io/SX{r}: x" for r in range(301, 305))).replace(
        "192.0.2.1", f"10.{i}.0.1"
    )
    for i in range(200)
)


@pytest.mark.parametrize("lesser", [UNUSED, OFF + UNUSED, USELESS], ids=["notes", "off", "silences nothing"])
def test_an_error_behind_many_lesser_findings_refuses_the_commit(lesser: str) -> None:
    files = {"a.yaml": lesser.encode(), "z.yaml": CLASH.encode()}
    assert {finding.rule for finding in judge(files).errors} == {"SX201"}
    with pytest.raises(SpecError):
        load(files)


def test_what_is_told_is_bounded_and_says_so() -> None:
    verdict = judge({"a.yaml": UNUSED.encode()})
    assert (len(verdict.findings), verdict.cut, verdict.errors) == (FINDINGS_MAX, True, ())
