"""``smartxctl validate``: what it prints for whom, what it exits with, and what it says of a change."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smartxd.ctl.findings import ValidationReport
from smartxd.ctl.main import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "koren-two-site"
BAD, RIGHT = ROOT / "tests" / "specs" / "bad", ROOT / "tests" / "specs" / "right"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def validate(capsys: pytest.CaptureFixture[str]) -> Run:
    """The verb: exit code, what it printed, what it said beside."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            code = main(["validate", *map(str, arguments)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The example, in a folder of one's own."""
    folder = tmp_path / "site"
    folder.mkdir()
    for file in EXAMPLE.glob("*.yaml"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.net", "-c", "commit.gpgsign=false")
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture
def repo(site: Path) -> Path:
    """The example as a repo of one commit, tagged v1."""
    git(site, "init", "--quiet", "--initial-branch=main")
    git(site, "add", ".")
    git(site, "commit", "--quiet", "-m", "first")
    git(site, "tag", "v1")
    return site


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "more")


def test_right_specs_are_said_to_be(validate: Run) -> None:
    assert validate(EXAMPLE) == (0, "valid: 7 objects of 2 boxes\n", "")


def test_every_finding_is_a_line_with_its_place(validate: Run, site: Path) -> None:
    change(site / "l2.yaml", "239.1.1.100", "10.1.1.1")
    change(site / "l3.yaml", "[10.255.0.2/32]", "[10.255.0.2/33]")
    code, out, err = validate(site)
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        f"{site}/l2.yaml:14:5: Tunnel/koren-l2: spec.flood.group: not a multicast group; "
        "use one of 239.0.0.0/8 (was '10.1.1.1') [SX006]",
        f"{site}/l3.yaml:17:14: BGPRouter/gist2: spec.networks[0]: must be a prefix, as 192.0.2.0/24 or "
        "2001:db8::/32 (was '10.255.0.2/33') [SX006]",
        "2 errors: 5 objects of 2 boxes",
    ]


def test_a_folder_without_specs_is_an_error_with_a_hint(validate: Run, tmp_path: Path) -> None:
    code, out, err = validate(tmp_path)
    assert (code, out) == (1, "")
    assert (
        err
        == f"error: {tmp_path}: no spec files (*.yaml, *.yml)\nhint: name the folder that holds the specs\n"
    )


def test_without_a_path_it_is_this_folder(validate: Run, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    assert validate()[:2] == (0, "valid: 7 objects of 2 boxes\n")


def test_several_paths_are_one_repo_and_a_file_counts_once(validate: Run, site: Path) -> None:
    l3 = (site / "boxes.yaml", site / "l3.yaml", f"{site}/../site/l3.yaml")
    assert validate(*l3)[:2] == (0, "valid: 5 objects of 2 boxes\n")
    code, out, _ = validate(site / "l3.yaml")
    assert code == 1
    assert "no Box is named gist1 [SX101]" in out


def test_a_warning_fails_and_a_note_does_not(validate: Run) -> None:
    code, out, _ = validate(BAD / "SX314-group")
    assert (code, out.splitlines()[-1]) == (1, "1 warning: 4 objects of 2 boxes")
    code, out, _ = validate(BAD / "SX404-no-route")
    assert (code, out.splitlines()[-1]) == (0, "1 note: 3 objects of 2 boxes")


def test_what_is_silenced_is_counted_and_not_said(validate: Run) -> None:
    assert validate(RIGHT / "one-multicast-group-on-purpose")[:2] == (
        0,
        "valid: 4 objects of 2 boxes (1 silenced)\n",
    )


def test_a_hint_stands_below_its_finding(validate: Run) -> None:
    lines = validate(BAD / "SX416-password")[1].splitlines()
    assert lines[0].endswith("[SX416]")
    assert lines[1] == "    hint: declare one BGPPeer between the two boxes"


def test_a_rule_can_be_left_out(validate: Run) -> None:
    assert validate(BAD / "SX314-group", "--ignore", "SX314", "--ignore", "SX316")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ignore", "SX31"], "--ignore: there is no rule SX31; did you mean SX314?"),
        (["a", "b", "--diff", "x..y"], "--diff compares one PATH: name the folder that holds all specs"),
        (["--diff", "..HEAD"], "--diff needs BASE or BASE..HEAD: two commits, as in origin/main..HEAD"),
        (["--diff", "v1...v2"], "--diff needs BASE or BASE..HEAD: two commits, as in origin/main..HEAD"),
        (["--diff", "a..b..c"], "--diff needs BASE or BASE..HEAD: two commits, as in origin/main..HEAD"),
        (["--diff", ""], "--diff needs BASE or BASE..HEAD: two commits, as in origin/main..HEAD"),
        (["--format", "xml"], "choose from 'text', 'json', 'sarif', 'github'"),
    ],
)
def test_wrong_usage_is_exit_2(validate: Run, arguments: list[str], message: str) -> None:
    code, out, err = validate(*arguments)
    assert (code, out) == (2, "")
    assert message.split(";", maxsplit=1)[0] in err


