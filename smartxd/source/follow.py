"""Following the repo in a thread of its own, so that a slow fetch never delays a repair."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from smartxd.config import SourceConfig
from smartxd.errors import SourceError, SpecError
from smartxd.source.repo import Repo, local_path
from smartxd.source.watch import RefWatch
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import load


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the repo brought."""

    commit: str
    """The newest commit; empty when the repo could not be read."""
    at: datetime
    fleet: Fleet | None = None
    """The commit's specs; None when they are not to be applied."""
    findings: tuple[str, ...] = ()
    """Why not, one line each, when the specs are wrong."""
    error: str = ""
    """Why not, when the repo could not be read."""


class Follower:
    """Looks at the repo when it changes and every so often, and hands on each new thing that it sees."""

    def __init__(
        self,
        repo: Repo,
        config: SourceConfig,
        judge: Callable[[Fleet], tuple[str, ...]],
        on_seen: Callable[[Seen], None],
    ) -> None:
        """``judge`` adds the findings of this box; ``on_seen`` is called in the follower's thread."""
        self._repo, self._config, self._judge, self._on_seen = repo, config, judge, on_seen
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self._last: Seen | None = None

    def start(self) -> None:
        """Begin to follow; the first look is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and with it a fetch that is under way."""
        self._stopping.set()
        self._wake.set()
        self._repo.interrupt()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        self._offline()
        watch: RefWatch | None = None
        try:
            while not self._stopping.is_set():
                watch = watch or self._watch()
                self._look()
                self._wake.wait(self._config.poll_interval_s)
                self._wake.clear()
        finally:
            if watch is not None:
                watch.stop()
            self._repo.close()

    def _watch(self) -> RefWatch | None:
        """The watch of a local repo; None for a remote one, or while the local one cannot be watched."""
        path = local_path(self._config.url)
        if path is None:
            return None
        try:
            watch = RefWatch(path, self._config.branch, self._wake.set)
            watch.start()
        except SourceError:
            return None  # the fetch that follows says what is wrong
        return watch

    def _offline(self) -> None:
        """The last good commit, before anything is asked of the repo: a box boots without its network."""
        good = self._repo.good()
        if good:
            self._hand_on(self._read(good))

    def _look(self) -> None:
        try:
            commit = self._repo.fetch()
        except SourceError as err:
            seen = Seen(
                "", datetime.now(UTC), error=f"{err.message}; {err.hint}" if err.hint else err.message
            )
            if self._last is None or self._last.error != seen.error:
                self._hand_on(seen)
            return
        if self._last is None or self._last.commit != commit or self._last.error:
            self._hand_on(self._read(commit))

    def _read(self, commit: str) -> Seen:
        now = datetime.now(UTC)
        try:
            fleet = load(self._repo.files(commit, self._config.path))
            findings = self._judge(fleet)
            if findings:
                return Seen(commit, now, findings=findings)
            if commit != self._repo.good():
                self._repo.pin(commit)
        except SpecError as err:
            return Seen(commit, now, findings=err.findings)
        except SourceError as err:
            return Seen(commit, now, error=err.message)
        return Seen(commit, now, fleet=fleet)

    def _hand_on(self, seen: Seen) -> None:
        if self._stopping.is_set():
            return
        self._last = seen
        self._on_seen(seen)
