"""The machine around: clock, disk, memory, smartxd's own processes."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smartxd.config import Config
from smartxd.doctor.finding import Finding, judged
from smartxd.doctor.needs import Needs
from smartxd.errors import DaemonError
from smartxd.socketclient import fetch_status
from smartxd.store.captures import RESERVE_BYTES
from smartxd.store.connection import size

_TIMEOUT_S = 5.0
_BUILD_BYTES = 200 << 20
"""What building a tracer's program takes for a moment."""
_STA_UNSYNC = 0x0040
_TIMEX_BYTES = 256


@dataclass(frozen=True, slots=True)
class MachineLooks:
    """Looks at what is around smartxd; files are below ``root``."""

    config: Config
    needs: Needs
    root: Path = Path("/")

    def clock(self) -> Iterator[Finding]:
        """Whether the kernel takes its clock for synchronised."""
        error_us = clock_error_us()
        yield judged(
            "clock",
            "not synchronised" if error_us is None else "",
            f"synchronised, at most {(error_us or 0) / 1000:.1f} ms off",
            "times that can be compared between boxes",
            "apt-get install chrony",
        )

    def disk(self) -> Iterator[Finding]:
        """Room for captures."""
        bound = self.config.capture.disk_max_bytes
        captures = self.config.captures_dir
        place = next(p for p in (captures, *captures.parents) if p.exists())
        free = shutil.disk_usage(place).free
        used = size(*captures.glob("*")) if captures.is_dir() else 0
        short = free - RESERVE_BYTES < bound - used
        found = f"{_size(free)} free at {place}, captures may take {_size(bound)} and have {_size(used)}"
        advice = "lower capture.disk_max_bytes in smartxd.toml, or make room: until then the oldest go early"
        yield judged("disk", found if short else "", found, "captures", advice, needed=free < RESERVE_BYTES)

    def memory(self) -> Iterator[Finding]:
        """Room for flow maps."""
        wanted = self.needs.memory_bytes + _BUILD_BYTES
        free = _available(self.root / "proc/meminfo")
        if free is None:
            return
        found = f"{_size(free)} available, tracers take up to {_size(wanted)}"
        advice = "give the box more memory, or its TracePolicies fewer flowsMax"
        short = free < wanted
        yield judged(
            "memory", found if short else "", found, "tracers", advice, needed=bool(self.needs.traced)
        )

    def daemon(self) -> Iterator[Finding]:
        """Whether smartxd answers on its socket."""
        wrong = advice = right = ""
        try:
            right = f"smartxd {fetch_status(self.config.socket, _TIMEOUT_S).version} answers"
        except DaemonError as err:
            wrong, advice = err.message, err.hint
        yield judged("smartxd", wrong, right, "everything that specs say", advice, needed=True)

    def capture(self) -> Iterator[Finding]:
        """Whether the capture process holds its lock."""
        lock = self.config.state_dir / "capture.lock"
        holder = lock_holder(self.root / "proc/locks", lock)
        yield judged(
            "smartxd capture",
            "does not run" if holder is None else "",
            f"runs (process {holder})",
            "storing what tracers record",
            "systemctl enable --now smartx-capture",
            needed=bool(self.needs.traced),
        )


def clock_error_us() -> int | None:
    """By how much the clock may be off, as the kernel has been told; None while it is not synchronised."""
    # struct timex: modes, offset, freq, maxerror, esterror, status; each long begins where it is aligned.
    timex = (ctypes.c_long * (_TIMEX_BYTES // ctypes.sizeof(ctypes.c_long)))()
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    status = ctypes.c_int.from_buffer(timex, 5 * ctypes.sizeof(ctypes.c_long)).value
    return None if status & _STA_UNSYNC else int(timex[3])


def lock_holder(locks: Path, lock: Path) -> int | None:
    """The process that holds a lock on the file, None where none does."""
    try:
        inode = lock.stat().st_ino
        lines = locks.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    return None


def _available(meminfo: Path) -> int | None:
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
