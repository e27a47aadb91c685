"""Processes of a lab: started in sessions of their own, ended by pidfd, never mistaken for another's."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from smartxd.errors import LabError

MARK = "SMARTX_LAB"
"""Environment variable that every process of a lab carries, and hands to its children: the lab's name."""
LOG_BYTES_MAX = 4 << 20
"""A log that has grown beyond this begins anew when its process is started again."""
KILL_WAIT_S = 10.0
REAPING_WAIT_S = 5.0

_children: set[int] = set()


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same pid by when it started (clock ticks since boot)."""

    pid: int
    started: int
    launcher: int = 0
    """The process that started it and is gone, by whose pid FRR names its scratch folder."""

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        _reap(self.pid)
        return _started(self.pid) == self.started


def environment(lab: str) -> dict[str, str]:
    """What a daemon of the lab sees: little, as under systemd, and the lab's mark."""
    python = str(Path(sys.executable).parent)
    path = f"{python}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", MARK: lab}


def spawn(argv: list[str], env: Mapping[str, str], log: Path, listen: socket.socket | None = None) -> int:
    """Start a daemon; its pid. ``listen`` becomes its descriptor 3. LabError when it cannot start."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.unlink()
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    if listen is not None:
        actions.append((os.POSIX_SPAWN_DUP2, listen.fileno(), 3))
    try:
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    except OSError as err:
        raise LabError(
            f"{argv[0]} does not start: {err.strerror}", "make setup installs what is missing"
        ) from err
    _children.add(pid)
    return pid


def find(pid: int, launcher: int = 0) -> Process | None:
    """The process that has this pid now; None when there is none."""
    started = _started(pid)
    return None if started is None else Process(pid, started, launcher)


def marked(lab: str) -> Iterator[Process]:
    """Every process that carries the lab's mark, whether it was recorded or not."""
    mark = f"{MARK}={lab}".encode()
    for pid in _pids():
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                yield from _known(pid)


def inside(namespaces: Iterable[Path]) -> Iterator[Process]:
    """Every process that lives in one of these network namespaces."""
    wanted = set()
    for path in namespaces:
        with contextlib.suppress(OSError):
            wanted.add(_inode(path))
    for pid in _pids():
        with contextlib.suppress(OSError):
            if _inode(Path(f"/proc/{pid}/ns/net")) in wanted:
                yield from _known(pid)


def end(processes: Iterable[Process], grace_s: float = 10.0) -> None:
    """Ask them to end, and after ``grace_s`` make them; LabError when one stays even so."""
    open_fds: dict[int, Process] = {}
    ended: list[Process] = []
    try:
        for process in processes:
            fd = _open(process)
            if fd is not None:
                open_fds[fd] = process
                ended.append(process)
        for signum, bound_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_WAIT_S)):
            for fd in open_fds:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signum)
            _await(open_fds, bound_s)
        if open_fds:
            pids = ", ".join(str(p.pid) for p in open_fds.values())
            raise LabError(f"these processes do not end, killed as they are: {pids}", "try again later")
        _await_reaping(ended)
    finally:
        for fd in open_fds:
            os.close(fd)


def wait_for_an_end(processes: Iterable[Process], timeout_s: float) -> None:
    """Return when one of the processes has ended, at the latest after ``timeout_s``."""
    fds: list[int] = []
    poll = select.poll()
    try:
        for process in processes:
            fd = _open(process)
            if fd is None:
                return
            fds.append(fd)
            poll.register(fd, select.POLLIN)
        poll.poll(timeout_s * 1000)
    finally:
        for fd in fds:
            os.close(fd)


def _await(open_fds: dict[int, Process], timeout_s: float) -> None:
    """Drop from ``open_fds`` the processes that end within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    poll = select.poll()
    for fd in open_fds:
        poll.register(fd, select.POLLIN)
    while open_fds and (left_s := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left_s * 1000):
            poll.unregister(fd)
            process = open_fds.pop(fd)
            os.close(fd)
            _reap(process.pid)


def _reap(pid: int) -> None:
    """Take note of the end of a child that ``spawn`` started here; others belong to who started them."""
    if pid in _children:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                _children.discard(pid)


def _await_reaping(ended: Iterable[Process]) -> None:
    """Give init a moment to take note of orphans, so that no list of processes still shows them."""
    deadline = time.monotonic() + REAPING_WAIT_S
    for process in ended:
        while _is_orphan(process.pid) and time.monotonic() < deadline:
            time.sleep(0.005)  # Nothing tells when init has done it.


def _is_orphan(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and int(fields[1]) == 1


def _open(process: Process) -> int | None:
    """A pidfd of the process; None when it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # Only now is the pid held: what it named a moment ago may have been another process.
    if not process.alive:
        os.close(fd)
        return None
    return fd


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """The fields of proc(5)'s stat from the third, the state, on; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _known(pid: int) -> Iterator[Process]:
    process = find(pid)
    if process is not None and pid != os.getpid():
        yield process


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208 (names only)


def _inode(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
