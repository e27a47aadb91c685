"""FRR as a plane: observe, plan, apply, and what its sessions do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.planes.frr import apply as applying
from smartxd.planes.frr import diff
from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.saved import Saved
from smartxd.planes.frr.state import PLANE, FRRState
from smartxd.planes.frr.vtysh import Vtysh
from smartxd.reconcile.plan import Ownership, Plan, Result
from smartxd.report import SessionReport

SESSIONS_TIMEOUT_S = 3.0
"""Status waits for the sessions: a daemon that hangs must not hold it up for as long as a round may take."""


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
        self._saved = Saved(self._vtysh)
        self._hung = False

    @property
    def run_dir(self) -> Path:
        """Where the daemons' start and end can be watched."""
        return self._vtysh.run_dir

    def has_leftovers(self) -> bool:
        """Whether what was written last has still to be saved."""
        return self._saved.pending

    def observe(self) -> FRRObserved:
        """The running configuration; PlaneError ``FRRMissing`` or ``FRRDaemonDown``.

        What could not be saved after it was written is saved now that every daemon has answered.
        """
        running = applying.observe(self._vtysh)
        self._hung = False
        self._saved.catch_up()
        return FRRObserved(running)

    def plan(self, desired: FRRState, observed: FRRObserved, owned: Ownership) -> Plan:
        """The steps from observed to desired; what is foreign and in the way, or not saved, is a Problem."""
        found = diff.plan(desired, observed.running, owned)
        return replace(found, problems=(*found.problems, *self._saved.problems()))

    def apply(self, plan: Plan, observed: FRRObserved) -> Iterator[Result]:
        """Do the steps as one batch; PlaneError before anything is written where a daemon does not answer."""
        owners = {action.owner for action in plan.actions}
        results = tuple(
            applying.apply(self._vtysh, plan, observed.running, lambda: self._saved.lacks(owners))
        )
        self._saved.catch_up()
        unsaved = {problem.owner: problem for problem in self._saved.problems()}
        for result in results:
            yield Result(result.action, result.problem or unsaved.get(result.action.owner))

    def sessions(self, desired: FRRState) -> tuple[SessionReport, ...]:
        """The sessions of ``desired`` as bgpd sees them; one that is not there is ``Absent``.

        PlaneError soon where FRR does not answer, and then at once until ``observe`` has had an answer.
        """
        if desired.bgp is None or not desired.bgp.neighbors:
            return ()
        if self._hung:
            raise PlaneError("FRRDaemonDown", f"{self._vtysh.instance} did not answer when it was last asked")
        try:
            # One call for both: it is vtysh's start that costs.
            output = self._vtysh.glance(
                "show bgp summary json", "show bgp summary failed json", timeout_s=SESSIONS_TIMEOUT_S
            )
        except PlaneError:
            self._hung = True
            raise
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
