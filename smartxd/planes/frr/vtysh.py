"""The programs that speak to FRR, each call bounded in time and killed with all its children."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.planes.frr.needs import DAEMONS
from smartxd.planes.frr.running import Configuration, parse_running
from smartxd.planes.frr.vault import Vault
from smartxd.planes.frr.vty import NoReply, Vty

TESTED = ("8.4",)
"""The versions of FRR whose way of printing its configuration the tests know."""

OBSERVE_TIMEOUT_S = 10.0
"""To read what runs takes 50 ms for hundreds of neighbours; a daemon that hangs is known sooner so."""

PATIENCE_S = 10.0
"""For daemons to answer before they are said not to: one that takes in a large table is busy for seconds."""

PROBE_TIMEOUT_S = 2.0
"""For one more, where the others have taken all of that: milliseconds when it is well."""

BATCH_BYTES = 100_000
"""Of a batch for which a call's bound is meant; that of 1,000 neighbours with policies is eight times it."""

_RUN_DIR = Path("/var/run/frr")
_CONFIG_DIR = Path("/etc/frr")
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
    # vtysh would write what it is told into root's history. Where it is given a pager, even cat, it starts it
    # anew for each line of a file.
    env = {**os.environ, "LC_ALL": "C.UTF-8", "VTYSH_HISTFILE": os.devnull}
    env.pop("VTYSH_PAGER", None)
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
    vault: Vault

    @property
    def instance(self) -> str:
        """How messages name the instance."""
        return f"FRR (-N {self.config.pathspace})" if self.config.pathspace else "FRR"

    @property
    def saved_file(self) -> Path:
        """Where FRR keeps its configuration."""
        return _CONFIG_DIR / (self.config.pathspace or "") / "frr.conf"

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

    def observe(self) -> tuple[Configuration, frozenset[str]]:
        """The running configuration, passwords concealed, and the daemons that took part.

        vtysh leaves out a dead daemon's part of the configuration without a word. One call therefore asks
        for both: who takes part, and what it has. PlaneError where a daemon that is always needed is dead or
        hangs, where FRR is missing, and for a version whose words are not known.
        """
        self.require()
        answer = self.command("show daemons", "show running-config", timeout_s=OBSERVE_TIMEOUT_S)
        first, _, output = answer.partition("\n")
        answering = frozenset(first.split())
        if missing := [daemon for daemon in DAEMONS if daemon not in answering]:
            raise self.down(missing)
        running = parse_running(self.vault.conceal(output))
        self._require_tested(running.version)
        return running, answering

    def words(self) -> Mapping[str, str]:
        """What each daemon that was started prints of its own configuration; of one that is silent nothing.

        No vtysh is started for it, and nothing is put together: it serves to see that nothing has changed.
        """
        found: dict[str, str] = {}
        for daemon in self.started():
            with contextlib.suppress(NoReply), Vty(self.run_dir / f"{daemon}.vty") as vty:
                found[daemon] = vty.text("show running-config")
        return found

    def command(self, *commands: str, timeout_s: float = float("inf")) -> str:
        """What the commands print; PlaneError when FRR does not answer, naming the daemons that do not."""
        argv = [*self._vtysh(), *(word for command in commands for word in ("-c", command))]
        bound_s = min(timeout_s, self.config.timeout_s)
        try:
            return self._asked(argv, bound_s)
        except NoAnswer as err:
            if silent := self._silent_ones():
                raise self.down(silent, str(err)) from err
        # All were too busy, and are well again.
        try:
            return self._asked(argv, bound_s)
        except NoAnswer as err:
            raise self.down(self._silent_ones(), str(err)) from err

    def _asked(self, argv: Sequence[str], bound_s: float) -> str:
        out = call(argv, bound_s)
        if out.code != 0:
            raise NoAnswer(f"vtysh exited with {out.code}")
        return out.text

    def file(self, path: Path) -> Output:
        """Apply a batch of commands; some may be applied and others refused.

        A large one may take longer than other calls: FRR needs a millisecond for a line, and more in a map.
        """
        bound_s = self.config.timeout_s * (1 + path.stat().st_size // BATCH_BYTES)
        try:
            return call([*self._vtysh(), "-f", str(path)], bound_s, merged=True)
        except Timeout as err:
            raise self.down(self._silent_ones(), str(err), "part of it may have been written") from err

    def delta(self, running: Path, target: Path) -> str:
        """What frr-reload would do to get from one file to the other; no daemon is asked.

        BadLine for the first line of ``target`` that is not FRR's: frr-reload then still prints a delta, in
        which everything behind that line is deleted. NoAnswer where it fails over lines that are.
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
            raise NoAnswer(f"{self.config.reload.name} exited with {out.code}: {said}")
        return out.text

    def probe(self, daemons: Sequence[str]) -> None:
        """PlaneError unless each of the daemons answers."""
        if silent := self.silent(daemons):
            raise self.down(silent)

    def silent(self, daemons: Sequence[str]) -> list[str]:
        """Those of ``daemons`` that are dead, which shows at once, or do not answer in time."""
        until = time.monotonic() + PATIENCE_S
        return [d for d in daemons if not self._answers(d, max(until - time.monotonic(), PROBE_TIMEOUT_S))]

    def started(self) -> list[str]:
        """The daemons that were started and not stopped again on purpose, by their pid files."""
        return sorted(p.stem for p in self.run_dir.glob("*.pid") if p.stem != "watchfrr")

    def _answers(self, daemon: str, timeout_s: float) -> bool:
        try:
            with Vty(self.run_dir / f"{daemon}.vty", min(self.config.timeout_s, timeout_s)):
                return True
        except NoReply:
            return False

    def _vtysh(self) -> list[str]:
        return ["vtysh", *(("-N", self.config.pathspace) if self.config.pathspace else ())]

    def _silent_ones(self) -> list[str]:
        """Of all daemons that should run those that do not answer."""
        return self.silent(sorted({*DAEMONS, *self.started()}))

    def _require_tested(self, version: str) -> None:
        known = (*TESTED, *self.config.accept)
        if not any(version == one or version.startswith(f"{one}.") for one in known):
            raise PlaneError(
                "FRRUntested",
                f"{self.instance} is version {version or 'unknown'}, and smartxd knows how "
                f"{', '.join(known)} prints its configuration: nothing is written",
                f"add {'.'.join(version.split('.')[:2])!r} to frr.accept in smartxd.toml to let it try",
            )

    def down(
        self, silent: Sequence[str], detail: str = "", written: str = "nothing was written"
    ) -> PlaneError:
        """The error for daemons that do not answer, and how far that came."""
        who = " and ".join(silent) or "vtysh"
        verb = "do" if len(silent) > 1 else "does"
        return PlaneError(
            "FRRDaemonDown",
            f"{self.instance}: {who} {verb} not answer" + (f" ({detail})" if detail else ""),
            f"enable it in /etc/frr/daemons and look at `systemctl status frr`; {written}",
        )
