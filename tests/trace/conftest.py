from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from capture_process import Capture
from trace_box import Box
from trace_trial import Trial

from smartxd.planes.trace import bpffs, pins
from smartxd.planes.trace.attach import Hook


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    try:
        yield made
    finally:
        made.delete()


@pytest.fixture(params=list(Hook), ids=str)
def hooked_box(box: Box, request: pytest.FixtureRequest) -> Box:
    """The box once for each way of attaching."""
    box.plane.hook = request.param
    return box


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Trial]]:
    """Gives trials that have counted nothing; by the texts to replace in the sources they are built from."""
    root, folder = bpffs.MOUNT_POINT / f"smxt-{uuid.uuid4().hex[:10]}", tmp_path_factory.mktemp("trials")
    bpffs.ensure(root)
    made: dict[tuple[tuple[str, str], ...], Trial] = {}

    def get(*changes: tuple[str, str]) -> Trial:
        if changes not in made:
            made[changes] = Trial(root, folder / f"bpf{len(made)}", *changes)
        made[changes].forget()
        return made[changes]

    try:
        yield get
    finally:
        for each in made.values():
            each.close()
        pins.remove_all(root)


@pytest.fixture
def capture(box: Box, tmp_path: Path) -> Iterator[Capture]:
    made = Capture(box, tmp_path)
    try:
        yield made
    finally:
        while made.running:
            made.stop(signal.SIGKILL)
