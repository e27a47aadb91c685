"""frr-reload, asked by way of a process that has read it before."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.planes.frr.delta import Delta, parse
from smartxd.planes.frr.reload import BadLine, Reload
from tests.frr.frr_states import SECTION

TOOL = FRRConfig().reload
OLD = f"{SECTION}\n neighbor 192.0.2.2 remote-as 65002\nexit\n"
NEW = f"{SECTION}\n neighbor 192.0.2.2 remote-as 65002\n neighbor 192.0.2.2 passive\nexit\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    running, target = tmp_path / "running.conf", tmp_path / "target.conf"
    running.write_text(OLD)
    target.write_text(NEW)
    return running, target


def script(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def waiting() -> set[int]:
    """The pids of this process's children that wait for a question."""
    argv = ["pgrep", "-P", str(os.getpid()), "-f", "waiting.py"]
    return {int(pid) for pid in subprocess.run(argv, capture_output=True, check=False).stdout.split()}


def has_ended(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            return bool(select.select([fd], [], [], 60)[0])
        finally:
            os.close(fd)
    return True


def test_it_says_what_the_tool_says_when_it_is_run(files: tuple[Path, Path]) -> None:
    reload = Reload(FRRConfig(pathspace="nobody"))
    argv = [TOOL, "--test", "--pathspace", "nobody", "--input", *files]
    plain = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert parse(plain) == Delta(additions=frozenset({(SECTION, "neighbor 192.0.2.2 passive")}))
    assert [reload.delta(*files) for _ in range(2)] == [plain, plain]
    files[1].write_text(f"{SECTION}\n no such line\nexit\n")
    with pytest.raises(BadLine) as caught:
        reload.delta(*files)
    assert caught.value.number == 2


def test_a_tool_that_is_replaced_or_killed_meanwhile_is_read_anew(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    tool = script(tmp_path / "tool", "#!/usr/bin/python3\nprint('first')\n")
    reload = Reload(FRRConfig(reload=tool))
    assert reload.delta(*files).endswith("first\n")
    script(
        tool, "#!/usr/bin/env python3\nimport sys\nif __name__ == '__main__':\n print(__file__, *sys.argv)\n"
    )
    assert reload.delta(*files) == f"{tool} {tool} --test --input {files[0]} {files[1]}\n"
    script(tool, "#!/bin/sh\necho $#\n")
    assert reload.delta(*files) == "4\n"
    script(tool, TOOL.read_text())
    before = waiting()
    reload.prepare()
    (pid,) = waiting() - before
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert parse(reload.delta(*files))
    tool.unlink()
    with pytest.raises(PlaneError, match="No such file") as caught:
        reload.delta(*files)
    assert caught.value.reason == "FRRMissing"


def test_it_leaves_nobody_behind(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Neither a tool that hangs, nor what it has started, nor what waits."""
    note = tmp_path / "pid"
    tool = script(
        tmp_path / "tool",
        "#!/usr/bin/python3\nimport subprocess\nif __name__ == '__main__':\n"
        f" child = subprocess.Popen(['sleep', '60'])\n open({str(note)!r}, 'w').write(str(child.pid))\n"
        " child.wait()\n",
    )
    with pytest.raises(PlaneError, match="did not end within 5 s") as caught:
        Reload(FRRConfig(reload=tool, timeout_s=5)).delta(*files)
    assert caught.value.reason == "FRRReloadFailed"
    assert str(tool) in caught.value.message
    assert has_ended(int(note.read_text()))
    before, reload = waiting(), Reload(FRRConfig(reload=tool))
    reload.prepare()
    assert len(waiting() - before) == 1
    del reload
    assert not waiting() - before
