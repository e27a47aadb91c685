"""FRR's own shell."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.planes.frr.needs import DAEMONS
from smartxd.planes.frr.program import INSTALL, NoAnswer, Output, Timeout, call
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


@dataclass(frozen=True, slots=True)
class Vtysh:
    """FRR's shell for one instance of FRR."""

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
            raise PlaneError("FRRMissing", "FRR is not installed: there is no vtysh", INSTALL)
        if not self.config.reload.is_file():
            raise PlaneError("FRRMissing", f"FRR's reload tool is not there: {self.config.reload}", INSTALL)

    def observe(self, *, save: bool = False) -> tuple[Configuration, frozenset[str]]:
        """The running configuration, passwords concealed, and the daemons that took part.

        vtysh leaves out a dead daemon's part of the configuration without a word. One call therefore asks
        for both: who takes part, and what it has; with ``save`` it writes that to frr.conf as well.
        PlaneError where a daemon that is always needed is dead or hangs, where FRR is missing, and for a
        version whose words are not known.
        """
        self.require()
        commands = "show daemons", "show running-config", *(("write memory",) if save else ())
        answer = self.command(*commands, timeout_s=OBSERVE_TIMEOUT_S)
        first, _, output = answer.partition("\n")
        answering = frozenset(first.split())
        if missing := [daemon for daemon in DAEMONS if daemon not in answering]:
            raise self.down(missing)
        text, end, _ = output.rpartition("\nend\n")  # Behind it stands what is said of saving.
        running = parse_running(self.vault.conceal(f"{text}\n" if end else output))
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
