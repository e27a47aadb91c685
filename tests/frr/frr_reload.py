"""frr-reload.py alone, as ``systemctl reload frr`` runs it: the field's way to change FRR."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.frr.conftest import FRR_BIN, Instance

FRR_RELOAD = FRR_BIN / "frr-reload.py"
_IN_PRIVATE = 'mount --bind "$1" /var/log/frr && shift && exec "$@"'


@dataclass(frozen=True)
class Reload:
    """Runs it for one FRR, with a folder of its own for the log that it writes."""

    box: Instance
    logs: Path

    @property
    def log(self) -> Path:
        """What it logs to, on each run."""
        return self.logs / "frr-reload.log"

    def __call__(
        self, text: str, verb: str = "--reload", timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Bring FRR to a whole configuration; TimeoutExpired when it did not end in time."""
        file = self.box.etc / "target.conf"
        file.write_text(text)
        Path("/var/log/frr").mkdir(mode=0o755, exist_ok=True)
        program = [str(FRR_RELOAD), verb, "--pathspace", self.box.name, str(file)]
        argv = ["unshare", "--mount", "sh", "-c", _IN_PRIVATE, "sh", str(self.logs), *program]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            try:
                out, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(argv, process.returncode, out)
