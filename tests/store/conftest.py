from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import flow_rows, loss_rows

from smartxd.config import CaptureConfig


@pytest.fixture
def flows() -> Callable[[int, int], pa.Table]:
    return flow_rows


@pytest.fixture
def losses() -> Callable[[int], pa.Table]:
    return loss_rows


@pytest.fixture
def config() -> CaptureConfig:
    return CaptureConfig()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "captures"
