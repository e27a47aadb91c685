"""Mutated specs against load, check and desired: no traceback, no hang, no hunger, each finding at its place.

Each worker is a process of its own, so that its memory is its own too. A mutant that breaks something is kept
in ``build/fuzz/``. SEED and DOCUMENTS of the environment repeat a run or make it shorter.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import mutants
from benchmarks.table import Row
from smartxd.desired import desire
from smartxd.spec.finding import Finding
from smartxd.spec.load import RULES, judge

DOCUMENTS = 200_000
CASE_S_MAX = 1.0
MEMORY_MB_MAX = 300
OUTPUT = Path("build/fuzz")
LINE_MAX = 2000
"""Characters of a finding."""


@dataclass(slots=True)
class Tally:
    """What a worker has seen."""

    cases: int = 0
    documents: int = 0
    valid: int = 0
    slowest_s: float = 0.0
    memory_mb: float = 0.0
    broken: list[str] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)


def trial(files: Mapping[str, bytes]) -> tuple[tuple[Finding, ...], bool]:
    """Judge a repo, and derive each box of a valid one: its findings, and whether it was valid."""
    verdict = judge(files)
    if not verdict.errors:
        for box in verdict.fleet.boxes:
            desire(verdict.fleet, box)
    return verdict.findings, not verdict.errors


def misplaced(files: Mapping[str, bytes], findings: tuple[Finding, ...]) -> Iterator[str]:
    """What is wrong with the findings themselves."""
    for finding in findings:
        line, where = str(finding), finding.location
        if where.file not in files:
            yield f"no such file: {line}"
        elif not 1 <= where.line <= lines(files[where.file]) + 1 or where.column < 1:
            yield f"no such place: {line}"
        if finding.rule not in RULES:
            yield f"no such rule: {line}"
        if not line.isprintable() or len(line) > LINE_MAX:
            yield f"not a line to print: {line[:200]!r}"


_BREAK = re.compile(rb"\r\n|\n|\r|\xc2\x85|\xe2\x80[\xa8\xa9]")


def lines(content: bytes) -> int:
    """The number of lines, as YAML counts them."""
    return len(_BREAK.findall(content)) + 1


def work(seed: int, first: int, step: int, documents: int) -> Tally:
    """Judge every ``step``-th mutant until so many documents were seen."""
    tally, number = Tally(), first
    while tally.documents < documents:
        mutant = mutants.of_seed(seed, number)
        files = mutant.files
        began = time.process_time()
        try:
            findings, valid = trial(files)
            broken = [*misplaced(files, findings)][:1]
            tally.valid += valid
            tally.rules.update(finding.rule for finding in findings)
        except Exception:  # noqa: BLE001 (any at all is what is looked for)
            broken = [traceback.format_exc(limit=-3)]
        took = time.process_time() - began
        if took > CASE_S_MAX:
            broken.append(f"took {took:.2f} s")
        for what in broken:
            keep(seed, number, files, what)
            tally.broken.append(f"{number}: {what}")
        tally.slowest_s = max(tally.slowest_s, took)
        tally.cases += 1
        tally.documents += mutant.documents
        number += step
    tally.memory_mb = peak_mb()
    return tally


def keep(seed: int, number: int, files: Mapping[str, bytes], what: str) -> None:
    """Write a mutant that broke something down."""
    place = OUTPUT / f"{seed}-{number}"
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    (place / "what").write_text(what + "\n")


def peak_mb() -> float:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def run() -> list[Row]:
    """The rows; the seed is printed."""
    seed = int(os.environ.get("SEED", time.time_ns() // 1_000_000_000))
    documents = int(os.environ.get("DOCUMENTS", DOCUMENTS))
    workers = os.cpu_count() or 1
    print(f"fuzz: SEED={seed} DOCUMENTS={documents}, {workers} workers", file=sys.stderr, flush=True)
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        shares = [(seed, i, workers, -(-documents // workers)) for i in range(workers)]
        tallies = pool.starmap(work, shares)
    took = time.monotonic() - began
    rules: Counter[str] = sum((tally.rules for tally in tallies), Counter())
    for tally in tallies:
        for what in tally.broken[:10]:
            print(f"fuzz: broken: {what}", file=sys.stderr)
    print("fuzz: findings by rule:", ", ".join(f"{r} {n}" for r, n in sorted(rules.items())), file=sys.stderr)
    seen = sum(tally.documents for tally in tallies)
    return [
        Row("documents that broke something", sum(len(t.broken) for t in tallies), "", 0),
        Row("slowest repo, processor time", max(t.slowest_s for t in tallies), "s", CASE_S_MAX),
        Row("memory of a worker, most", max(t.memory_mb for t in tallies), "MB", MEMORY_MB_MAX),
        Row("mutated documents judged", seen, ""),
        Row("repos judged", sum(t.cases for t in tallies), ""),
        Row("repos that were valid, and derived for each box", sum(t.valid for t in tallies), ""),
        Row("rules that found something", len(rules), f"of {len(RULES)}"),
        Row("documents a second", seen / took, "1/s"),
    ]
