"""``smartxd capture`` of a box, as systemd runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from trace_box import Box, stored_flows

from smartxd.errors import StoreError
from smartxd.report import CaptureReport
from smartxd.store.captures import read_report

PATIENCE_S = 60.0


class Capture:
    """Starts capture processes of one box, one after the other."""

    def __init__(self, box: Box, directory: Path) -> None:
        self.box = box
        self.state_dir = directory / "state"
        self.captures = self.state_dir / "captures"
        self.config = directory / "smartxd.toml"
        self.running: list[subprocess.Popen[str]] = []
        self.configure()

    def configure(self, interval_s: float = 0.1) -> None:
        self.config.write_text(
            f'box = "b1"\nstate_dir = "{self.state_dir}"\nrun_dir = "{self.box.manifest_path.parent}"\n'
            f'bpffs_dir = "{self.box.bpffs_dir}"\nsecrets_dir = "{self.box.secrets_dir}"\n'
            f'[source]\nurl = "/nowhere"\n'
            f"[capture]\ndrain_interval_s = {interval_s}\n"
        )

    def start(self) -> subprocess.Popen[str]:
        argv = ["nsenter", f"--net={self.box.path}", sys.executable, "-m", "smartxd", "capture"]
        started = subprocess.Popen([*argv, "--config", str(self.config)], stderr=subprocess.PIPE, text=True)
        self.running.append(started)
        return started

    def stop(self, number: int = signal.SIGTERM) -> str:
        """What the last one said on stderr."""
        process = self.running.pop()
        process.send_signal(number)
        return process.communicate(timeout=PATIENCE_S)[1]

    def wait_for(self, done: Callable[[CaptureReport], bool]) -> CaptureReport:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            try:
                report = read_report(self.captures)
            except StoreError:
                report = None  # the index is just being made
            if report is not None and done(report):
                return report
            time.sleep(0.05)
        raise AssertionError(f"never so: {report}")

    def wait_for_packets(self, packets: int) -> CaptureReport:
        return self.wait_for(lambda r: sum(t.packets for t in r.tracers) == packets)

    def hold(self) -> None:
        """Stop the last one where it is, as SIGSTOP does; returns when it has stopped."""
        pid = self.running[-1].pid
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)

    def stored_packets(self) -> int:
        return int(stored_flows(self.captures, "select coalesce(sum(packets), 0) from flows")[0][0])