def test_json_is_the_report_that_its_schema_describes(validate: Run) -> None:
    code, out, _ = validate(BAD / "SX314-group", "--format", "json")
    report = ValidationReport.model_validate_json(out)
    (finding,) = report.findings
    assert (code, report.warnings, report.objects, report.boxes) == (1, 1, 4, 2)
    assert (finding.rule, finding.name, finding.severity) == ("SX314", "group-shared", "warning")
    assert (finding.place.line, finding.place.column) == (46, 5)
    assert finding.other is not None
    assert (finding.other.line, finding.other.column) == (34, 5)


def sarif(out: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    log = json.loads(out)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    return run, run["results"]


def test_sarif_names_rules_places_and_what_is_silenced(validate: Run) -> None:
    code, out, _ = validate(RIGHT / "one-multicast-group-on-purpose", "--format", "sarif")
    run, (result,) = sarif(out)
    (rule,) = run["tool"]["driver"]["rules"]
    assert code == 0
    assert (rule["id"], rule["defaultConfiguration"]) == ("SX314", {"level": "warning"})
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("SX314", 0, "warning")
    where = result["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"].endswith("one-multicast-group-on-purpose/site.yaml")
    assert where["region"] == {"startLine": 48, "startColumn": 5}
    assert result["relatedLocations"][0]["physicalLocation"]["region"]["startLine"] == 34
    assert result["suppressions"] == [
        {"kind": "inSource", "justification": "the provider carries one group only"}
    ]


def test_a_finding_keeps_its_fingerprint_when_lines_move(validate: Run, site: Path) -> None:
    change(site / "l2.yaml", "239.1.1.100", "10.1.1.1")
    first = sarif(validate(site, "--format", "sarif")[1])[1]
    (site / "l2.yaml").write_text("# one more line\n" + (site / "l2.yaml").read_text())
    second = sarif(validate(site, "--format", "sarif")[1])[1]
    assert first[0]["locations"] != second[0]["locations"]
    assert first[0]["partialFingerprints"] == second[0]["partialFingerprints"]


def test_names_of_files_cannot_end_a_workflow_command_or_a_line(validate: Run, tmp_path: Path) -> None:
    (tmp_path / "a%b,c:d\n::error::x.yaml").write_text("kind: Box\n")
    out = validate(tmp_path, "--format", "github")[1]
    commands = [line for line in out.splitlines() if line.startswith("::")]
    assert len(commands) == len(out.splitlines()) - 1
    assert all("a%25b%2Cc%3Ad%0A%3A%3Aerror%3A%3Ax.yaml,line=1,col=1" in line for line in commands)
    uris = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in sarif(validate(tmp_path, "--format", "sarif")[1])[1]
    }
    assert uris == {f"file://{tmp_path}/a%25b%2Cc%3Ad%0A%3A%3Aerror%3A%3Ax.yaml"}
    for line in validate(tmp_path)[1].splitlines():
        assert line.isprintable()


def test_github_annotates_by_severity(validate: Run) -> None:
    out = validate(BAD / "SX314-group", "--format", "github")[1]
    assert out.startswith("::warning file=")
    assert ",line=46,col=5,title=SX314 group-shared::Tunnel/other: spec.flood.group: 239.1.1.100 is" in out
    assert validate(BAD / "SX404-no-route", "--format", "github")[1].startswith("::notice file=")


def test_a_change_says_which_boxes_it_touches_and_how(validate: Run, repo: Path) -> None:
    change(repo / "l2.yaml", "vni: 100", "vni: 101")
    commit(repo)
    code, out, _ = validate(repo, "--diff", "v1..HEAD")
    what = "1 to create, 1 to update, 1 to delete; disruption: 1 recreate; Tunnel/koren-l2, TracePolicy/koren"
    assert code == 0
    assert out.splitlines() == [
        f"gist1: {what}",
        f"gist2: {what}",
        "0 boxes untouched",
        "valid: 7 objects of 2 boxes",
    ]


def test_a_box_that_is_to_be_as_before_is_untouched(validate: Run, repo: Path) -> None:
    change(repo / "l3.yaml", "networks: [10.255.0.1/32]", "networks: []")
    code, out, _ = validate(repo, "--diff", "v1")
    assert code == 0
    assert out.splitlines()[:2] == [
        "gist1: 1 to delete; disruption: none; BGPRouter/gist1",
        "1 box untouched",
    ]


def test_boxes_come_and_go(validate: Run, repo: Path) -> None:
    text = (repo / "boxes.yaml").read_text()
    (repo / "boxes.yaml").write_text(text + "---\n" + text.split("---\n")[1].replace("gist2", "gist3"))
    change(repo / "boxes.yaml", "name: gist3\n  labels: {site: seoul, network: koren}", "name: gist3")
    third = (repo / "boxes.yaml").read_text().split("---\n")
    third[-1] = third[-1].replace("203.0.113.2", "203.0.113.3").replace("10.255.0.2", "10.255.0.3")
    (repo / "boxes.yaml").write_text("---\n".join(third))
    commit(repo)
    out = validate(repo, "--diff", "v1..HEAD")[1]
    assert "gist3: new: 1 to create; disruption: none; Box/gist3" in out
    assert "2 boxes untouched" in out
    code, out, _ = validate(repo, "--diff", "HEAD..v1")
    assert code == 1  # its daemon goes on with the old commit: somebody should know
    assert (
        f"{repo}/boxes.yaml:1:1: Box/gist3: the Box is removed (was at {repo}/boxes.yaml:37:1); its daemon "
        "keeps the last commit that had it [SX705 warning]" in out
    )
    assert "gist3: removed; its daemon refuses the commit and keeps what it has" in out


