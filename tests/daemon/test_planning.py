"""``/plan`` on the socket of a running loop: what would be done now, exactly, and nothing of it is done."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartxd.daemon.loop import Loop
from smartxd.daemon.planning import PlanRequest
from smartxd.errors import DaemonError
from smartxd.reconcile.planned import PlanReport
from smartxd.socketclient import fetch_status, get, post
from tests.daemon.conftest import (
    BOX,
    ROUTER,
    SECOND_TUNNEL,
    TIMEOUT_S,
    TRACED,
    TUNNEL,
    Daemon,
    history,
    inside,
    seen,
    steps,
)

pytestmark = pytest.mark.kernel


def test_the_plan_of_a_converged_box_is_empty(daemon: Daemon) -> None:
    daemon.commit(BOX + TUNNEL, "c1")
    report = daemon.plan()
    assert (report.actions, report.problems) == ((), ())
    assert (report.box, report.basis, report.base, report.commit) == ("a", "observed", "c1", "c1")
    assert steps(daemon.plan(BOX + TUNNEL)) == []


def test_before_any_valid_commit_there_is_no_plan_but_one_for_specs(daemon: Daemon) -> None:
    status, text = get(daemon.config.socket, "/plan", TIMEOUT_S)
    assert status == 503
    assert "no commit has been valid yet" in json.loads(text)["error"]
    report = daemon.plan(BOX + TUNNEL)
    assert steps(report) == ["create link br100", "create link vx100", "create address 10.255.0.1/32 dev lo"]
    assert (report.base, report.commit) == ("", "")


def test_a_commit_that_waits_for_its_round_is_planned_before_it(tmp_path: Path, namespace: str) -> None:
    request = PlanRequest()

    def first(loop: Loop) -> None:
        loop.seen(seen(BOX + TUNNEL, "c1"))
        loop.ask(request)

    daemon = Daemon(tmp_path, namespace, f"/sys/fs/bpf/{namespace}", first)
    try:
        report = request.answer.result(TIMEOUT_S)
        assert (report.base, report.commit) == ("", "c1")
        daemon.rounds("c1")
        assert [words for kind, words in daemon.history("c1") if kind == "Applied"] == steps(report)
    finally:
        daemon.close()


def test_what_was_deleted_by_hand_is_planned_and_still_repaired_as_drift(daemon: Daemon) -> None:
    daemon.commit(BOX + TUNNEL, "c1")
    daemon.ip("link", "del", "vx100")
    assert steps(daemon.plan()) == ["create link vx100"]
    assert steps(daemon.plan(BOX + TUNNEL)) == ["create link vx100"]
    assert steps(daemon.plan()) == ["create link vx100"], "nothing was done"
    daemon.loop.mark("kernel")
    daemon.rounds("c1")
    assert "vx100" in daemon.ip("link", "show", "vx100")
    assert daemon.history("c1")[-2:] == [
        ("Applied", "create link vx100"),
        ("Drift", "changed by someone else: link vx100: removed"),
    ]
    assert steps(daemon.plan()) == []


def test_a_plan_to_specs_is_what_a_commit_of_them_does_and_changes_nothing(daemon: Daemon) -> None:
    daemon.commit(BOX + TUNNEL + TRACED, "c1")
    changed = (BOX + TUNNEL + TRACED).replace("239.1.1.1", "239.1.1.9").replace("10.255.0.1", "10.255.0.2")
    changed = changed.replace("[{tunnel: t}]", "[{tunnel: t}, {tunnel: u}]") + SECOND_TUNNEL
    before = daemon.network(), daemon.written(), daemon.loop.ready()
    report = daemon.plan(changed)
    assert (daemon.network(), daemon.written(), daemon.loop.ready()) == before
    assert steps(report) == [
        "create link br200",
        "recreate link vx100",
        "create link vx200",
        "create address 10.255.0.2/32 dev lo",
        "delete address 10.255.0.1/32 dev lo",
        "update policy p",
    ]
    assert (report.base, report.commit) == ("c1", "")
    assert report.problems == ()
    daemon.commit(changed, "c2")
    assert [words for kind, words in daemon.history("c2") if kind != "CommitAccepted"] == steps(report)
    assert steps(daemon.plan()) == []


def test_a_tracer_whose_link_goes_waits_for_it_in_the_plan_as_in_the_round(daemon: Daemon) -> None:
    daemon.commit(BOX + TUNNEL + TRACED.replace("tunnel: t", "name: vx100"), "c1")
    changed = BOX + TRACED.replace("tunnel: t", "name: vx100")
    report = daemon.plan(changed)
    assert steps(report) == ["delete link vx100", "delete link br100"]
    assert [p.reason for p in report.problems] == ["WaitingForInterface"]
    daemon.commit(changed, "c2")
    assert [words for kind, words in daemon.history("c2") if kind == "Applied"] == steps(report)


def test_a_plane_out_of_reach_is_a_problem_beside_the_plans_of_the_others(daemon: Daemon) -> None:
    report = daemon.plan(BOX + TUNNEL + ROUTER)
    assert "create link vx100" in steps(report)
    (problem,) = report.problems
    assert (problem.owner, problem.reason) == ("BGPRouter/a", "FRRDaemonDown")
    assert set(daemon.converger.retries().values()) == {float("inf")}, "a plan is no try"
    daemon.commit(BOX + TUNNEL + ROUTER, "c1")
    assert daemon.plan().problems == report.problems


def test_what_could_not_be_done_is_planned_with_the_reason(tmp_path: Path, namespace: str) -> None:
    daemon = Daemon(tmp_path, namespace, f"{tmp_path}/no-bpffs")
    try:
        specs = BOX + TRACED.replace("tunnel: t", "name: wan0")
        daemon.commit(specs, "c1")
        report = daemon.plan()
        assert steps(report) == ["create policy p"]
        (problem,) = report.problems
        assert (problem.owner, problem.reason) == ("TracePolicy/p", "BpffsMissing")
        fresh = daemon.plan(specs)
        assert (steps(fresh), fresh.problems) == (["create policy p"], ())
    finally:
        daemon.close()


def test_wrong_specs_are_refused_with_every_finding(daemon: Daemon) -> None:
    daemon.commit(BOX + TUNNEL, "c1")
    wrong = {"a.yaml": BOX.replace("asn: 65001", "asn: x"), "b.yaml": "kind: [\n"}
    status, text = daemon.post(json.dumps({"files": wrong}))
    said = json.loads(text)
    assert status == 422
    assert said["error"]
    assert [finding.split(":")[0] for finding in said["findings"]] == ["a.yaml", "b.yaml"]
    assert all(finding.split(":")[1].isdigit() for finding in said["findings"])


def test_specs_without_a_box_of_this_name_are_refused(daemon: Daemon) -> None:
    status, text = daemon.post(json.dumps({"files": {"a.yaml": BOX.replace("name: a", "name: b")}}))
    assert status == 422
    assert "no Box is named a" in json.loads(text)["findings"][0]


@contextlib.contextmanager
def smartxd(folder: Path, namespace: str, specs: str) -> Iterator[Path]:
    """The daemon as it is installed, Ready on the specs; its run folder."""
    repo = folder / "repo"
    repo.mkdir()
    (repo / "a.yaml").write_text(specs)
    git = ["git", "-C", str(repo), "-c", "user.name=x", "-c", "user.email=x@example.net"]
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "specs"]):
        subprocess.run([*git, *args], check=True, timeout=60)
    config = folder / "smartxd.toml"
    config.write_text(
        f'box = "a"\nstate_dir = "{folder}/state"\nrun_dir = "{folder}/run"\n'
        f'bpffs_dir = "/sys/fs/bpf/{namespace}"\n[source]\nurl = "{repo}"\n'
    )
    enter = [shutil.which("nsenter") or "nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-m"]
    with subprocess.Popen(
        [*enter, "smartxd", "run", "--config", str(config)], env=dict(os.environ)
    ) as daemon:
        try:
            await_true(lambda: ready(folder / "run" / "smartxd.sock"))
            yield folder
        finally:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(TIMEOUT_S) == 0
            teardown = [*enter, "smartxd", "teardown", "--config", str(config)]
            subprocess.run(teardown, check=True, timeout=60, capture_output=True)


def ready(socket: Path) -> bool:
    with contextlib.suppress(DaemonError):
        conditions = fetch_status(socket, 5).conditions
        return any((c.object, c.type, c.status) == ("Box/a", "Ready", True) for c in conditions)
    return False


def await_true(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_daemon_answers_while_it_goes_on_repairing(tmp_path: Path, namespace: str) -> None:
    with smartxd(tmp_path, namespace, BOX + TUNNEL):
        socket = tmp_path / "run" / "smartxd.sock"
        status, text = get(socket, "/plan", TIMEOUT_S)
        assert (status, steps(PlanReport.model_validate_json(text))) == (200, [])
        body = json.dumps({"files": {"a.yaml": BOX}})
        status, text = post(socket, "/plan", body, TIMEOUT_S)
        planned = steps(PlanReport.model_validate_json(text))
        assert (status, planned) == (200, ["delete link vx100", "delete link br100"])
        commit = fetch_status(socket, TIMEOUT_S).commit
        subprocess.run([*inside(namespace), "ip", "link", "del", "vx100"], check=True, timeout=60)
        db = tmp_path / "state" / "control.sqlite"
        await_true(lambda: ("Drift", "changed by someone else: link vx100: removed") in history(db, commit))
        assert get(socket, "/status", TIMEOUT_S)[0] == get(socket, "/ready", TIMEOUT_S)[0] == 200
