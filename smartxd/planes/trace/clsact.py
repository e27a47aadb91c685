"""Filters on the clsact hook, for kernels without TCX: through iproute2's tc.

A filter is ours when it has our handle; others, and a clsact that others use, are left alone.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartxd.errors import PlaneError

TIMEOUT_S = 10
PRIORITIES = (1, 2, 3)
"""Early, because a filter of others that says "ok" ends the walk; several, as another kind may sit at one."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Where on the hook a filter sits."""

    priority: int
    handle: int


def ensure_qdisc(interface: str) -> bool:
    """See to it that there is a clsact qdisc; True when it was missing."""
    if _has_qdisc(interface):
        return False
    _tc("qdisc", "add", "dev", interface, "clsact")
    return True


def remove_qdisc_if_unused(interface: str) -> None:
    """Remove a clsact qdisc on which no filter is left."""
    if _has_qdisc(interface) and not any(_filters(interface, d) for d in ("ingress", "egress")):
        _tc("qdisc", "del", "dev", interface, "clsact")


def add(interface: str, direction: str, program: Path, handle: int) -> None:
    """Run a pinned program on the hook; PlaneError ``AttachRefused``."""
    for priority in PRIORITIES:
        place = ("prio", str(priority), "handle", hex(handle), "protocol", "all")
        try:
            _tc(
                *("filter", "replace", "dev", interface, direction, *place),
                *("bpf", "direct-action", "object-pinned", str(program)),
            )
        except PlaneError:
            if priority == PRIORITIES[-1]:
                raise
        else:
            return


def find(interface: str, direction: str, handle: int) -> Filter | None:
    """The BPF filter with the handle, None when there is none."""
    for entry in _filters(interface, direction):
        if entry.get("kind") == "bpf" and int(str(entry["options"].get("handle", 0)), 0) == handle:
            return Filter(int(entry["pref"]), handle)
    return None


@dataclass(frozen=True, slots=True)
class Program:
    """What a filter on the hook does; ``program`` is the number of its BPF program, 0 without one."""

    program: int
    name: str


def programs(interface: str, direction: str) -> tuple[Program, ...]:
    """All filters on the hook, also those that are not ours; none without a clsact qdisc."""
    if not _has_qdisc(interface):
        return ()
    found = []
    for entry in _filters(interface, direction):
        options = entry["options"]
        name = str(options.get("bpf_name") or f"{entry.get('kind')} {options.get('handle', '')}".strip())
        found.append(Program(int((options.get("prog") or {}).get("id", 0)), name))
    return tuple(found)


def remove(interface: str, direction: str, filter: Filter) -> None:
    """Remove one filter."""
    place = ("prio", str(filter.priority), "handle", hex(filter.handle), "protocol", "all")
    _tc("filter", "del", "dev", interface, direction, *place, "bpf")


def _has_qdisc(interface: str) -> bool:
    return any(q.get("kind") == "clsact" for q in _tc_json("qdisc", "show", "dev", interface))


def _filters(interface: str, direction: str) -> list[dict[str, Any]]:
    return [f for f in _tc_json("filter", "show", "dev", interface, direction) if "options" in f]


def _tc_json(*arguments: str) -> list[dict[str, Any]]:
    said = _tc("-j", *arguments)
    try:
        return list(json.loads(said)) if said.strip() else []
    except ValueError as err:
        raise PlaneError("AttachRefused", f"tc {' '.join(arguments)}: its answer is not JSON") from err


def _tc(*arguments: str) -> str:
    command = ["tc", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError as err:
        raise PlaneError("ToolMissing", "tc is not installed", "apt-get install iproute2") from err
    except subprocess.TimeoutExpired as err:
        raise PlaneError("AttachRefused", f"{' '.join(command)}: no answer in {TIMEOUT_S} s") from err
    if done.returncode:
        said = "; ".join(done.stderr.split("\n")).strip("; ")
        raise PlaneError("AttachRefused", f"{' '.join(command)}: {said}")
    return done.stdout
