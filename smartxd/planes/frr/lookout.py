"""A thread that looks at FRR's sessions every few seconds, so that no status waits for FRR."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from smartxd.planes.frr.look import Look, Looker
from smartxd.planes.frr.state import FRRState
from smartxd.planes.frr.vty import TIMEOUT_S

_NOTHING = Look({})


class Lookout:
    """Calls ``on_look`` with what FRR does of what is ``wanted``."""

    def __init__(
        self,
        run_dir: Path,
        interval_s: float,
        wanted: Callable[[], FRRState],
        on_look: Callable[[Look], None],
    ) -> None:
        self._looker, self._interval_s = Looker(run_dir), interval_s
        self._wanted, self._on_look = wanted, on_look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="frr-lookout", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=TIMEOUT_S)

    def _run(self) -> None:
        last = _NOTHING
        while not self._stopping.wait(self._interval_s):
            look = self._looker.look(self._wanted())
            if look != _NOTHING or last != _NOTHING:
                self._on_look(look)
            last = look
