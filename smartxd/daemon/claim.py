"""One daemon for one box: two that fight over a kernel would never let it rest."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from smartxd.errors import DaemonError

_NAMESPACE_KEY = "\0smartxd.control"
"""An abstract socket name, which the kernel keeps per network namespace: one daemon for one network state."""


class Claim:
    """The right to converge this box: its state folder and its network namespace. Held until closed."""

    def __init__(self, state_dir: Path) -> None:
        """Take the right; DaemonError when another process has it, or without root."""
        if os.geteuid() != 0:
            raise DaemonError(
                "smartxd needs root: it changes links, routes and BPF programs", "run it with sudo"
            )
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._file = (state_dir / "lock").open("a+")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DaemonError(f"another smartxd runs with {state_dir}", "stop it first") from None
        except OSError as err:
            raise DaemonError(f"{state_dir}: {err.strerror}", "see state_dir in smartxd.toml") from err
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.bind(_NAMESPACE_KEY)
        except OSError:
            self.close()
            hint = "one box is one network namespace: stop the other one first"
            raise DaemonError("another smartxd runs in this network namespace", hint) from None

    def close(self) -> None:
        """Give the right back."""
        self._socket.close()
        self._file.close()

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
