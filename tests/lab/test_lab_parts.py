"""The parts of a lab that need no kernel: names, lines of ip, configuration, repo, processes."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from smartxd import config
from smartxd.ctl.lab import show
from smartxd.errors import LabError
from smartxd.lab import network, process
from smartxd.lab.box import Pace, config_text
from smartxd.lab.layout import Layout, default_name
from smartxd.lab.network import Node
from smartxd.lab.repo import Repo, digest
from smartxd.lab.status import BoxStatus, LabStatus, ProcessStatus
from smartxd.source import folder
from smartxd.spec.load import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "koren-two-site"


def test_folders_of_one_name_have_labs_of_their_own(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "site", tmp_path / "b" / "site"
    assert default_name(first) != default_name(second)
    assert default_name(first).startswith("site-")


@pytest.mark.parametrize("name", ["", "Lab", "a.b", "a/b", "-a", "a-", "x" * 25])
def test_a_name_that_cannot_name_namespaces_and_pathspaces_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="cannot name a lab"):
        Layout(name)


@pytest.mark.parametrize("folder_name", ["Ümläut repo", "...", "x" * 300, "-a-"])
def test_every_folder_has_a_name_that_works(folder_name: str) -> None:
    Layout(default_name(Path("/srv") / folder_name))


def test_a_socket_path_too_long_for_the_kernel_is_refused() -> None:
    with pytest.raises(LabError, match="too long for a Unix socket"):
        Layout("a-longer-name").box("b" * 63)


def test_the_example_has_its_boxes_on_the_wide_area_network() -> None:
    nodes = network.nodes_of(load(folder.read(EXAMPLE)))
    assert nodes == (
        Node("gist1", "wan0", (IPv4Interface("203.0.113.1/24"),)),
        Node("gist2", "wan0", (IPv4Interface("203.0.113.2/24"),)),
    )


def test_links_that_are_present_are_not_made_again() -> None:
    node = Node("a", "wan0", (IPv4Interface("192.0.2.1/24"),))
    first = network.wan_lines(()) + network.uplink_lines(node, 0, "lab-a", ())
    again = network.wan_lines(("wan", "mgmt")) + network.uplink_lines(node, 0, "lab-a", ("w0", "m0"))
    assert sum(line.startswith("link add") for line in first) == 4
    assert not any(line.startswith("link add") for line in again)


def test_only_boxes_of_another_subnet_are_routed_on_link() -> None:
    nodes = tuple(
        Node(name, "wan0", (IPv4Interface(address),))
        for name, address in (("a", "192.0.2.1/25"), ("b", "192.0.2.2/25"), ("c", "192.0.2.129/25"))
    )
    routes = [line for line in network.box_lines(nodes[0], {"a": 0}, nodes) if line.startswith("route")]
    assert routes == ["route replace 192.0.2.129 dev wan0"]


@pytest.mark.parametrize(
    ("ready", "commit", "alive", "well"),
    [
        (True, "new", True, True),
        (True, "old", True, False),  # its head was refused, or is not applied yet
        (False, "new", True, False),
        (True, "new", False, False),
    ],
)
def test_a_lab_is_well_when_all_runs_and_is_ready_at_the_newest_commit(
    ready: bool, commit: str, alive: bool, well: bool
) -> None:
    runs, smartxd = ProcessStatus(pid=1, alive=True), ProcessStatus(pid=2, alive=alive)
    box = BoxStatus(box="a", namespace="l-a", ready=ready, commit=commit, processes={"smartxd": smartxd})
    place = Path("/run/smartx-lab/l")
    lab = LabStatus(
        name="l",
        folder=place,
        repo=place / "repo",
        head="new",
        center="http://127.0.0.1:1/",
        center_process=runs,
        boxes=(box,),
        containers={},
    )
    assert lab.well is well


def test_a_head_that_is_not_applied_is_told_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    box = BoxStatus(box="a", namespace="l-a", ready=True, commit="612dec7d3d" * 4, processes={})
    place, head = Path("/run/smartx-lab/l"), "7aac3cfe78" * 4
    show(
        LabStatus(
            name="l",
            folder=place,
            repo=place / "repo",
            head=head,
            center=None,
            center_process=None,
            boxes=(box,),
            containers={},
        )
    )
    assert capsys.readouterr().out.splitlines() == [
        "BOX  NAMESPACE  READY                               COMMIT      PROCESSES",
        "a    l-a        no: head 7aac3cfe78 is not applied  612dec7d3d  -",
        "repo   /run/smartx-lab/l/repo at 7aac3cfe78",
    ]


def test_the_configuration_of_a_box_is_one_that_the_daemon_loads(tmp_path: Path) -> None:
    layout = Layout("lab")
    box = layout.box("gist1")
    file = tmp_path / "smartxd.toml"
    file.write_text(config_text(layout, box, Pace(drain_s=0.5, status_s=3)))
    loaded = config.load(file)
    assert (loaded.box, loaded.socket, loaded.frr.pathspace) == ("gist1", box.socket, "lab-gist1")
    assert loaded.source.url == str(layout.repo)
    assert loaded.capture.drain_interval_s == 0.5
    assert loaded.center is not None
    assert loaded.center.token_file == box.token


def test_commits_to_the_repo_depend_on_no_configuration_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / "gitconfig"
    hostile.write_text("[commit]\n\tgpgsign = true\n[core]\n\thooksPath = /nonexistent\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(hostile))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    source = tmp_path / "specs"
    source.mkdir()
    (source / "a.yaml").write_text("a")
    repo = Repo(tmp_path / "repo")
    repo.create()
    first = repo.copy_from(source)
    second = repo.commit({"sub/b.yaml": "b", "a.yaml": None}, "change")
    assert repo.head() == second != first
    assert sorted(p.name for p in repo.path.rglob("*.yaml")) == ["b.yaml"]
    third = repo.copy_from(source)
    assert repo.head() == third
    assert sorted(p.name for p in repo.path.rglob("*.yaml")) == ["a.yaml"]


@pytest.mark.parametrize("name", ["../out.yaml", "/etc/out.yaml", ".git/config"])
def test_nothing_is_written_outside_the_repo(tmp_path: Path, name: str) -> None:
    repo = Repo(tmp_path / "repo")
    repo.create()
    with pytest.raises(LabError, match="no path within"):
        repo.commit({name: "x"}, "change")


def test_a_digest_changes_with_a_file_and_not_with_git(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    before = digest(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("x")
    assert digest(tmp_path) == before
    (tmp_path / "a.yaml").write_text("b")
    assert digest(tmp_path) != before


def test_a_process_is_ended_and_one_that_ignores_it_is_killed() -> None:
    stubborn = "import signal,sys; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = process.find(child.pid)
        assert found is not None
        assert found.alive
        process.end([found], grace_s=0.1)
        assert not found.alive


def test_a_reused_pid_is_not_the_process_that_was_recorded() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            recorded = process.Process(other.pid, started=1)
            assert not recorded.alive
            process.end([recorded])
            assert other.poll() is None
        finally:
            other.kill()
