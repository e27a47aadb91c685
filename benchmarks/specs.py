"""Judging specs, against libyaml alone on the same text; how it grows; and what a whole command costs."""

from __future__ import annotations

import gc
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from benchmarks import fleets
from benchmarks.table import Row, spread
from smartxd.spec.load import Verdict, judge

SIZES = (10, 100, 1_000, 10_000)
RATIO_MAX = 6.0
"""Of judging 1,000 documents to loading them by libyaml alone."""
GROWTH_MAX = 1.15
"""The exponent by which the time of judging grows with the number of documents."""


def run() -> list[Row]:
    """The rows."""
    judged: dict[int, float] = {}
    rows: list[Row] = []
    for size in SIZES:
        files = fleets.files(size)
        verdict = judge(files)
        if verdict.findings:
            raise AssertionError(f"the fleet of {size} documents is wrong: {verdict.findings[0]}")
        count = len(verdict.fleet.refs())
        repeats = max(3, min(30, 3_000 // size))
        ours, theirs = timed(partial(_judge, files), repeats), timed(partial(_libyaml, files), repeats)
        judged[count] = statistics.median(ours)
        ratio = judged[count] / statistics.median(theirs)
        limit = RATIO_MAX if size == 1_000 else None
        rows += [
            Row(
                f"judge {count} documents, against libyaml",
                ratio,
                "x",
                limit,
                "yaml.load_all, CSafeLoader",
                1,
            ),
            Row(f"judge {count} documents: {spread([s * 1000 for s in ours])}", judged[count] * 1000, "ms"),
        ]
        rows[-1] = Row(
            rows[-1].metric, rows[-1].value, "ms", None, "yaml.load_all", statistics.median(theirs) * 1000
        )
    return [*rows, Row("growth exponent of judging", exponent(judged), "", GROWTH_MAX), *_command()]


def _judge(files: dict[str, bytes]) -> Verdict:
    return judge(files)


def _libyaml(files: dict[str, bytes]) -> list[object]:
    return [d for content in files.values() for d in yaml.load_all(content, Loader=yaml.CSafeLoader)]


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each run; garbage of earlier runs is collected before."""
    samples = []
    for _ in range(repeats):
        gc.collect()
        began = time.perf_counter()
        work()
        samples.append(time.perf_counter() - began)
    return samples


def exponent(times: dict[int, float]) -> float:
    """The slope of log time over log size, by least squares."""
    points = [(math.log(size), math.log(seconds)) for size, seconds in times.items()]
    x, y = (statistics.mean(axis) for axis in zip(*points, strict=True))
    slope = sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)
    return float(slope)


def _command() -> list[Row]:
    """``smartxctl validate`` of 1,000 documents as a process, beside a Python that does nothing."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in fleets.files(1_000).items():
            path = Path(place, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        command = [sys.executable, "-m", "smartxd.ctl.main", "validate", place]
        ours = timed(lambda: subprocess.run(command, check=True, capture_output=True, timeout=60), 7)
        empty = [sys.executable, "-c", "import yaml"]
        theirs = timed(lambda: subprocess.run(empty, check=True, capture_output=True, timeout=60), 7)
    median, peer = statistics.median(ours), statistics.median(theirs)
    return [
        Row("smartxctl validate, 1,000 documents, whole", median, "s", None, "python -c 'import yaml'", peer)
    ]
