"""What this kernel and machine can do for tracers, found by trying it; nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smartxd import bpfsys
from smartxd.errors import PlaneError
from smartxd.planes.trace import clsact, drops, fields, sources
from smartxd.planes.trace.program import DIRECTIONS, assemble_headers

_TIMEOUT_S = 30
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Stranger:
    """A program of somebody else's at a place where packets pass."""

    interface: str
    direction: str
    how: str
    """``tcx`` or ``tc``."""
    name: str


def probe() -> Mapping[str, OSError | None]:
    """Why the kernel refuses each of what tracers need, None where it does not."""
    return {name: _refusal(trial) for name, trial in _TRIALS.items()}


def bcc_version() -> str:
    """The version of IO Visor's bcc that the tracers are built with; PlaneError ``BCCMissing``."""
    asked = "import bcc; bcc.BPF; print(bcc.__version__)"
    # In a child process, as tracers are built: what bcc takes of memory it does not give back.
    argv = [sys.executable, "-P", "-c", asked]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise PlaneError("BCCMissing", f"python cannot be asked for bcc: {err}") from err
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        hint = "apt-get install python3-bpfcc (PyPI's bcc is another project)"
        raise PlaneError("BCCMissing", f"IO Visor's bcc cannot be used by {sys.executable}: {said}", hint)
    return done.stdout.strip()


def check_headers() -> None:
    """PlaneError where the headers are missing that the C sources are built with."""
    with tempfile.TemporaryDirectory(prefix="smartxd-headers-") as tree:
        assemble_headers(sources.directory(), Path(tree))


def strangers(interfaces: Mapping[str, int], bpffs_dir: Path) -> Iterator[Stranger]:
    """Programs on these interfaces (ifindex by name) that are not pinned below ``bpffs_dir``."""
    ours = _ours(bpffs_dir)
    for name, ifindex in interfaces.items():
        for direction in DIRECTIONS:
            with suppress(OSError):  # no TCX, or gone between two looks
                for program in bpfsys.tcx_programs(ifindex, direction):
                    if program not in ours:
                        yield Stranger(name, direction, "tcx", bpfsys.program_name(program) or str(program))
            with suppress(PlaneError):
                for filter in clsact.programs(name, direction):
                    if filter.program not in ours:
                        yield Stranger(name, direction, "tc", filter.name)


def _ours(bpffs_dir: Path) -> frozenset[int]:
    found = set()
    for direction in DIRECTIONS:
        for pin in bpffs_dir.glob(f"*/{direction}"):
            with suppress(OSError), bpfsys.opened(pin) as fd:
                found.add(bpfsys.program_id(fd))
    return frozenset(found)


def _refusal(trial: Callable[[], None]) -> OSError | None:
    try:
        trial()
    except OSError as err:
        return err
    return None


def _program() -> None:
    os.close(bpfsys.load_idle_program())


def _tcx() -> None:
    program = bpfsys.load_idle_program()
    try:
        if not bpfsys.has_tcx(program):
            raise OSError(0, "this kernel has no TCX")
    finally:
        os.close(program)


def _ring() -> None:
    os.close(bpfsys.create_map(bpfsys.MapType.RINGBUF, 0, 0, _PAGE))


def _batch() -> None:
    fd = bpfsys.create_map(bpfsys.MapType.HASH, 4, 4, 1)
    try:
        bpfsys.lookup_batch(fd, bytearray(4), bytearray(4), (4, 4), 1, remove=True)
    finally:
        os.close(fd)


def _drops() -> None:
    if refused := fields.refusal():
        raise OSError(0, refused)
    program = bpfsys.load_idle_program(bpfsys.ProgramType.RAW_TRACEPOINT)
    try:
        os.close(bpfsys.link_raw_tracepoint(program, drops.TRACEPOINT))
    finally:
        os.close(program)


_TRIALS = {
    **{"bpf": _program, "tcx": _tcx, "ring buffer": _ring, "batch map operations": _batch},
    "drop reasons": _drops,
}
