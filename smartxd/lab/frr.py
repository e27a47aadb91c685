"""An FRR of its own for each box: zebra, staticd, bgpd and bfdd in the box's namespace and pathspace."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from smartxd.errors import LabError
from smartxd.lab import namespace
from smartxd.lab.layout import BoxLayout
from smartxd.lab.process import Process, find

DAEMONS = ("zebra", "staticd", "bgpd", "bfdd")
"""In the order in which they start: the others connect to zebra."""
_PROGRAMS = Path("/usr/lib/frr")
_SCRATCH = Path("/var/tmp/frr")
_OPTIONS = {"zebra": ("-s", "90000000")}
"""As Debian starts it: room for bursts of netlink messages."""
_START_TIMEOUT_S = 30


def check_installed() -> None:
    """LabError when a daemon is missing."""
    missing = [d for d in DAEMONS if not (_PROGRAMS / d).exists()]
    if missing:
        raise LabError(
            f"FRR is not installed: no {', '.join(missing)} in {_PROGRAMS}", "make setup installs it"
        )


def prepare(box: BoxLayout) -> None:
    """Make the folders of the box's pathspace, which FRR's own user writes."""
    box.frr_run.parent.mkdir(mode=0o755, exist_ok=True)
    if box.frr_run.parent.owner() == "root":  # A /run without FRR's own service: nothing has made it before.
        shutil.chown(box.frr_run.parent, "frr", "frr")
    for folder, mode in ((box.frr_config, 0o750), (box.frr_run, 0o755)):
        folder.mkdir(mode=mode, exist_ok=True)
        shutil.chown(folder, "frr", "frr")
    # Nobody loads frr.conf here: a line in it would be one that the daemons lack.
    files = {"frr.conf": "", "vtysh.conf": "service integrated-vtysh-config\n"}
    for name, text in files.items():
        file = box.frr_config / name
        if not file.exists():
            file.touch(mode=0o640)
            file.write_text(text)
            shutil.chown(file, "frr", "frr")


def start(daemon: str, box: BoxLayout, env: Mapping[str, str]) -> Process:
    """Start a daemon; it answers on its socket when this returns."""
    pid_file = box.frr_run / f"{daemon}.pid"
    log = box.folder / f"{daemon}.log"
    argv = [str(_PROGRAMS / daemon), "-d", "-N", box.namespace, "-A", "127.0.0.1", *_OPTIONS.get(daemon, ())]
    argv += ["--log", f"file:{log}", "--log-level", "informational"]
    command = namespace.enter(box.namespace, argv)
    # With -d the launcher ends when the daemon is ready, with an exit code that says so.
    with subprocess.Popen(
        command, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as launcher:
        try:
            said, _ = launcher.communicate(timeout=_START_TIMEOUT_S)
        except subprocess.TimeoutExpired as err:
            launcher.kill()
            raise LabError(
                f"{daemon} of {box.box} is not up after {_START_TIMEOUT_S} s", f"see {log}"
            ) from err
    if launcher.returncode != 0:
        raise LabError(
            f"{daemon} of {box.box} does not start: {said.decode(errors='replace').strip()}", f"see {log}"
        )
    process = find(int(pid_file.read_text()), launcher.pid)
    if process is None:
        raise LabError(f"{daemon} of {box.box} ended as soon as it was up", f"see {log}")
    return process


def clear_scratch(daemon: str, process: Process) -> None:
    """Remove what a daemon that was killed has left outside its pathspace."""
    if process.launcher:
        shutil.rmtree(_SCRATCH / f"{daemon}.{process.launcher}", ignore_errors=True)


def remove(box: BoxLayout) -> None:
    """Remove the pathspace's folders; its daemons have ended."""
    for folder in (box.frr_config, box.frr_run):
        shutil.rmtree(folder, ignore_errors=True)
