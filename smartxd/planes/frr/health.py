"""What is there of FRR, for those who look before smartxd does: nothing is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.planes.frr.needs import DAEMONS
from smartxd.planes.frr.vault import Vault
from smartxd.planes.frr.vtysh import TESTED, Vtysh
from smartxd.secrets import SecretFault

_VERSION = re.compile(r"FRRouting (\d+(?:\.\d+)*)")


@dataclass(frozen=True, slots=True)
class Health:
    """An instance of FRR as it is found."""

    missing: PlaneError | None = None
    """Why it cannot be driven at all."""
    silent: tuple[str, ...] = ()
    """Daemons that do not answer."""
    version: str = ""
    """Empty where nobody says it."""
    known: tuple[str, ...] = TESTED
    """Versions that smartxd drives."""

    @property
    def tested(self) -> bool:
        """Whether smartxd drives this version."""
        return any(self.version == one or self.version.startswith(f"{one}.") for one in self.known)


def examine(config: FRRConfig, daemons: Sequence[str] = DAEMONS) -> Health:
    """Ask FRR, and each of the daemons."""
    vtysh = Vtysh(config, Vault(Path()))
    known = (*TESTED, *config.accept)
    try:
        vtysh.require()
    except PlaneError as err:
        return Health(missing=err, known=known)
    silent = tuple(vtysh.silent(daemons))
    try:
        said = _VERSION.search(vtysh.command("show version")) if "zebra" not in silent else None
    except PlaneError:
        said = None
    return Health(silent=silent, version=said[1] if said else "", known=known)


def secret_faults(folder: Path, names: Sequence[str]) -> Mapping[str, SecretFault]:
    """What is wrong with the named secrets, and with the others of the folder."""
    found = Vault(folder).read()
    wrong = {name: fault for name in names if (fault := found.fault(name)) is not None}
    return {**found.faults, **wrong}
