"""The daemons of one box: their configuration, and how they are started."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from smartxd.errors import LabError
from smartxd.lab import center, namespace, process
from smartxd.lab.layout import BoxLayout, Layout
from smartxd.lab.repo import BRANCH

DAEMONS = {"smartxd": "run", "capture": "capture"}
"""What a box runs, with the verb of ``python -m smartxd`` that it is."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the daemons of a lab do what on a real box is done less often."""

    drain_s: float = 1.0
    status_s: float = 2.0


def config_text(layout: Layout, box: BoxLayout, pace: Pace) -> str:
    """``smartxd.toml`` of the box."""
    tables: dict[str, dict[str, str | float]] = {
        "": {
            "box": box.box,
            "state_dir": str(box.state_dir),
            "run_dir": str(box.run_dir),
            "secrets_dir": str(layout.secrets),
            "bpffs_dir": str(box.bpffs),
        },
        "source": {"url": str(layout.repo), "branch": BRANCH},
        "frr": {"pathspace": box.namespace},
        "capture": {"drain_interval_s": pace.drain_s},
        "center": {
            "url": center.URL_IN_LAB,
            "token_file": str(box.token),
            "status_interval_s": pace.status_s,
        },
    }
    lines = []
    for table, fields in tables.items():
        lines += [f"\n[{table}]"] if table else []
        # A JSON string or number is a TOML one.
        lines += [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def start(daemon: str, box: BoxLayout, env: Mapping[str, str]) -> process.Process:
    """Start ``smartxd`` or ``capture`` in the box's namespace."""
    log = box.folder / f"{daemon}.log"
    program = [sys.executable, "-P", "-m", "smartxd", DAEMONS[daemon], "--config", str(box.config)]
    pid = process.spawn(namespace.enter(box.namespace, ["/usr/bin/env", "-C", "/", *program]), env, log)
    started = process.find(pid)
    if started is None:
        raise LabError(f"{daemon} of {box.box} ended at once: {center.last_line(log)}", f"see {log}")
    return started
