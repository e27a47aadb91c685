"""What the daemon says of its box: the report on the socket, and what happened to sessions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from smartxd import __version__
from smartxd.daemon.converger import Converger
from smartxd.daemon.errand import Target
from smartxd.errors import PlaneError
from smartxd.objects import Event, ObjectRef
from smartxd.planes.frr.look import Look
from smartxd.planes.frr.sessions import unknown
from smartxd.report import ConditionReport, ControlReport, SourceReport

CHANGES_MAX = 100
"""Changes of sessions that one look writes into the history."""


def account(
    box: str, converger: Converger, source: SourceReport, target: Target | None, look: Look
) -> ControlReport:
    """The report of this moment; of the sessions, what was seen of them last."""
    report = ControlReport(
        box=box,
        version=__version__,
        at=datetime.now(UTC),
        commit=target.commit if target else "",
        applied_at=target.taken_at if target else None,
        source=source,
        conditions=tuple(
            ConditionReport(
                object=str(c.object),
                type=c.type,
                status=c.status,
                reason=c.reason,
                message=c.message,
                commit=c.commit,
                since=c.since,
            )
            for c in converger.conditions
        ),
    )
    if target is None:
        return report
    neighbors = target.desired.frr.neighbors
    sessions = tuple(look.sessions.get(n.name) or unknown(n) for n in neighbors)
    report = report.model_copy(update={"sessions": sessions, "vnis": look.vnis})
    try:
        kernel = converger.kernel
        tunnels, bridges = kernel.forwarding(target.desired.kernel, kernel.observe())
    except PlaneError:
        return report  # the conditions say what is wrong with the kernel
    return report.model_copy(update={"tunnels": tunnels, "bridges": bridges})


def happened(look: Look, box: ObjectRef, commit: str) -> Iterator[Event]:
    """What happened to sessions since the look before, as history; a storm is cut short."""
    now = datetime.now(UTC)
    for change in look.changes[:CHANGES_MAX]:
        yield Event(now, commit, change.owner, change.kind, change.message)
    if (more := len(look.changes) - CHANGES_MAX) > 0:
        yield Event(now, commit, box, "SessionsChanged", f"{more} more changes of sessions at once")
