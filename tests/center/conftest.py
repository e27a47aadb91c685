from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from center_process import Center


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Center]:
    """One centre for the tests of a file; each of them enrolls boxes of its own."""
    center = Center(tmp_path_factory.mktemp("center") / "data")
    try:
        center.start()
        yield center
    finally:
        center.stop()
