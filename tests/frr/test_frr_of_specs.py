"""What specs ask of FRR is what a real one then runs: written without a complaint, and nothing left to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartxd.desired import frr
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import FRRState
from smartxd.reconcile.plan import Ownership, Plan
from smartxd.source import folder
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import judge
from tests.frr.conftest import Instance

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
REPOS = (
    *((ROOT / "examples" / "koren-campus", box) for box in ("gwangju", "seoul")),
    *((ROOT / "specs" / "reference", box) for box in ("gist1", "gist2")),
    *((ROOT / "tests" / "specs" / "right" / name, "gist1") for name in ("transit", "unnumbered-fabric")),
)


def fleet_of(repo: Path) -> Fleet:
    """The fleet of a repo, whatever other planes cannot do yet."""
    verdict = judge(folder.read(repo))
    assert verdict.errors == ()
    return verdict.fleet


@pytest.mark.parametrize(("repo", "name"), REPOS, ids=lambda value: getattr(value, "name", value))
def test_frr_runs_what_specs_ask_for_and_nothing_is_left_to_do(
    repo: Path, name: str, bare: Instance, tmp_path: Path
) -> None:
    wanted = frr.lower(fleet_of(repo), name)
    for secret in {neighbor.secret for neighbor in wanted.neighbors} - {""}:
        (tmp_path / secret).write_text("opensesame\n")
        (tmp_path / secret).chmod(0o600)
    bare.start(daemons=("zebra", "bgpd", "staticd", "bfdd"))
    plane = FRRPlane(bare.config, tmp_path)
    made = Ownership(wanted.objects())

    observed = plane.observe()
    plan = plane.plan(wanted, observed, made)
    assert plan.problems == ()
    assert {action.id for action in plan.actions} == {part.id for part in wanted.parts}
    assert [result.problem for result in plane.apply(plan, observed) if result.problem] == []
    assert plane.plan(wanted, plane.observe(), made) == Plan()

    nothing, observed = FRRState(), plane.observe()
    list(plane.apply(plane.plan(nothing, observed, made), observed))
    assert plane.plan(nothing, plane.observe(), Ownership(frozenset())) == Plan()
    assert "router bgp" not in bare.running()
