"""What an operator reads when a box is not fit: one clear line and what to do, never a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartxd.config import load
from smartxd.errors import DaemonError
from smartxd.report import ConditionReport
from smartxd.socketclient import fetch_status

pytestmark = pytest.mark.kernel

SPECS = """
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: a}
spec: {underlay: {interface: lo, address: 192.0.2.1/24}, loopback: 10.255.0.1, asn: 65001}
---
apiVersion: smartx.io/v1alpha1
kind: BGPRouter
metadata: {name: a}
spec: {box: a}
---
apiVersion: smartx.io/v1alpha1
kind: TracePolicy
metadata: {name: t}
spec: {boxes: {names: [a]}, interfaces: [{name: lo}]}
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"refuse-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=60)
    try:
        up = ["nsenter", f"--net=/run/netns/{name}", "ip", "link", "set", "lo", "up"]
        subprocess.run(up, check=True, timeout=60)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "specs.yaml").write_text(SPECS)
    git = ["git", "-C", str(repo), "-c", "user.name=x", "-c", "user.email=x@example.net"]
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "specs"]):
        subprocess.run([*git, *args], check=True, timeout=60)
    path = tmp_path / "smartxd.toml"
    path.write_text(
        f'box = "a"\nstate_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}/run"\n'
        f'bpffs_dir = "/sys/fs/bpf/refuse-{os.getpid()}"\n[source]\nurl = "{repo}"\n'
        f'[frr]\npathspace = "none-{os.getpid()}"\n'
    )
    return path


def smartxd(
    *argv: str, path: str | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ) if path is None else {**os.environ, "PATH": path}
    return subprocess.run(
        [*prefix, sys.executable, "-m", "smartxd", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        check=False,
    )


def assert_clear(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 1, done.stderr
    first, *rest = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert words in first
    assert len(rest) == 1
    assert rest[0].startswith("hint: ")


AS_NOBODY = """
import os, sys
import smartxd.daemon.run
from smartxd.__main__ import main
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(["run", "--config", sys.argv[1]]))
"""


def test_without_root(config: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        readable = Path(folder, "smartxd.toml")
        readable.write_text(config.read_text())
        Path(folder).chmod(0o755)
        argv = [sys.executable, "-c", AS_NOBODY, str(readable)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert_clear(done, "needs root")


def test_without_git(config: Path, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    enter = ("/usr/bin/nsenter", f"--net=/run/netns/{namespace}")
    assert_clear(
        smartxd("run", "--config", str(config), path=str(tmp_path / "bin"), prefix=enter),
        "git is not installed",
    )


def test_without_a_configuration(tmp_path: Path) -> None:
    assert_clear(smartxd("run", "--config", str(tmp_path / "none.toml")), "none.toml: No such file")


def test_with_a_transport_that_is_not_followed(config: Path, namespace: str) -> None:
    config.write_text(config.read_text().replace('url = "', 'url = "http://example.net'))
    enter = ("/usr/bin/nsenter", f"--net=/run/netns/{namespace}")
    assert_clear(smartxd("run", "--config", str(config), prefix=enter), "not a URL that smartxd follows")


def ready_of(config: Path, namespace: str, object: str, path: str) -> ConditionReport:
    """The object's Ready condition, once the daemon has judged it in such an environment."""
    argv = ["/usr/bin/nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-m", "smartxd"]
    env = {**os.environ, "PATH": path}
    command = [*argv, "run", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as daemon:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(DaemonError):
                    report = fetch_status(load(config).socket, 5)
                    found = [c for c in report.conditions if (c.object, c.type) == (object, "Ready")]
                    if found:
                        return found[0]
                time.sleep(0.1)
            raise AssertionError(f"{object} was not judged")
        finally:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(60) == 0
            teardown = [*argv, "teardown", "--config", str(config)]
            subprocess.run(teardown, check=True, timeout=60, capture_output=True)


def test_without_frr_the_rest_converges_and_the_condition_says_what_to_install(
    config: Path, namespace: str, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("git", "prlimit", "ip", "tc"):
        (tools / tool).symlink_to(
            next(p for d in ("/usr/sbin", "/usr/bin", "/sbin") if (p := Path(d, tool)).exists())
        )
    ready = ready_of(config, namespace, "BGPRouter/a", str(tools))
    assert (ready.status, ready.reason) == (False, "FRRMissing")
    assert "frr" in ready.message


def test_with_frr_dead_the_condition_says_so(config: Path, namespace: str) -> None:
    ready = ready_of(config, namespace, "BGPRouter/a", os.environ["PATH"] + ":/usr/bin:/usr/sbin")
    assert (ready.status, ready.reason) == (False, "FRRDaemonDown")
