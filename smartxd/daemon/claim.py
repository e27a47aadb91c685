"""One daemon for one box: two that fight over a kernel would never let it rest."""

from __future__ import annotations

import fcntl
import os
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType

from smartxd.errors import DaemonError

_RUN = Path("/run")
"""Only root writes here: a lock that anyone can take would let anyone keep smartxd from starting."""


def namespace_lock(inode: int) -> Path:
    """The lock of the network namespace with this inode number: one daemon for one network state."""
    return _RUN / f"smartxd-{inode}.lock"


class Claim:
    """The right to converge this box: its state folder and its network namespace. Held until closed."""

    def __init__(self, state_dir: Path) -> None:
        """Take the right; DaemonError when another process has it, or without root."""
        if os.geteuid() != 0:
            raise DaemonError(
                "smartxd needs root: it changes links, routes and BPF programs", "run it with sudo"
            )
        self._locks: list[tuple[Path, TextIOWrapper]] = []
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._take(state_dir / "lock", f"another smartxd runs with {state_dir}")
            inode = Path("/proc/self/ns/net").stat().st_ino
            self._take(namespace_lock(inode), "another smartxd runs in this network namespace")
        except OSError as err:
            self.close()
            raise DaemonError(f"{state_dir}: {err.strerror}", "see state_dir in smartxd.toml") from err
        except DaemonError:
            self.close()
            raise

    def _take(self, path: Path, taken: str) -> None:
        while True:
            file = path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise DaemonError(taken, "one box has one smartxd: stop the other one first") from None
            # The holder before may have removed the file between the open and the lock.
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                self._locks.append((path, file))
                return
            file.close()

    def close(self) -> None:
        """Give the right back."""
        for path, file in reversed(self._locks):
            path.unlink(missing_ok=True)
            file.close()
        self._locks.clear()

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
