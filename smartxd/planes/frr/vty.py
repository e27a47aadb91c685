"""Asking one of FRR's daemons over its socket, as vtysh does, without starting vtysh."""

from __future__ import annotations

import json
import socket
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Any

TIMEOUT_S = 2.0
"""For all that is asked over one connection: milliseconds when the daemon is well."""
_WARNING = 1
"""The code of a command that was understood and found nothing, as a summary where there is no BGP."""
ANSWER_MAX = 16 << 20
"""Bytes of one answer."""
_CHUNK = 1 << 16


class NoReply(Exception):
    """A daemon is not there, does not answer in time, or answers something else than was asked."""


class Vty:
    """A connection to a daemon; it is closed at the end of the ``with`` block."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """``path`` is the daemon's socket, ``NAME.vty``; NoReply where nobody listens."""
        self._path = path
        self._deadline = time.monotonic() + timeout_s
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            # A busy daemon leaves connections in its queue, and where that is full a socket with Python's own
            # timeout is refused at once instead of waiting.
            bound = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
            self._socket.connect(str(path))
            # Some commands that only show are not known without.
            self._answer("enable")
        except (OSError, NoReply) as err:
            self._socket.close()
            raise NoReply(f"{path}: {err}") from err

    def __enter__(self) -> Vty:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def show(self, command: str) -> Any:
        """The JSON that a command prints, an empty object where it prints nothing; NoReply."""
        try:
            code, text = self._answer(f"{command} json")
            if code > _WARNING:
                raise NoReply(f"refused: {text.strip()[:200]!r}")
            return json.loads(text) if text.strip() else {}
        except (OSError, NoReply, ValueError, RecursionError) as err:
            raise NoReply(f"{self._path}: {command}: {err}") from err

    def text(self, command: str) -> str:
        """What a command prints; NoReply."""
        try:
            return self._answer(command)[1]
        except OSError as err:
            raise NoReply(f"{self._path}: {command}: {err}") from err

    def _answer(self, command: str) -> tuple[int, str]:
        """A command's code and output. Three NULs and the code end it; there are no others in it."""
        self._hurry()
        self._socket.sendall(command.encode() + b"\0")
        answer = bytearray()
        while answer[-4:-1] != b"\0\0\0":
            self._hurry()
            part = self._socket.recv(_CHUNK)
            if not part:
                raise NoReply("the connection was closed")
            answer += part
            if len(answer) > ANSWER_MAX:
                raise NoReply(f"more than {ANSWER_MAX >> 20} MiB")
        return answer[-1], answer[:-4].decode("utf-8", "replace")

    def _hurry(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NoReply("no answer in time")
        self._socket.settimeout(left)
