"""``smartxctl plan``: from nothing, between commits, and what the daemon answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from smartxd.ctl.main import main
from smartxd.ctl.plantext import VALUE_MAX, lines
from smartxd.daemon.server import Refused, StatusServer
from smartxd.objects import ObjectRef
from smartxd.reconcile.plan import Action, Change, Plan, Verb
from smartxd.reconcile.planned import PlanReport, report

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "koren-two-site"
REFERENCE = ROOT / "specs" / "reference"

PLAN_OF_GIST1 = """\
  ACTION  PLANE   OBJECT                             FOR                DISRUPTION
+ create  kernel  link br-koren                      Tunnel/koren-l2    none
+ create  kernel  link vx100                         Tunnel/koren-l2    none
+ create  kernel  address 10.10.0.1/24 dev br-koren  Tunnel/koren-l2    none
+ create  kernel  address 10.255.0.1/32 dev lo       Box/gist1          none
+ create  kernel  ipv4 forwarding dev wan0           BGPRouter/gist1    none
+ create  frr     router bgp 65001                   BGPRouter/gist1    none
+ create  frr     network 10.255.0.1/32              BGPRouter/gist1    none
+ create  frr     neighbor 203.0.113.2               BGPPeer/koren-wan  none
+ create  trace   policy koren                       TracePolicy/koren  none
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the verb: exit code, stdout, stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = main(["plan", *map(str, argv)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A Git repo with the example in one commit."""
    path = tmp_path / "site"
    path.mkdir()
    for file in EXAMPLE.glob("*.yaml"):
        (path / file.name).write_bytes(file.read_bytes())
    git(path, "init", "-q", "-b", "main")
    commit(path)
    return path


def git(path: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *words], cwd=path, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(path: Path) -> str:
    """The full hash of a commit of all files."""
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "specs")
    return git(path, "rev-parse", "HEAD")


def change(path: Path, file: str, old: str, new: str) -> None:
    text = (path / file).read_text()
    assert old in text
    (path / file).write_text(text.replace(old, new))


# From nothing


def test_the_plan_is_every_action_in_the_order_of_applying(plan: Run) -> None:
    code, out, err = plan(EXAMPLE, "--box", "gist1")
    *body, empty, summary = out.splitlines()
    assert (code, err) == (0, "")
    assert "".join(f"{line}\n" for line in body if not line.startswith("      ")) == PLAN_OF_GIST1
    counts = "9 to create, 0 to update, 0 to recreate, 0 to delete; disruption: none; 0 problems"
    assert (empty, summary) == ("", f"gist1: {counts}")
    assert body[4].startswith("      name=vx100 vni=100 local=203.0.113.1 ")


def test_the_plan_is_the_same_for_programs(plan: Run) -> None:
    code, out, _ = plan(EXAMPLE, "--box", "gist2", "-o", "json")
    found = PlanReport.model_validate_json(out)
    assert code == 0
    assert (found.box, found.problems, len(found.actions)) == ("gist2", (), 9)
    assert (found.basis, found.base, found.commit) == ("nothing", "", "")
    neighbor = next(a for a in json.loads(out)["actions"] if a["id"] == "neighbor 203.0.113.1")
    assert (neighbor["plane"], neighbor["verb"], neighbor["owner"]) == ("frr", "create", "BGPPeer/koren-wan")
    assert neighbor["fields"]["remote-as"] == [None, "65001"]


def test_the_box_has_the_links_that_its_spec_names(plan: Run, tmp_path: Path) -> None:
    for file in EXAMPLE.glob("*.yaml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path, "trace.yaml", "- tunnel: koren-l2", "- name: mgmt0\n    - tunnel: koren-l2")
    assert "interfaces=mgmt0,vx100,wan0" in plan(tmp_path, "--box", "gist1")[1]


def test_what_stands_in_the_way_is_exit_1(plan: Run, tmp_path: Path) -> None:
    for file in EXAMPLE.glob("*.yaml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path, "trace.yaml", "- tunnel: koren-l2", "- name: eth7")
    for extra in ((), ("--detailed-exitcode",)):
        code, out, _ = plan(tmp_path, "--box", "gist2", *extra)
        assert code == 1
        assert "\n! TracePolicy/koren: WaitingForInterface: interface eth7 does not exist" in out
        assert out.endswith("; 1 problem\n")


def test_a_box_that_no_spec_names_is_an_error_with_the_names(plan: Run) -> None:
    code, out, err = plan(EXAMPLE, "--box", "gist9")
    assert (code, out) == (1, "")
    assert err == "error: no Box is named gist9\nhint: there are gist1, gist2\n"


def test_specs_that_are_not_valid_have_no_plan(plan: Run, repo: Path) -> None:
    change(repo, "l2.yaml", "group: 239.1.1.100", "group: 10.1.1.1")
    code, out, err = plan(repo, "--box", "gist1")
    assert (code, out) == (1, "")
    assert f"{repo}/l2.yaml:14:" in err


# Between commits


def test_the_plan_from_a_commit_is_what_the_files_change(plan: Run, repo: Path) -> None:
    change(repo, "l2.yaml", "239.1.1.100", "239.1.1.101")
    code, out, err = plan(repo, "--box", "gist1", "--from", "HEAD")
    assert (code, err) == (0, "")
    assert out.splitlines()[1:3] == [
        "± recreate  kernel  link vx100    Tunnel/koren-l2    recreate",
        "      group: 239.1.1.100 → 239.1.1.101",
    ]
    summary = "0 to create, 1 to update, 1 to recreate, 0 to delete; disruption: 1 recreate; 0 problems"
    assert out.splitlines()[-1] == f"gist1: {summary}"


def test_the_plan_between_two_commits_passes_over_the_files(plan: Run, repo: Path) -> None:
    first = git(repo, "rev-parse", "HEAD")
    change(repo, "l2.yaml", "gist1: 10.10.0.1/24", "gist1: 10.10.0.9/24")
    second = commit(repo)
    (repo / "l2.yaml").write_text("not: [valid")
    code, out, _ = plan(repo, "--box", "gist1", "--from", "HEAD~1", "--to", "main", "-o", "json")
    found = PlanReport.model_validate_json(out)
    assert code == 0
    assert (found.basis, found.base, found.commit) == ("commit", first, second)
    assert [(a.verb, a.id) for a in found.actions] == [
        ("create", "address 10.10.0.9/24 dev br-koren"),
        ("delete", "address 10.10.0.1/24 dev br-koren"),
    ]


def test_a_folder_of_a_repo_is_planned_by_itself(plan: Run, repo: Path) -> None:
    (repo / "sites").mkdir()
    for file in repo.glob("*.yaml"):
        file.rename(repo / "sites" / file.name)
    (repo / "other.yaml").write_text("not: [valid")
    commit(repo)
    assert plan(repo / "sites", "--box", "gist1", "--from", "HEAD")[:2] == (0, "gist1: nothing to do\n")


@pytest.mark.parametrize(
    ("edit", "detailed", "code"), [(False, False, 0), (False, True, 0), (True, False, 0), (True, True, 2)]
)
def test_the_exit_code_says_on_demand_that_there_is_something_to_do(
    plan: Run, repo: Path, edit: bool, detailed: bool, code: int
) -> None:
    if edit:
        change(repo, "boxes.yaml", "mtu: 1500", "mtu: 9000")
    extra = ["--detailed-exitcode"] if detailed else []
    assert plan(repo, "--box", "gist1", "--from", "HEAD", *extra)[0] == code


def test_a_new_box_is_planned_from_nothing_and_that_is_said(plan: Run, repo: Path) -> None:
    text = (repo / "boxes.yaml").read_text()
    _, second = text.split("\n---\n")
    added = (
        second.replace("gist2", "gist3")
        .replace("203.0.113.2", "203.0.113.3")
        .replace("10.255.0.2", "10.255.0.3")
    )
    (repo / "gist3.yaml").write_text(added.replace("65002", "65003"))
    code, out, err = plan(repo, "--box", "gist3", "--from", "HEAD")
    assert code == 0
    assert err == "note: there is no Box gist3 at HEAD: this is a plan from nothing\n"
    assert "+ create  kernel  link vx100" in out


def test_a_box_that_is_gone_is_a_finding_that_says_what_becomes_of_it(plan: Run, repo: Path) -> None:
    (repo / "gist2.yaml").write_text((repo / "boxes.yaml").read_text().split("\n---\n")[1])
    for file in ("l2.yaml", "l3.yaml", "trace.yaml", "boxes.yaml"):
        (repo / file).unlink()
    code, out, _ = plan(repo, "--box", "gist1", "--from", "HEAD")
    assert code == 1
    assert out.startswith("! Box/gist1: BoxRemoved: no Box is named gist1 any more: its daemon refuses ")


def test_specs_that_were_not_valid_are_named_as_the_side_that_they_are(plan: Run, repo: Path) -> None:
    group = ("l2.yaml", "239.1.1.100", "10.1.1.1")
    change(repo, *group)
    code, out, err = plan(repo, "--box", "gist1", "--from", "HEAD")
    assert (code, out) == (1, "")
    assert f"error: the specs in {repo}, which the plan leads to, are not valid: 1 finding\n" in err
    commit(repo)
    change(repo, group[0], group[2], group[1])
    code, out, err = plan(repo, "--box", "gist1", "--from", "HEAD")
    assert (code, out) == (1, "")
    assert f"{repo}/l2.yaml:14:" in err
    assert "error: the specs at HEAD, which the plan starts from, are not valid: 1 finding\n" in err


@pytest.mark.parametrize("rev", ["nowhere", "--help", "HEAD~99"])
def test_a_revision_that_does_not_exist_is_an_error_of_one_line(plan: Run, repo: Path, rev: str) -> None:
    code, out, err = plan(repo, "--box", "gist1", f"--from={rev}")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert rev in err
    assert "Traceback" not in err


def test_outside_of_a_repo_there_is_no_commit_to_plan_from(plan: Run, tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_bytes((EXAMPLE / "boxes.yaml").read_bytes())
    code, out, err = plan(tmp_path, "--box", "gist1", "--from", "HEAD")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")


# Usage


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((".",), "PATH needs --box NAME, or --live to ask the daemon of this box"),
        (("--box", "gist1"), "--box needs PATH: name the folder that holds the specs"),
        (("--from", "HEAD"), "--from needs PATH: name the folder that holds the specs"),
        ((".", "--live", "--box", "gist1"), "--box and --live exclude each other: the daemon knows its box"),
        (
            (".", "--live", "--from", "HEAD"),
            "--from and --live exclude each other: the daemon starts from what is",
        ),
        ((".", "--box", ""), "--box is empty: leave it out, or give its value"),
        (
            (".", "--box", "gist1", "--from", "HEAD", "--to", ""),
            "--to is empty: leave it out, or give its value",
        ),
        ((".", "--box", "gist1", "--to", "HEAD"), "--to needs --from REV: the commit to plan from"),
    ],
)
def test_options_that_do_not_go_together_are_refused_in_a_sentence(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *argv])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {said}")


# Live


class Daemon:
    """A socket that answers /plan as it is told, and the bodies that were sent."""

    def __init__(self, tmp_path: Path) -> None:
        self.configuration = tmp_path / "smartxd.toml"
        run_dir, state_dir = tmp_path / "run", tmp_path / "state"
        self.configuration.write_text(
            f'box = "gist1"\nrun_dir = "{run_dir}"\nstate_dir = "{state_dir}"\n'
            f'bpffs_dir = "/sys/fs/bpf/plan-test"\n[source]\nurl = "{tmp_path}"\n'
        )
        self.answer: str | Refused = NOTHING_LIVE
        self.bodies: list[bytes] = []
        self.server = StatusServer(
            run_dir / "smartxd.sock", None, {"/plan": lambda: self.answers(b"")}, {"/plan": self.answers}
        )

    def answers(self, body: bytes) -> str:
        self.bodies.append(body)
        if isinstance(self.answer, Refused):
            raise self.answer
        return self.answer


NOTHING_LIVE = report("gist1", (), basis="observed", commit="c" * 40, base="b" * 40).model_dump_json()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    made.server.start()
    yield made
    made.server.stop()


def test_without_a_path_the_daemon_says_what_it_has_still_to_do(plan: Run, daemon: Daemon) -> None:
    assert plan("--config", daemon.configuration) == (0, "gist1: nothing to do\n", "")
    assert json.loads(plan("--config", daemon.configuration, "-o", "json")[1]) == json.loads(NOTHING_LIVE)
    assert daemon.bodies == [b"", b""]


def test_the_daemon_is_asked_about_the_files_of_a_folder(plan: Run, daemon: Daemon) -> None:
    assert plan(EXAMPLE, "--live", "--config", daemon.configuration)[0] == 0
    (body,) = daemon.bodies
    assert json.loads(body) == {"files": {str(f): f.read_text() for f in EXAMPLE.glob("*.yaml")}}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "1 finding", ("l2.yaml:1:1: wrong",)),
            "l2.yaml:1:1: wrong\nerror: 1 finding\n",
        ),
        (Refused(HTTPStatus.SERVICE_UNAVAILABLE, "smartxd was busy; ask again later"), "ask again later\n"),
        ('{"box": "gist1"}', "and not with a plan\nhint: are smartxd and smartxctl of one release?\n"),
    ],
)
def test_a_plan_that_the_daemon_refuses_is_an_error(
    plan: Run, daemon: Daemon, answer: str | Refused, said: str
) -> None:
    daemon.answer = answer
    code, out, err = plan(EXAMPLE, "--live", "--config", daemon.configuration)
    assert (code, out) == (1, "")
    assert err.endswith(said)


def test_where_no_daemon_answers_there_is_no_live_plan(plan: Run, daemon: Daemon) -> None:
    daemon.server.stop()
    code, out, err = plan("--config", daemon.configuration)
    assert (code, out) == (1, "")
    assert "no daemon answers" in err


def test_a_file_that_is_not_text_is_not_sent(plan: Run, daemon: Daemon, tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "bad.yaml").write_bytes(b"\xff\xfe")
    code, _, err = plan(specs, "--live", "--config", daemon.configuration)
    assert code == 1
    assert err.startswith(f"error: {specs}/bad.yaml: not UTF-8\n")
    assert daemon.bodies == []


# What is shown

OWNER = ObjectRef("BGPPeer", "wan")


def shown(room: int, *changes: Change) -> list[str]:
    action = Action("frr", "neighbor 192.0.2.1", OWNER, Verb.UPDATE, changes=changes)
    return [text for text, _ in lines(report("gist1", [Plan((action,))], basis="nothing"), room)]


def test_text_of_a_spec_moves_no_cursor_and_begins_no_line() -> None:
    found = shown(1000, Change("description", "", "a\x1b[2J\nb\u2028c"))
    assert found[2] == '      description: "" → "a�[2J�b�c"'
    assert all(line.isprintable() for line in found)


def test_a_long_value_is_cut_and_a_long_line_is_folded() -> None:
    value = " ".join(["word"] * 100)
    (whole,) = [line for line in shown(10_000, Change("description", None, value)) if "word" in line]
    assert whole.endswith("…")
    assert len(whole) < VALUE_MAX + 40
    folded = shown(60, Change("description", None, value))
    assert len(folded) > 6
    assert max(map(len, folded[:-1])) <= 60
