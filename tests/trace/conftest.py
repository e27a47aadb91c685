from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from capture_process import Capture
from trace_box import Box

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


@pytest.fixture
def capture(box: Box, tmp_path: Path) -> Iterator[Capture]:
    made = Capture(box, tmp_path)
    try:
        yield made
    finally:
        while made.running:
            made.stop(signal.SIGKILL)
