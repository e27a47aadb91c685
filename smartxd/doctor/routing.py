"""FRR, its daemons, and the box's secrets."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smartxd.config import Config
from smartxd.doctor.finding import Finding, Verdict, judged
from smartxd.doctor.needs import Needs
from smartxd.planes.frr.health import Health, examine, secret_faults

_DAEMONS = ("zebra", "bgpd", "staticd", "bfdd")
_ALWAYS_ON = frozenset({"zebra", "staticd", "mgmtd", "watchfrr"})
"""FRR's service starts them whatever /etc/frr/daemons says."""
_PURPOSE = {"zebra": "BGP", "bgpd": "BGP", "staticd": "Routes that FRR keeps", "bfdd": "BFD of sessions"}


@dataclass(frozen=True, slots=True)
class RoutingLooks:
    """Looks at FRR; files are below ``root``."""

    config: Config
    needs: Needs
    root: Path = Path("/")

    def frr(self) -> Iterator[Finding]:
        """Whether FRR is there, known, and each of its daemons answers."""
        health = examine(self.config.frr, _DAEMONS)
        if health.missing is not None:
            wrong, advice = health.missing.message, health.missing.hint
            yield judged("frr", wrong, "", "BGP", advice, needed=self.needs.frr)
            return
        yield self._version(health)
        for daemon in _DAEMONS:
            yield self._daemon(daemon, answers=daemon not in health.silent)

    def secrets(self) -> Iterator[Finding]:
        """Whether the passwords and keys that specs name can be used, and by nobody else."""
        folder, needed = self.config.secrets_dir, self.needs.secrets
        purpose = "passwords of BGP sessions, keys of pseudonyms"
        faults = secret_faults(folder, needed)
        for name, fault in faults.items():
            verdict = Verdict.FAIL if name in needed else Verdict.WARNING
            what, _, advice = fault.message.partition(": ")
            yield Finding("secrets", verdict, what, purpose, advice or "chown root and chmod 600 it")
        exposed = folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) & 0o077
        if exposed:
            found = f"{folder} can be entered by others (mode {stat.S_IMODE(folder.stat().st_mode):o})"
            yield Finding("secrets", Verdict.WARNING, found, purpose, f"chmod 700 {folder}")
        if not faults and not exposed:
            found = f"the specs name {len(needed)}, and all can be used"
            yield Finding("secrets", Verdict.OK, found, purpose)

    def _version(self, health: Health) -> Finding:
        known = ", ".join(health.known)
        if not health.version:
            found = "installed; it does not say its version while zebra is down"
            return judged("frr", found, "", "BGP", "systemctl enable --now frr", needed=self.needs.frr)
        major = ".".join(health.version.split(".")[:2])
        return judged(
            "frr",
            "" if health.tested else f"version {health.version}; smartxd drives {known}",
            f"version {health.version}",
            "BGP",
            f"to let it try, add {major!r} to frr.accept in smartxd.toml",
            needed=self.needs.frr,
        )

    def _daemon(self, daemon: str, *, answers: bool) -> Finding:
        wrong, advice = "", ""
        if not answers:
            off = self.config.frr.pathspace is None and not self._enabled(daemon)
            wrong = "is not enabled" if off else "does not answer"
            enable = f"{daemon}=yes in /etc/frr/daemons, then " if off else ""
            advice = f"{enable}systemctl restart frr"
        needed = daemon in self.needs.daemons
        return judged(daemon, wrong, "answers", _PURPOSE[daemon], advice, needed=needed)

    def _enabled(self, daemon: str) -> bool:
        if daemon in _ALWAYS_ON:
            return True
        try:
            text = (self.root / "etc/frr/daemons").read_text(errors="replace")
        except OSError:
            return False
        return re.search(rf"^\s*{daemon}=[\"']?yes", text, re.MULTILINE) is not None
