"""A real centre on loopback, started, killed and started again by its pid."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

COMMAND = [sys.executable, "-m", "smartxd.center.main"]


_HELD: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback that nobody else is given while these tests run, whether a centre listens or not."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the centre does, so that it may listen
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    return held.getsockname()[1]


class Center:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        self.log = data_dir.parent / "center.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *args: str) -> subprocess.CompletedProcess:
        verb, *rest = args
        return subprocess.run(
            [*COMMAND, verb, "--data-dir", str(self.data_dir), *rest],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def enroll(self, box: str, *args: str) -> str:
        done = self.run("enroll", box, *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, *args: str, wait: bool = True) -> None:
        with self.log.open("a") as log:
            where = ["--data-dir", str(self.data_dir), "--listen", f"127.0.0.1:{self.port}"]
            self.process = subprocess.Popen([*COMMAND, "serve", *where, *args], stderr=log, stdout=log)
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        # The socket listens before the site is up; the first answer is the event.
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = httpx.get(f"{self.url}/healthz", timeout=60, trust_env=False)
                assert answer.status_code == 200, answer.text
                return
            except httpx.ConnectError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=60)

    def stop(self) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        finally:
            if self.process.poll() is None:
                self.kill()

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(f"{self.url}{path}", params=params, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text)

    def totals(self, box: str, stream: str = "flows") -> dict:
        found = [t for t in self.get("/api/v1/totals", box=box) if t["stream"] == stream]
        return found[0] if found else dict.fromkeys(("batches", "rows", "packets", "contiguous_seq"), 0)
