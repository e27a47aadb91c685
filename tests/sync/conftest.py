from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for area in ("store", "center"):
    sys.path.insert(0, str(Path(__file__).parents[1] / area))

from center_process import Center  # noqa: E402

from smartxd.config import CenterConfig, Config, SourceConfig  # noqa: E402


@pytest.fixture
def center(tmp_path: Path) -> Iterator[Center]:
    center = Center(tmp_path / "data")
    try:
        yield center
    finally:
        center.stop()


@pytest.fixture
def box(center: Center, tmp_path: Path) -> Config:
    """A box that is enrolled at the centre, which is not started yet."""
    token = tmp_path / "token"
    token.write_text(center.enroll("gist1") + "\n")
    return Config(
        box="gist1",
        state_dir=tmp_path / "state",
        run_dir=tmp_path / "run",
        source=SourceConfig(url="/nowhere"),
        center=CenterConfig(url=center.url, token_file=token, status_interval_s=0.5, timeout_s=60),
    )
