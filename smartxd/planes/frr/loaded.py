"""Whether the daemons have what frr.conf keeps for them: one that has just been started may not have it yet.

A daemon answers before its configuration is loaded (``vtysh -b``, by which watchfrr follows a restart). Who
takes what it runs then for what it should run, and saves that, loses what others have put into frr.conf.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from smartxd.planes.frr.running import Configuration, parse_running
from smartxd.planes.frr.vault import Vault
from smartxd.planes.frr.words import Path as Statement

LOAD_TIME_S = 10.0
"""For how long after its start a daemon that has part of its configuration is taken to be loading it."""
_SECTIONS = {
    "bgpd": ("router bgp ", "bgp "),
    "staticd": ("ip route ", "ipv6 route "),
    "bfdd": ("bfd",),
}
"""How the lines begin that a daemon alone keeps; all others are of any of the other daemons."""

_Life = tuple[str, int]
"""A daemon from one start to the next: it writes its pid file once."""


@dataclass(slots=True)
class Loaded:
    """What has been seen of the daemons of one instance of FRR."""

    file: Path
    """Its frr.conf."""
    run_dir: Path
    vault: Vault
    _looked_at: set[_Life] = field(default_factory=set)
    """The lives at the last look, and of these those that answered."""
    _answered: set[_Life] = field(default_factory=set)
    _seen: set[_Life] = field(default_factory=set)
    """The lives at the last look at which all ran what they should."""
    _known: set[_Life] = field(default_factory=set)
    """The lives that run what they should."""

    def lacking(self, running: Configuration, answering: Collection[str]) -> dict[str, frozenset[Statement]]:
        """What daemons that were started anew do not have of what frr.conf keeps for them, by daemon.

        A daemon that has part of it counts as loading for its first seconds only: somebody may have edited
        the file by hand.
        """
        self._looked_at = self._lives()
        self._answered = {life for life in self._looked_at if life[0] in answering}
        fresh = self._answered - self._known
        if not fresh:
            return {}
        found: dict[str, frozenset[Statement]] = {}
        kept = self.kept()
        for daemon, started_ns in fresh:
            wanted, has = _of(daemon, kept), _of(daemon, running)
            loading = 0 <= time.time() - started_ns / 1e9 < LOAD_TIME_S
            if not wanted <= has and (loading or not has):
                found[daemon] = wanted - has
        return found

    def accept(self) -> None:
        """The daemons that answered the last look run what they should."""
        self._seen, self._known = self._looked_at, self._answered

    @property
    def is_outdated(self) -> bool:
        """Whether a daemon has been started since the last look that was accepted."""
        return not self._lives() <= self._seen

    @property
    def is_whole(self) -> bool:
        """Whether each daemon that was started runs what it should, as far as is known."""
        return self._lives() <= self._known

    def _lives(self) -> set[_Life]:
        found: set[_Life] = set()
        for file in self.run_dir.glob("*.pid"):
            if file.stem == "watchfrr":
                continue
            try:
                found.add((file.stem, file.stat().st_mtime_ns))
            except OSError:
                continue
        return found

    def kept(self) -> Configuration:
        """What FRR's next start would begin with, passwords concealed; nothing where that cannot be read."""
        try:
            text = self.file.read_text("utf-8", "surrogateescape")
        except OSError:
            return Configuration()
        return parse_running(self.vault.conceal(text))


def _of(daemon: str, configuration: Configuration) -> frozenset[Statement]:
    """The statements that a daemon alone keeps, or one of those that have no sections of their own here."""
    own = _SECTIONS.get(daemon)
    others = (*(start for starts in _SECTIONS.values() for start in starts), "#")
    return frozenset(
        path
        for path in configuration.paths
        if (path[0].startswith(own) if own is not None else not path[0].startswith(others))
    )
