"""A thread for what may hang: FRR's rounds and plans, so that the loop goes on with all else meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

GRACE_S = 2.0
"""How long the end of the daemon waits for what is under way: FRR answers in that time, or not at all."""


class Lane:
    """Does one piece of work after another in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = False
        # As a daemon thread it keeps no process from its end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, in the network namespace of the caller."""
        self._thread.start()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done, after what was asked for before."""
        self._work.put(work)

    def stop(self) -> None:
        """End; what hangs is left behind, and what has not begun is not done."""
        self._stopping = True
        self._work.put(_nothing)
        self._thread.join(GRACE_S)

    def _run(self) -> None:
        while not self._stopping:
            self._work.get()()


def _nothing() -> None:
    """Work that only wakes the thread."""
