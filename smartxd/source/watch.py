"""When to fetch: at once when a local repo's branches change, and every so often in any case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import git
from git.exc import GitError
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from smartxd.errors import SourceError


class RefWatch(FileSystemEventHandler):
    """Calls ``on_change`` whenever a branch of a local repo may have moved."""

    def __init__(self, path: Path, branch: str, on_change: Callable[[], None]) -> None:
        """Find the repo's refs; SourceError when ``path`` is no repo."""
        try:
            with git.Repo(path) as repo:
                self._git_dir = Path(repo.common_dir)
        except (GitError, OSError) as err:
            raise SourceError(f"{path}: not a Git repo", "give the path of a repo in source.url") from err
        self._ref = self._git_dir / "refs" / "heads" / branch
        self._on_change = on_change
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Begin to watch; SourceError when the kernel refuses (inotify limits)."""
        try:
            self._observer = Observer()
            # A branch moves as a rename to its ref's file, or as a rewrite of packed-refs.
            self._observer.schedule(self, str(self._git_dir), recursive=False)
            heads = self._git_dir / "refs" / "heads"
            if heads.is_dir():
                self._observer.schedule(self, str(heads), recursive=True)
            self._observer.start()
        except OSError as err:
            self.stop()
            hint = "raise fs.inotify.max_user_watches; until then the repo is polled"
            raise SourceError(f"{self._git_dir}: cannot be watched: {err.strerror}", hint) from err

    def stop(self) -> None:
        """End the watch and its thread."""
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take the events that can mean a moved branch."""
        if event.event_type in {"opened", "closed_no_write"}:
            return
        wanted = {str(self._ref), str(self._git_dir / "packed-refs")}
        if {str(event.src_path), str(event.dest_path)} & wanted:
            self._on_change()
