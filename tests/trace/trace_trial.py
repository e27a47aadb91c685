"""A flow program that runs over frames by BPF_PROG_TEST_RUN, on no interface."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.testrun import run
from smartxd import bpfsys
from smartxd.capture.layout import LEDGER_VALUE
from smartxd.capture.maps import Entries, PolicyMaps
from smartxd.planes.trace import pins, program, sources
from smartxd.planes.trace.state import LEDGER_MAX

FLOWS_MAX = 1 << 15
COUNTERS = LEDGER_VALUE.names or ()


class Trial:
    """A program, and what it has counted."""

    def __init__(self, root: Path, folder: Path, *changes: tuple[str, str]) -> None:
        """Built from a copy of the sources in ``folder``, with texts replaced, and pinned in ``root``."""
        shutil.copytree(sources.directory(), folder)
        for old, new in changes:
            (file,) = [p for p in folder.glob("*.[ch]") if old in p.read_text()]
            file.write_text(file.read_text().replace(old, new))
        pin_dir = pins.fresh_dir(root, folder.name, "00000000")
        program.build(program.Request(str(folder), str(pin_dir), FLOWS_MAX, LEDGER_MAX))
        self._program = bpfsys.open_pin(pin_dir / "ingress")
        self._maps = PolicyMaps(pin_dir)

    def run(self, frame: bytes, **gso: int) -> None:
        run(self._program, frame, **gso)

    def entries(self) -> Entries:
        """What is in the flow maps, whichever kind it is in."""
        return self._maps.flows(0)

    def flows(self) -> dict[bytes, tuple[int, ...]]:
        """Counts by key."""
        found = self.entries()
        names = ["skbs", "bytes", "more_packets", "tcp_flags"]
        rows = found.values[names].tolist()
        flows = {key.tobytes(): row for key, row in zip(found.keys, rows, strict=True)}
        assert len(flows) == len(rows)
        return flows

    def ledger(self) -> dict[str, int]:
        """The counters of the only interface and direction; nothing before the first packet."""
        rows = self._maps.ledger(0).values.tolist()
        assert len(rows) <= 1
        return dict(zip(COUNTERS, rows[0], strict=True)) if rows else {}

    def forget(self) -> None:
        """Empty all maps."""
        self._maps.empty_flows(0)
        self._maps.empty_ledger(0)

    def close(self) -> None:
        self._maps.close()
        os.close(self._program)
