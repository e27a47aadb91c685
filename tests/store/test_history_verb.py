"""The history of a box, as its operator reads it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smartxd.ctl.history import KINDS
from smartxd.ctl.main import main
from smartxd.objects import Event, ObjectRef
from smartxd.store.control import ControlStore

NOW = datetime.now(UTC)
PEER, LINK = ObjectRef("BGPPeer", "wan"), ObjectRef("Tunnel", "l2")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The configuration of a box with four events, the oldest of two days ago."""
    file = tmp_path / "smartxd.toml"
    file.write_text(f'box = "a"\nstate_dir = "{tmp_path}"\n[source]\nurl = "/x"\n')
    store = ControlStore(tmp_path / "control.sqlite")
    events = [
        Event(NOW - timedelta(days=2), "c0ffee", LINK, "Applied", "create link vx100"),
        Event(NOW - timedelta(hours=2), "c0ffee", PEER, "SessionUp", "192.0.2.2 is up"),
        Event(NOW - timedelta(hours=1), "c0ffee", PEER, "SessionDown", "192.0.2.2 went down: hold timer"),
        Event(NOW, "c0ffee", LINK, "Drift", "link vx100: mtu 1450 → 1400"),
    ]
    store.save([], events, "c0ffee")
    store.close()
    return file


def said(box: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    assert main(["history", "--config", str(box), "-o", "json", *more]) == 0
    return [event["message"] for event in json.loads(capsys.readouterr().out)]


def test_the_newest_comes_last_and_what_is_asked_for_only(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    up, down = "192.0.2.2 is up", "192.0.2.2 went down: hold timer"
    drift = "link vx100: mtu 1450 → 1400"
    assert said(box, capsys) == [up, down, drift]
    assert said(box, capsys, "--since", "3d") == ["create link vx100", up, down, drift]
    assert said(box, capsys, "--object", "BGPPeer/wan") == [up, down]
    assert said(box, capsys, "--object", "Tunnel") == [drift]
    assert said(box, capsys, "--object", "BGPPeer/w") == []
    assert said(box, capsys, "--kind", "SessionDown") == [down]
    assert said(box, capsys, "--limit", "1") == [drift]


def test_a_person_reads_a_table(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--config", str(box)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TIME", "KIND", "OBJECT", "COMMIT", "WHAT"]
    assert lines[-1].endswith("link vx100: mtu 1450 → 1400")
    assert main(["history", "--config", str(box), "--kind", "Contested"]) == 0
    assert capsys.readouterr().out == "nothing happened\n"


def test_a_box_that_has_never_run_has_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "smartxd.toml"
    file.write_text(f'box = "a"\nstate_dir = "{tmp_path}"\n[source]\nurl = "/x"\n')
    assert main(["history", "--config", str(file)]) == 0
    assert capsys.readouterr().out == "nothing happened\n"


def test_every_kind_of_event_can_be_asked_for() -> None:
    """Each is written as ``Event(…, "Kind", …)`` or chosen by name somewhere in the daemon or a plane."""
    sources = Path(__file__).parents[2] / "smartxd"
    text = "\n".join(p.read_text() for d in ("daemon", "planes/frr") for p in (sources / d).glob("*.py"))
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []
