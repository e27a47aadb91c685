"""What there is of FRR, as doctor tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smartxd.config import Config, FRRConfig, SourceConfig
from smartxd.doctor.finding import Verdict
from smartxd.doctor.needs import Needs
from smartxd.doctor.routing import RoutingLooks
from smartxd.planes.frr.health import examine

pytestmark = pytest.mark.kernel
BGP = ("zebra", "bgpd")


def looks(frr: FRRConfig) -> RoutingLooks:
    config = Config(box="b", source=SourceConfig(url="/nowhere"), frr=frr)
    return RoutingLooks(config, Needs(frr=True, daemons=BGP))


def test_a_well_frr_says_its_version_and_which_daemons_answer(lone: Any) -> None:
    health = examine(lone.config, ("zebra", "bgpd", "staticd", "bfdd"))
    assert health.missing is None
    assert health.silent == ("bfdd",)
    assert health.tested
    assert health.version.startswith("8.4")


def test_a_daemon_that_the_specs_need_and_that_is_dead_is_a_failure(lone: Any) -> None:
    lone.kill("bgpd")
    verdicts = {f.check: f.verdict for f in looks(lone.config).frr()}
    assert verdicts["zebra"] is Verdict.OK
    assert verdicts["bgpd"] is Verdict.FAIL
    assert verdicts["bfdd"] is Verdict.WARNING, "no session uses it"


def test_a_version_that_is_not_known_is_a_failure_until_it_is_accepted(
    lone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smartxd.planes.frr.health.TESTED", ("99.9",))
    (found,) = [f for f in looks(lone.config).frr() if f.check == "frr"]
    assert found.verdict is Verdict.FAIL
    assert "'8.4' to frr.accept" in found.advice
    accepting = lone.config.model_copy(update={"accept": ("8.4",)})
    (found,) = [f for f in looks(accepting).frr() if f.check == "frr"]
    assert found.verdict is Verdict.OK


def test_without_its_reload_tool_frr_cannot_be_driven(lone: Any, tmp_path: Path) -> None:
    missing = lone.config.model_copy(update={"reload": tmp_path / "none.py"})
    (found,) = looks(missing).frr()
    assert found.verdict is Verdict.FAIL
    assert "apt install frr frr-pythontools" in found.advice


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("bgpd=no\n", "is not enabled"), ("zebra=no\nbgpd=yes\n", "does not answer"), ("", "is not enabled")],
)
def test_a_daemon_that_is_off_is_told_from_one_that_does_not_answer(
    tmp_path: Path, text: str, wrong: str
) -> None:
    (tmp_path / "etc/frr").mkdir(parents=True)
    (tmp_path / "etc/frr/daemons").write_text(text)
    config = Config(box="b", source=SourceConfig(url="/nowhere"))
    found = RoutingLooks(config, Needs(daemons=BGP), tmp_path)._daemon("bgpd", answers=False)
    assert (found.verdict, found.found) == (Verdict.FAIL, wrong)