def test_a_change_that_withdraws_management_is_a_warning(validate: Run, repo: Path) -> None:
    change(repo / "boxes.yaml", "  management:\n    interfaces: [mgmt0]\n", "")
    code, out, _ = validate(repo, "--diff", "v1")
    assert code == 1
    assert out.count("management is no longer declared") == 2


def test_json_has_the_plan_of_each_box_that_is_touched(validate: Run, repo: Path) -> None:
    change(repo / "l2.yaml", "vni: 100", "vni: 100\n  mtu: 1400")
    report = ValidationReport.model_validate_json(validate(repo, "--diff", "v1", "--format", "json")[1])
    assert [plan.box for plan in report.changes] == ["gist1", "gist2"]
    assert all(plan.base == git(repo, "rev-parse", "v1") for plan in report.changes)
    assert {action.fields["mtu"] for action in report.changes[0].actions if "mtu" in action.fields} == {
        (1450, 1400)
    }


def test_github_gets_a_notice_for_each_box(validate: Run, repo: Path) -> None:
    change(repo / "l2.yaml", "vni: 100", "vni: 101")
    out = validate(repo, "--diff", "v1", "--format", "github")[1]
    assert "::notice title=smartx change::gist1: 1 to create, 1 to update, 1 to delete" in out


@pytest.mark.parametrize("side", ["BASE", "HEAD"])
def test_of_a_side_that_is_not_valid_no_change_is_told(validate: Run, repo: Path, side: str) -> None:
    change(repo / "l2.yaml", "239.1.1.100", "10.1.1.1")
    commit(repo)
    git(repo, "tag", "wrong")
    change(repo / "l2.yaml", "10.1.1.1", "239.1.1.100")
    commit(repo)
    revisions = "wrong..HEAD" if side == "BASE" else "v1..wrong"
    code, out, err = validate(repo, "--diff", revisions)
    assert f"the specs of {side} are not valid" in err
    assert code == (0 if side == "BASE" else 1)
    assert "untouched" not in out


def test_a_commit_that_is_not_there_is_an_error_with_a_hint(validate: Run, repo: Path) -> None:
    code, _, err = validate(repo, "--diff", "nowhere..HEAD")
    assert code == 1
    assert err.startswith("error: ")
    assert "hint: " in err


def test_what_is_ignored_does_not_keep_a_change_from_being_told(validate: Run, repo: Path) -> None:
    nowhere = (repo / "trace.yaml").read_text().replace("name: koren", "name: nowhere")
    (repo / "nowhere.yaml").write_text(nowhere.replace("{network: koren}", "{network: none}"))
    code, _, err = validate(repo, "--diff", "v1")
    assert code == 1
    assert "the specs of the working tree are not valid" in err
    code, out, err = validate(repo, "--diff", "v1", "--ignore", "SX102")
    assert (code, err) == (0, "")
    assert "untouched" in out
    commit(repo)
    (repo / "nowhere.yaml").unlink()
    assert "untouched" in validate(repo, "--diff", "HEAD", "--ignore", "SX102")[1]


def test_a_change_is_not_told_of_what_cannot_be_derived_whatever_is_ignored(
    validate: Run, repo: Path
) -> None:
    change(repo / "l2.yaml", "239.1.1.100", "10.1.1.1")
    _, out, err = validate(repo, "--diff", "v1", "--ignore", "SX006")
    assert "the specs of the working tree are not valid" in err
    assert "untouched" not in out


def test_a_range_without_its_end_is_to_head_as_git_has_it(validate: Run, repo: Path) -> None:
    change(repo / "l2.yaml", "vni: 100", "vni: 101")
    assert "2 boxes untouched" in validate(repo, "--diff", "v1..")[1]
    assert "0 boxes untouched" in validate(repo, "--diff", "v1")[1]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_a_repo_that_declares_nothing_is_not_valid(validate: Run, repo: Path, text: str) -> None:
    for file in repo.glob("*.yaml"):
        file.write_text(text)
    for extra in ((), ("--diff", "v1"), ("--format", "json")):
        code, out, err = validate(repo, *extra)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {repo}: no spec in any file; ")


def test_a_shallow_clone_that_lacks_the_base_is_told_what_to_fetch(
    validate: Run, repo: Path, tmp_path: Path
) -> None:
    change(repo / "l2.yaml", "vni: 100", "vni: 101")
    commit(repo)
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "shallow")
    code, out, err = validate(tmp_path / "shallow", "--diff", "v1..HEAD")
    assert (code, out) == (1, "")
    assert "fetch-depth: 0" in err
