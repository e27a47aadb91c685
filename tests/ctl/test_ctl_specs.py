"""``smartxctl validate`` and ``plan``: specs alone, no box."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smartxd.ctl.main import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "koren-two-site"
REFERENCE = ROOT / "specs" / "reference"

PLAN_OF_GIST1 = """\
ACTION  PLANE   OBJECT                             FOR                DISRUPTION
create  kernel  link br-koren                      Tunnel/koren-l2    none
create  kernel  link vx100                         Tunnel/koren-l2    none
create  kernel  address 10.10.0.1/24 dev br-koren  Tunnel/koren-l2    none
create  kernel  address 10.255.0.1/32 dev lo       Box/gist1          none
create  frr     router bgp 65001                   BGPRouter/gist1    none
create  frr     network 10.255.0.1/32              BGPRouter/gist1    none
create  frr     neighbor 203.0.113.2               BGPPeer/koren-wan  none
create  trace   policy koren                       TracePolicy/koren  none
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The example with a group that is no multicast address, and a prefix that is none."""
    for file in EXAMPLE.glob("*.yaml"):
        text = file.read_text().replace("group: 239.1.1.100", "group: 10.1.1.1")
        (tmp_path / file.name).write_text(text.replace("[10.255.0.2/32]", "[10.255.0.2/33]"))
    return tmp_path


@pytest.mark.parametrize("folder", [EXAMPLE, REFERENCE], ids=lambda f: f.name)
def test_valid_specs_are_said_to_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{folder}: ")
    assert out.endswith(" objects, 2 of them boxes: valid\n")
    assert err == ""


def test_every_finding_is_a_line_with_its_place(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(broken)]) == 1
    group, network, count = capsys.readouterr().out.splitlines()
    assert group == (
        f"{broken}/l2.yaml:13:5: Tunnel/koren-l2: spec.flood.group: "
        "not a multicast group; use one of 239.0.0.0/8 (was '10.1.1.1')"
    )
    assert network.startswith(f"{broken}/l3.yaml:16:14: BGPRouter/gist2: spec.networks[0]: ")
    assert count == "2 findings"


def test_a_folder_without_specs_is_an_error_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}: no spec files (*.yaml, *.yml)\nhint: name the folder that holds the specs\n"
    )


def test_the_plan_is_every_action_in_the_order_of_applying(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLE), "--box", "gist1"]) == 0
    *table, empty, summary = capsys.readouterr().out.splitlines()
    end = table[0].index("  FIELDS")
    assert "".join(f"{line[:end].rstrip()}\n" for line in table) == PLAN_OF_GIST1
    assert (empty, summary) == ("", "gist1: 8 to create, 0 to update, 0 to delete; 0 problems")
    assert table[2][end:].strip().startswith("name=vx100 vni=100 group=239.1.1.100 local=203.0.113.1 ")


def test_the_plan_is_the_same_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLE), "--box", "gist2", "-o", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["box"], plan["problems"], len(plan["actions"])) == ("gist2", [], 8)
    neighbor = next(a for a in plan["actions"] if a["id"] == "neighbor 203.0.113.1")
    assert (neighbor["plane"], neighbor["verb"], neighbor["owner"]) == ("frr", "create", "BGPPeer/koren-wan")
    assert neighbor["fields"]["remote_as"] == [None, 65001]


def test_the_box_has_the_links_that_its_spec_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(REFERENCE), "--box", "gist1"]) == 0
    assert "interfaces=mgmt0,vx100,wan0" in capsys.readouterr().out


def test_what_stands_in_the_way_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(REFERENCE), "--box", "gist2"]) == 1
    out = capsys.readouterr().out
    assert "TracePolicy/koren: " in out
    assert "mgmt0" in out
    assert out.endswith("; 1 problem\n")


def test_a_box_that_no_spec_names_is_an_error_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLE), "--box", "gist9"]) == 1
    assert capsys.readouterr().err == (
        f"error: {EXAMPLE}: no Box is named gist9\nhint: there are gist1, gist2\n"
    )


def test_specs_that_are_not_valid_have_no_plan(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(broken), "--box", "gist1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{broken}/l2.yaml:13:5: Tunnel/koren-l2: " in err
