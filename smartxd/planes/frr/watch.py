"""When to look at FRR: at once when one of its daemons ends or has started."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class FRRWatch(FileSystemEventHandler):
    """Calls ``on_change`` when a daemon of one FRR instance dies, and when one has opened its socket.

    A daemon writes NAME.pid when it starts and opens NAME.vty when it is ready to answer. One that is killed
    removes neither, so each is held by a descriptor that becomes readable at its end (pidfd_open(2)).
    """

    def __init__(self, run_dir: Path, on_change: Callable[[], None]) -> None:
        self._run_dir, self._on_change = run_dir, on_change
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._observer = Observer()
        self._thread = threading.Thread(target=self._run, name="frr", daemon=True)

    def start(self) -> None:
        """Begin to watch. Where FRR has never run there is nothing to watch; it is looked at all the same."""
        if self._run_dir.is_dir():
            self._observer.schedule(self, str(self._run_dir), recursive=False)
            self._observer.start()
        self._thread.start()

    def stop(self) -> None:
        """End the watch and its threads."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout=5)
        os.close(self._wake)

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take the events of a daemon's start."""
        if event.event_type in {"created", "modified", "moved"} and str(event.src_path).endswith(
            (".pid", ".vty")
        ):
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        held: dict[int, int] = {}
        try:
            while not self._stopping:
                _hold(held, self._pids())
                poll = select.poll()
                poll.register(self._wake, select.POLLIN)
                for fd in held.values():
                    poll.register(fd, select.POLLIN)
                ready = {fd for fd, _ in poll.poll()}
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                for pid in [pid for pid, fd in held.items() if fd in ready]:
                    os.close(held.pop(pid))
                if not self._stopping:
                    self._on_change()
        finally:
            for fd in held.values():
                os.close(fd)

    def _pids(self) -> set[int]:
        """What the pid files say, dead or alive."""
        pids = set()
        for file in self._run_dir.glob("*.pid"):
            try:
                pids.add(int(file.read_text()))
            except (OSError, ValueError):
                continue  # being written: the end of writing is an event too
        return pids


def _hold(held: dict[int, int], pids: set[int]) -> None:
    """Open a descriptor of each process that runs and has none yet."""
    for pid in pids - held.keys():
        try:
            held[pid] = os.pidfd_open(pid)
        except OSError:
            continue  # ended: its successor writes a new file
