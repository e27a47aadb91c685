"""What a box says of itself: on the daemon's socket, in ``smartxctl status``, at the centre.

``-o json`` prints these models, so their fields are stable: they are added to, not renamed.

A report travels, and where it is read its writer may be hostile. So every number and time has a bound, and
what is too long is cut rather than refused: a box with much to say must not fall silent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

LINE_MAX = 1000
"""Characters of a text."""
ITEMS_MAX = 4096
"""Items of a list."""
INTERVAL_S = 10.0
"""Between two reports of a box that does not say."""

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_T = TypeVar("_T")


def _instant(at: datetime) -> datetime:
    if not _FIRST <= at < _LAST:
        raise ValueError(f"not between {_FIRST.year} and {_LAST.year}")
    return at.astimezone(UTC)


def _line(text: str) -> str:
    return text if len(text) <= LINE_MAX else text[: LINE_MAX - 1] + "…"


def _first(items: tuple[_T, ...]) -> tuple[_T, ...]:
    return items[:ITEMS_MAX]


Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Rate = Annotated[float, Field(ge=0, lt=1e15, allow_inf_nan=False)]
Instant = Annotated[AwareDatetime, AfterValidator(_instant)]
Line = Annotated[str, AfterValidator(_line)]
Many = Annotated[tuple[_T, ...], AfterValidator(_first)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ConditionReport(_Frozen):
    """A condition of an object; ``object`` is ``Kind/name``."""

    object: Line
    type: Line
    status: bool
    reason: Line
    message: Line
    commit: Line
    since: Instant


class SourceReport(_Frozen):
    """The repo, and what its last commit was judged."""

    url: Line
    branch: Line
    path: Line
    head: Line = ""
    """The newest commit seen, applied or refused."""
    seen_at: Instant | None = None
    findings: Many[Line] = ()
    """Why ``head`` is not applied, ``file:line:column: …`` each; empty when it is."""


class FamilyReport(_Frozen):
    """What a session carries of one address family: ``ipv4``, ``ipv6`` or ``evpn``."""

    family: Line
    prefixes_received: Count
    prefixes_sent: Count
    prefixes_max: Count = 0
    """How many the other end may announce; 0 where that is not bounded."""
    limit: Line = ""
    """``near`` from the part of these on from which it is said, ``over`` beyond them."""


class SessionReport(_Frozen):
    """A BGP session."""

    owner: Line
    address: Line
    """Of an unnumbered session, the interface."""
    remote_as: Count
    state: Line
    """As FRR calls it; ``Absent`` where FRR has no such neighbour, ``Unknown`` where FRR does not answer."""
    uptime_s: Count
    prefixes_received: Count
    prefixes_sent: Count
    """Of all families."""
    last_error: Line = ""
    """Why it is down, or was down last: the cause, the notification, and what the other end said."""
    families: Many[FamilyReport] = ()
    bfd: Line = ""
    """``up``, ``down``, …; empty where the session has no BFD."""
    drops: Count = 0
    """How often it was lost since FRR was started."""


class MacReport(_Frozen):
    """A MAC address that EVPN knows."""

    mac: Line
    at: Line
    """The local interface, or the remote VTEP."""
    remote: bool


class VniReport(_Frozen):
    """A VNI of EVPN, as zebra knows it."""

    vni: Count
    type: Line
    """``L2``, or ``L3`` of a VRF."""
    link: Line
    vrf: Line
    vteps: Many[Line] = ()
    """Remote VTEPs."""
    macs: Count = 0
    neighbors: Count = 0
    """ARP and ND entries."""
    entries: Many[MacReport] = ()
    """The MACs; left out where all VNIs together have too many."""


class VtepReport(_Frozen):
    """A remote VTEP, as the VXLAN link has learned or was told it."""

    address: Line
    macs: Count


class TunnelReport(_Frozen):
    """A VXLAN link of this box."""

    owner: Line
    link: Line
    vni: Count
    local: Line
    group: Line
    up: bool
    vteps: Many[VtepReport] = ()


class PortReport(_Frozen):
    """A port of a bridge: ours (the VTEP) or plugged in by a VM or container."""

    port: Line
    state: Line
    """The bridge's STP state: ``forwarding``, ``disabled``, …"""
    macs: Count


class BridgeReport(_Frozen):
    """A virtual switch of this box and its port table."""

    owner: Line
    bridge: Line
    addresses: Many[Line] = ()
    ports: Many[PortReport] = ()


class ControlReport(_Frozen):
    """What ``smartxd run`` knows; ``GET /status`` on its socket."""

    box: Line
    version: Line
    at: Instant
    commit: Line
    """The commit that is applied; empty before the first."""
    applied_at: Instant | None = None
    source: SourceReport
    conditions: Many[ConditionReport] = ()
    sessions: Many[SessionReport] = ()
    tunnels: Many[TunnelReport] = ()
    bridges: Many[BridgeReport] = ()
    vnis: Many[VniReport] = ()

    @property
    def ready(self) -> bool:
        """Whether the box, and with it every object on it, is Ready."""
        return any(c.object == f"Box/{self.box}" and c.type == "Ready" and c.status for c in self.conditions)


class TracerReport(_Frozen):
    """What a policy has counted on one interface and direction since it was attached."""

    policy: Line
    interface: Line
    direction: Line
    attached: bool
    packets: Count
    """Seen: filtered, sampled out, lost, or recorded."""
    bytes: Count
    filtered_packets: Count = 0
    """Those that the policy's filters did not let through."""
    sampled_out_packets: Count = 0
    sampled_one_in: Count = 1
    """The sampling interval now."""
    asked_one_in: Count = 1
    """The one that the spec asks for: to keep to the policy's budget it may be larger now."""
    lost_packets: Count
    """Not counted into a flow, because the flow map was full."""
    ring_full_packets: Count = 0
    """Not recorded as packets, because they came faster than they were stored."""
    truncated_skbs: Count = 0
    """Of those to be recorded: ended before their headers did, or before they say."""
    malformed_skbs: Count = 0
    """Of those to be recorded: say of themselves what cannot be."""
    packets_per_s: Rate
    """Over the last drain interval."""
    flows: Count
    """Flows that had packets in the last drain interval."""
    records: Count = 0
    """Packets recorded one by one in the last drain interval."""


class UndrainedReport(_Frozen):
    """A policy of which nothing can be stored now; its maps keep what they hold."""

    policy: Line
    message: Line


class TracingReport(_Frozen):
    """What the last drain found of all policies."""

    tracers: Many[TracerReport] = ()
    undrained: Many[UndrainedReport] = ()


class StreamReport(_Frozen):
    """captured = received + pending + tombstoned + quarantined, in rows, since the store was made."""

    stream: Line
    captured_rows: Count
    received_rows: Count
    """Acknowledged by the centre."""
    pending_rows: Count
    tombstoned_rows: Count
    quarantined_rows: Count
    captured_batches: Count
    pending_batches: Count


class CaptureReport(TracingReport):
    """What ``smartxd capture`` knows, read from its store."""

    epoch: Line
    """Names the store, until its current file is lost: no batch number is given twice within it."""
    at: Instant | None = None
    """When the maps were last drained."""
    streams: Many[StreamReport] = ()
    last_contact: Instant | None = None
    """When the centre last answered."""
    sync_error: Line = ""


class BoxReport(_Frozen):
    """A whole box; either half is None where its process has never run or does not answer."""

    box: Line
    interval_s: Annotated[float, Field(gt=0, lt=1e9)] = INTERVAL_S
    """How long after this report the next one is due."""
    control: ControlReport | None = None
    capture: CaptureReport | None = None
