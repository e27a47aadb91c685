"""The programs that speak to FRR, each call bounded in time and killed with all its children."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError

DAEMONS = ("zebra", "bgpd")
"""The daemons without which nothing here can be converged."""

PROBE_TIMEOUT_S = 2.0
"""For one daemon to say its version: milliseconds when it is well."""

_RUN_DIR = Path("/var/run/frr")
_BAD_LINE = re.compile(r"line (\d+): % ([^:]*):")
_INSTALL = "install FRR and its tools: apt install frr frr-pythontools"


@dataclass(frozen=True, slots=True)
class Output:
    """What a program left: its exit code, its output, and its errors where they were kept apart."""

    code: int
    text: str
    errors: str = ""


class NoAnswer(Exception):
    """A program ended without an answer."""


class Timeout(NoAnswer):
    """A program did not end in time."""


class BadLine(Exception):
    """A line of a configuration that FRR's grammar does not know; numbered from 1."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.message = message


def call(argv: Sequence[str], timeout_s: float, *, merged: bool = False) -> Output:
    """Run a program to its end; Timeout when it was killed, together with its process group.

    ``merged`` puts standard error in between standard output, in the order of writing.
    """
    # vtysh would write what it is told into root's history, and start a pager.
    env = {**os.environ, "LC_ALL": "C.UTF-8", "VTYSH_HISTFILE": os.devnull, "VTYSH_PAGER": "cat"}
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        env=env,
        start_new_session=True,
    ) as process:
        try:
            out, errors = process.communicate(timeout=timeout_s)
        except BaseException as err:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(err, subprocess.TimeoutExpired):
                raise Timeout(f"{argv[0]} did not end within {timeout_s:g} s") from err
            raise
    # A configuration may hold bytes that are not UTF-8; they are kept.
    text, complaint = (part.decode("utf-8", "surrogateescape") for part in (out, errors or b""))
    return Output(process.returncode, text, complaint)


@dataclass(frozen=True, slots=True)
class Vtysh:
    """FRR's shell and its reload tool for one instance of FRR."""

    config: FRRConfig

    @property
    def instance(self) -> str:
        """How messages name the instance."""
        return f"FRR (-N {self.config.pathspace})" if self.config.pathspace else "FRR"

    @property
    def run_dir(self) -> Path:
        """Where the instance's daemons keep sockets and pid files."""
        return _RUN_DIR / self.config.pathspace if self.config.pathspace else _RUN_DIR

    def require(self) -> None:
        """PlaneError where FRR or its tools are not installed."""
        if shutil.which("vtysh") is None:
            raise PlaneError("FRRMissing", "FRR is not installed: there is no vtysh", _INSTALL)
        if not self.config.reload.is_file():
            raise PlaneError("FRRMissing", f"FRR's reload tool is not there: {self.config.reload}", _INSTALL)

    def command(self, *commands: str, timeout_s: float = float("inf")) -> str:
        """What the commands print; PlaneError when FRR does not answer, naming the daemons that do not."""
        try:
            return self._commands(commands, min(timeout_s, self.config.timeout_s))
        except NoAnswer as err:
            raise self._down(self.silent(DAEMONS), str(err)) from err

    def glance(self, *commands: str, timeout_s: float) -> str:
        """``command`` for what may not take long: who does not answer is not looked into."""
        try:
            return self._commands(commands, min(timeout_s, self.config.timeout_s))
        except NoAnswer as err:
            raise self._down((), str(err)) from err

    def file(self, path: Path) -> Output:
        """Apply a batch of commands; some may be applied and others refused."""
        try:
            return call([*self._vtysh(), "-f", str(path)], self.config.timeout_s, merged=True)
        except Timeout as err:
            raise self._down(self.silent(DAEMONS), str(err)) from err

    def delta(self, running: Path, target: Path) -> str:
        """What frr-reload would do to get from one file to the other; no daemon is asked.

        BadLine for the first line of ``target`` that is not FRR's. frr-reload then still prints a delta, in
        which everything behind that line is deleted.
        """
        space = ["--pathspace", self.config.pathspace] if self.config.pathspace else []
        argv = [str(self.config.reload), "--test", *space, "--input", str(running), str(target)]
        try:
            out = call(argv, self.config.timeout_s)
        except Timeout as err:
            raise PlaneError("FRRReloadFailed", str(err), "raise frr.timeout_s in smartxd.toml") from err
        if match := _BAD_LINE.search(out.errors):
            raise BadLine(int(match[1]), match[2].strip())
        if out.code != 0:
            said = out.errors.strip().rpartition("\n")[2]
            message = f"{self.config.reload.name} exited with {out.code}: {said}"
            raise PlaneError("FRRReloadFailed", message, "is it the one of the FRR that is installed?")
        return out.text

    def probe(self) -> None:
        """PlaneError unless every daemon that is needed answers."""
        if silent := self.silent(DAEMONS):
            raise self._down(silent, "")

    def silent(self, daemons: Sequence[str]) -> list[str]:
        """Those of ``daemons`` that are dead or do not answer in time."""
        return [d for d in daemons if not self._answers(d)]

    def started(self) -> list[str]:
        """The daemons that were started and not stopped again on purpose, by their pid files."""
        return sorted(p.stem for p in self.run_dir.glob("*.pid") if p.stem != "watchfrr")

    def missing(self, answering: Sequence[str]) -> PlaneError:
        """The error for a FRR of which only ``answering`` take part."""
        return self._down([d for d in DAEMONS if d not in answering], "")

    def _answers(self, daemon: str) -> bool:
        try:
            # A healthy daemon takes milliseconds; the bound on a whole call would add up here.
            timeout_s = min(self.config.timeout_s, PROBE_TIMEOUT_S)
            return call([*self._vtysh(), "-d", daemon, "-c", "show version"], timeout_s).code == 0
        except Timeout:
            return False

    def _commands(self, commands: Sequence[str], timeout_s: float) -> str:
        argv = [*self._vtysh(), *(word for command in commands for word in ("-c", command))]
        out = call(argv, timeout_s)
        if out.code != 0:
            raise NoAnswer(f"vtysh exited with {out.code}")
        return out.text

    def _vtysh(self) -> list[str]:
        return ["vtysh", *(("-N", self.config.pathspace) if self.config.pathspace else ())]

    def _down(self, silent: Sequence[str], detail: str) -> PlaneError:
        who = " and ".join(silent) or "vtysh"
        verb = "do" if len(silent) > 1 else "does"
        return PlaneError(
            "FRRDaemonDown",
            f"{self.instance}: {who} {verb} not answer" + (f" ({detail})" if detail else ""),
            "enable it in /etc/frr/daemons and look at `systemctl status frr`; nothing was written",
        )
