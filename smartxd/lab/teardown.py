"""Taking a lab down: whatever there is of it, recorded or not, finished or not."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from smartxd import bpfsys
from smartxd.daemon.claim import namespace_lock
from smartxd.errors import LabError
from smartxd.lab import frr, namespace, process
from smartxd.lab.layout import ROOT, BoxLayout, Layout
from smartxd.lab.state import LabState

ROUNDS_MAX = 5
UNLOAD_WAIT_S = 5.0


def take_down(layout: Layout, state: LabState) -> None:
    """Remove all of the lab; when one part cannot be removed the rest is, and LabError says what stayed."""
    boxes = [BoxLayout(layout.name, name) for name in state.boxes]
    namespaces = [layout.namespace(name) for name in (*state.containers, *state.boxes)] + [layout.wan]
    left: list[str] = []
    with _noting(left):
        # What is being ended may just have started something: look again until nothing is there.
        for _ in range(ROUNDS_MAX):
            running = _processes(layout, state, namespaces)
            if not running:
                break
            process.end(running)
    for key, recorded in state.processes.items():
        frr.clear_scratch(key.rpartition("/")[2], recorded)
    for name in namespaces:
        with _noting(left):
            if namespace.exists(name):  # of a smartxd that was killed and could not clear up
                namespace_lock(namespace.path(name).stat().st_ino).unlink(missing_ok=True)
            namespace.delete(name)
    for box in boxes:
        frr.remove(box)
        with _noting(left):
            remove_pins(box.bpffs)
    if left:
        raise LabError(f"lab {layout.name} is not all gone: {'; '.join(left)}", "run it once more")
    shutil.rmtree(layout.folder)
    with contextlib.suppress(OSError):  # Another lab may be there.
        ROOT.rmdir()


def remove_pins(folder: Path) -> None:
    """Unpin everything below a folder of bpffs, and wait until the kernel has let go of the programs."""
    if not folder.exists():
        return
    programs = [_program_id(pin) for way in ("ingress", "egress") for pin in folder.glob(f"*/{way}")]
    shutil.rmtree(folder)
    deadline = time.monotonic() + UNLOAD_WAIT_S
    while any(bpfsys.is_loaded(id) for id in programs) and time.monotonic() < deadline:
        time.sleep(0.01)  # the kernel frees a program after a grace period and tells nobody


def _program_id(pin: Path) -> int:
    with bpfsys.opened(pin) as fd:
        return bpfsys.program_id(fd)


def _processes(layout: Layout, state: LabState, namespaces: list[str]) -> set[process.Process]:
    """All that runs of the lab: recorded, carrying its mark, or living in one of its namespaces."""
    found = [*state.processes.values(), *process.marked(layout.name)]
    found += process.inside(namespace.path(name) for name in namespaces)
    return {process.Process(p.pid, p.started) for p in found if p.alive}


@contextlib.contextmanager
def _noting(left: list[str]) -> Iterator[None]:
    try:
        yield
    except LabError as err:
        left.append(err.message)
    except OSError as err:
        left.append(str(err))
