"""Tell of changes in the kernel as they happen."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from typing import Protocol

_STOP_TIMEOUT_S = 5.0
_CALM_S = 0.01
"""What comes in so short a time is told once."""


class Watched(Protocol):
    """What can be waited for."""

    def fileno(self) -> int:
        """Of the socket that becomes readable with each change."""
        ...

    def take_in(self) -> None:
        """Make room for more messages."""
        ...


class KernelWatch:
    """Calls ``on_change`` from a thread of its own when the kernel has told the view of a change.

    It waits for the view's own socket and does not read it, so that whoever is told finds the message there.
    smartxd's own changes are told too. ``on_change`` must return at once and must not raise: it only marks
    that there is something to look at.
    """

    def __init__(self, view: Watched, on_change: Callable[[], None]) -> None:
        self._view = view
        self._on_change = on_change
        self._thread: threading.Thread | None = None
        self._stop_reader, self._stop_writer = socket.socketpair()

    def start(self) -> None:
        """Begin; whatever changes after the return is told, and what had not been read before."""
        epoll = select.epoll()
        # By the edge: told with each message that comes, whether those before it have been read or not.
        epoll.register(self._view.fileno(), select.EPOLLIN | select.EPOLLET)
        epoll.register(self._stop_reader, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, args=(epoll,), name="kernel-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; no call of ``on_change`` begins after the return. Stopping twice is not an error."""
        if self._thread is not None:
            self._stop_writer.send(b"\0")
            self._thread.join(_STOP_TIMEOUT_S)
            self._thread = None
        self._stop_reader.close()
        self._stop_writer.close()

    def _run(self, epoll: select.epoll) -> None:
        with epoll:
            while True:
                told = dict(epoll.poll())
                if self._stop_reader.fileno() in told:
                    return
                if any(events & select.EPOLLERR for events in told.values()):
                    # Nobody has read for so long that there is no room left: nothing more would be told.
                    self._view.take_in()
                self._on_change()
                select.select([self._stop_reader], [], [], _CALM_S)
