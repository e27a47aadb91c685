"""When FRR is looked at, with real processes in the place of its daemons."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartxd.planes.frr import watch as watching
from smartxd.planes.frr.watch import FRRWatch


class Bell:
    """Counts the calls of a watch."""

    def __init__(self) -> None:
        self._rung = threading.Semaphore(0)

    def ring(self) -> None:
        self._rung.release()

    def heard(self, timeout_s: float = 60) -> bool:
        return self._rung.acquire(timeout=timeout_s)

    def count_until_quiet(self) -> int:
        """The calls until none has come for half a second; a watch that never rests is cut short."""
        count = 0
        while count < 100 and self.heard(0.5):
            count += 1
        return count


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def begin(bell: Bell) -> Iterator[Callable[[Path], FRRWatch]]:
    """Starts watches, which end with the test."""
    made: list[FRRWatch] = []

    def start(run_dir: Path) -> FRRWatch:
        made.append(FRRWatch(run_dir, bell.ring))
        made[-1].start()
        return made[-1]

    try:
        yield start
    finally:
        for one in made:
            one.stop()


@pytest.fixture
def daemon() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Starts a process and writes its pid file, as a daemon of FRR does; nobody reaps it before the end."""
    made: list[subprocess.Popen[bytes]] = []

    def start(pid_file: Path) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen(["sleep", "300"]))
        pid_file.write_text(f"{made[-1].pid}\n")
        return made[-1]

    try:
        yield start
    finally:
        for one in made:
            one.kill()
            one.wait()


Begin = Callable[[Path], FRRWatch]
Daemon = Callable[[Path], "subprocess.Popen[bytes]"]


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def test_a_start_and_an_end_are_heard(tmp_path: Path, bell: Bell, begin: Begin, daemon: Daemon) -> None:
    begin(tmp_path)
    process = daemon(tmp_path / "bgpd.pid")
    assert bell.heard()
    (tmp_path / "bgpd.vty").touch()
    assert bell.heard()
    bell.count_until_quiet()
    process.kill()
    assert bell.heard()


def test_a_dead_daemon_that_nobody_reaps_is_heard_once(
    tmp_path: Path, bell: Bell, begin: Begin, daemon: Daemon
) -> None:
    process = daemon(tmp_path / "bgpd.pid")
    begin(tmp_path)
    process.kill()
    assert bell.heard()
    assert bell.count_until_quiet() == 0
    before = cpu_s()
    time.sleep(0.5)  # Idleness is what is measured: there is no event to wait for.
    assert cpu_s() - before < 0.2
    # Its successor is held again, and so is its end heard.
    second = daemon(tmp_path / "bgpd.pid")
    assert bell.heard()
    bell.count_until_quiet()
    second.kill()
    assert bell.heard()
    assert bell.count_until_quiet() == 0


def test_a_daemon_that_was_dead_before_is_heard_once_at_most(
    tmp_path: Path, bell: Bell, begin: Begin, daemon: Daemon
) -> None:
    zombie = daemon(tmp_path / "bgpd.pid")
    zombie.kill()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    (tmp_path / "zebra.pid").write_text("2147483646")
    (tmp_path / "staticd.pid").write_text("")
    begin(tmp_path)
    assert bell.count_until_quiet() <= 1


def test_a_folder_that_comes_later_goes_and_comes_again_is_watched(
    tmp_path: Path, bell: Bell, begin: Begin, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RETRY_S", 0.1)
    run_dir = tmp_path / "frr"
    begin(run_dir)
    assert not bell.heard(0.3)
    for _ in range(2):
        run_dir.mkdir()
        assert bell.heard()
        bell.count_until_quiet()
        process = daemon(run_dir / "bgpd.pid")
        assert bell.heard()
        bell.count_until_quiet()
        process.kill()
        assert bell.heard()
        (run_dir / "bgpd.pid").unlink()
        run_dir.rmdir()
        bell.count_until_quiet()


class SpentObserver:
    """What watchdog does when the kernel has no inotify instance or no watch left for this user.

    Both limits hold for all of a user's processes, so the real ones cannot be reached without harm to others.
    """

    error = errno.EMFILE

    def schedule(self, *_: object, **__: object) -> None:
        raise OSError(self.error, os.strerror(self.error))

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOSPC])
def test_where_no_watch_is_to_be_had_the_end_of_a_daemon_is_heard_all_the_same(
    tmp_path: Path, daemon: Daemon, bell: Bell, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(watching, "Observer", SpentObserver)
    monkeypatch.setattr(SpentObserver, "error", error)
    monkeypatch.setattr(watching, "RETRY_S", 0.05)
    process = daemon(tmp_path / "bgpd.pid")
    watch = FRRWatch(tmp_path, bell.ring)
    watch.start()
    try:
        assert not bell.heard(0.3)
        process.kill()
        assert bell.heard()
    finally:
        watch.stop()
