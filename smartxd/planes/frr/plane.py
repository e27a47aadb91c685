"""FRR as a plane: observe, plan, apply, and what its sessions do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.planes.frr import apply as applying
from smartxd.planes.frr import diff
from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.state import PLANE, FRRState
from smartxd.planes.frr.vtysh import Vtysh
from smartxd.reconcile.plan import Ownership, Plan, Result
from smartxd.report import SessionReport


@dataclass(frozen=True, slots=True)
class FRRObserved:
    """The running configuration, without preamble and version."""

    running: Configuration

    @property
    def text(self) -> str:
        """Byte for byte as FRR prints it."""
        return self.running.text


class FRRPlane:
    """The routing daemons of one box."""

    name = PLANE

    def __init__(self, config: FRRConfig) -> None:
        self._vtysh = Vtysh(config)

    @property
    def run_dir(self) -> Path:
        """Where the daemons' start and end can be watched."""
        return self._vtysh.run_dir

    def available(self) -> bool:
        """Whether FRR is installed. A box whose specs ask nothing of FRR does without."""
        return self._vtysh.installed()

    def observe(self) -> FRRObserved:
        """The running configuration; PlaneError ``FRRMissing`` or ``FRRDaemonDown``."""
        return FRRObserved(applying.observe(self._vtysh))

    def plan(self, desired: FRRState, observed: FRRObserved, owned: Ownership) -> Plan:
        """The steps from observed to desired; what is foreign and in the way is a Problem."""
        return diff.plan(desired, observed.running, owned)

    def apply(self, plan: Plan, observed: FRRObserved) -> Iterator[Result]:
        """Do the steps as one batch; PlaneError before anything is written where a daemon does not answer."""
        return applying.apply(self._vtysh, plan, observed.running)

    def sessions(self, desired: FRRState) -> tuple[SessionReport, ...]:
        """The sessions of ``desired`` as bgpd sees them; one that is not there is ``Absent``."""
        if desired.bgp is None or not desired.bgp.neighbors:
            return ()
        # One call for both: it is vtysh's start that costs.
        output = self._vtysh.command("show bgp summary json", "show bgp summary failed json")
        summary, failed = _summaries(output)
        return tuple(
            SessionReport(
                owner=str(neighbor.owner),
                address=neighbor.address,
                remote_as=neighbor.remote_as,
                state=str(peer.get("state", "Absent")),
                uptime_s=int(peer.get("peerUptimeMsec", 0)) // 1000,
                prefixes_received=int(peer.get("pfxRcd", 0)),
                prefixes_sent=int(peer.get("pfxSnt", 0)),
                last_error=str(failed.get(neighbor.address, {}).get("lastResetDueTo", "")),
            )
            for neighbor in desired.bgp.neighbors
            for peer in (summary.get(neighbor.address, {}),)
        )


def _summaries(output: str) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The peers of IPv4 unicast in each of two summaries; none where BGP is not configured."""
    decoder, rest = json.JSONDecoder(), output.strip()
    found: list[dict[str, dict[str, Any]]] = []
    try:
        while rest:
            families, end = decoder.raw_decode(rest)
            family = families.get("ipv4Unicast", {}) if isinstance(families, dict) else {}
            found.append(family.get("peers", {}))
            rest = rest[end:].lstrip()
    except json.JSONDecodeError as err:
        raise PlaneError("FRRUnreadable", f"bgpd's summary is not JSON: {err}") from err
    summary, failed = (*found, {}, {})[:2]
    return summary, failed
