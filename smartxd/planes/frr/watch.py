"""When to look at FRR: at once when one of its daemons ends or has started."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""How often a folder is tried again that is not there yet, or for which the kernel has no watch left."""


class FRRWatch(FileSystemEventHandler):
    """Calls ``on_change`` when a daemon of one FRR instance dies, and when one has opened its socket.

    A daemon writes NAME.pid when it starts and opens NAME.vty when it is ready to answer. One that is killed
    removes neither, so each is held by a descriptor that becomes readable at its end (pidfd_open(2)).
    """

    def __init__(self, run_dir: Path, on_change: Callable[[], None]) -> None:
        self._run_dir, self._on_change = run_dir, on_change
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = self._folder_gone = False
        self._observer: BaseObserver | None = None
        self._daemons = _Daemons(run_dir)
        self._thread = threading.Thread(target=self._run, name="frr", daemon=True)

    def start(self) -> None:
        """Begin to watch; what changes after the return is heard.

        Where FRR has never run, or nothing more can be watched, that is tried again and again: FRR is looked
        at all the same, only later.
        """
        self._watch()
        self._thread.start()

    def stop(self) -> None:
        """End the watch and its threads."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout=5)
        os.close(self._wake)

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take the events of a daemon's start, and of the folder's own end."""
        path = str(event.src_path)
        if event.event_type == "deleted" and path == str(self._run_dir):
            self._folder_gone = True
            os.eventfd_write(self._wake, 1)
        elif event.event_type in {"created", "modified", "moved"} and path.endswith((".pid", ".vty")):
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            while True:
                self._daemons.hold()
                poll = select.poll()
                for fd in (self._wake, *self._daemons.fds()):
                    poll.register(fd, select.POLLIN)
                ready = {fd for fd, _ in poll.poll(None if self._observer else RETRY_S * 1000)}
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                if self._stopping:
                    return
                self._daemons.release(ready)
                if self._folder_gone:
                    self._unwatch()
                # What happened before it could be watched has not been heard.
                if self._watch() or ready:
                    self._on_change()
        finally:
            self._daemons.close()
            self._unwatch()

    def _watch(self) -> bool:
        """Watch the folder if it is there and not watched yet; True when the watch has begun."""
        if self._observer is not None or not self._run_dir.is_dir():
            return False
        try:
            observer = Observer()
            try:
                observer.schedule(self, str(self._run_dir), recursive=False)
                observer.start()
            except OSError:
                observer.stop()  # it holds descriptors from the first
                raise
        except OSError as err:
            log.debug("%s is not watched yet: %s", self._run_dir, err)
            return False
        self._observer = observer
        return True

    def _unwatch(self) -> None:
        self._folder_gone = False
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=5)
            self._observer = None


class _Life(NamedTuple):
    """A daemon from its start to its end: it writes its pid file once."""

    file: str
    written_ns: int
    pid: int


class _Daemons:
    """The daemons that the pid files name, each held until it ends, and then not held again."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._held: dict[_Life, int] = {}
        # A file outlives its daemon, and a daemon that has ended can be opened until somebody reaps it.
        self._ended: set[_Life] = set()

    def hold(self) -> None:
        """Open a descriptor of each daemon that is new."""
        lives = self._lives()
        self._ended &= lives
        for life in lives - self._ended - self._held.keys():
            try:
                self._held[life] = os.pidfd_open(life.pid)
            except ProcessLookupError:
                self._ended.add(life)
            except OSError as err:
                log.debug("%s is not watched yet: %s", life.file, err)

    def fds(self) -> tuple[int, ...]:
        """The descriptors, each readable when its daemon has ended."""
        return tuple(self._held.values())

    def release(self, ready: set[int]) -> None:
        """Let go of the daemons that have ended."""
        for life in [life for life, fd in self._held.items() if fd in ready]:
            os.close(self._held.pop(life))
            self._ended.add(life)

    def close(self) -> None:
        """Let go of all."""
        self.release(set(self._held.values()))

    def _lives(self) -> set[_Life]:
        """What the pid files say, dead or alive."""
        lives = set()
        try:
            files = [name for name in os.listdir(self._run_dir) if name.endswith(".pid")]  # noqa: PTH208
        except OSError:
            return set()
        for name in files:
            path = self._run_dir / name
            try:
                lives.add(_Life(name, path.stat().st_mtime_ns, int(path.read_text())))
            except (OSError, ValueError):
                continue  # being written: the end of writing is an event too
        return lives
