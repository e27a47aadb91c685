"""What a box says of itself: on the daemon's socket, in ``smartxctl status``, at the centre.

``-o json`` prints these models, so their fields are stable: they are added to, not renamed.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ConditionReport(_Frozen):
    """A condition of an object; ``object`` is ``Kind/name``."""

    object: str
    type: str
    status: bool
    reason: str
    message: str
    commit: str
    since: datetime


class SourceReport(_Frozen):
    """The repo, and what its last commit was judged."""

    url: str
    branch: str
    path: str
    head: str = ""
    """The newest commit seen, applied or refused."""
    checked_at: datetime | None = None
    findings: tuple[str, ...] = ()
    """Why ``head`` is not applied, ``file:line:column: …`` each; empty when it is."""


class SessionReport(_Frozen):
    """A BGP session."""

    owner: str
    address: str
    remote_as: int
    state: str
    uptime_s: int
    prefixes_received: int
    prefixes_sent: int
    last_error: str = ""


class VtepReport(_Frozen):
    """A remote VTEP, as the VXLAN link has learned or was told it."""

    address: str
    macs: int


class TunnelReport(_Frozen):
    """A VXLAN link of this box."""

    owner: str
    link: str
    vni: int
    local: str
    group: str
    up: bool
    vteps: tuple[VtepReport, ...] = ()


class PortReport(_Frozen):
    """A port of a bridge: ours (the VTEP) or plugged in by a VM or container."""

    port: str
    state: str
    """The bridge's STP state: ``forwarding``, ``disabled``, …"""
    macs: int


class BridgeReport(_Frozen):
    """A virtual switch of this box and its port table."""

    owner: str
    bridge: str
    addresses: tuple[str, ...] = ()
    ports: tuple[PortReport, ...] = ()


class ControlReport(_Frozen):
    """What ``smartxd run`` knows; ``GET /status`` on its socket."""

    box: str
    version: str
    at: datetime
    commit: str
    """The commit that is applied; empty before the first."""
    applied_at: datetime | None = None
    source: SourceReport
    conditions: tuple[ConditionReport, ...] = ()
    sessions: tuple[SessionReport, ...] = ()
    tunnels: tuple[TunnelReport, ...] = ()
    bridges: tuple[BridgeReport, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the box, and with it every object on it, is Ready."""
        return any(c.object == f"Box/{self.box}" and c.type == "Ready" and c.status for c in self.conditions)


class TracerReport(_Frozen):
    """What a policy has counted on one interface and direction since it was attached."""

    policy: str
    interface: str
    direction: str
    attached: bool
    packets: int
    bytes: int
    lost_packets: int
    packets_per_s: float
    """Over the last drain interval."""
    flows: int
    """Flow rows of the last drain interval."""


class StreamReport(_Frozen):
    """captured = received + pending + tombstoned + quarantined, in rows, since the store was made."""

    stream: str
    captured_rows: int
    received_rows: int
    """Acknowledged by the centre."""
    pending_rows: int
    tombstoned_rows: int
    quarantined_rows: int
    captured_batches: int
    pending_batches: int


class CaptureReport(_Frozen):
    """What ``smartxd capture`` knows, read from its store."""

    epoch: str
    """Names the store: batch numbers count from 1 within it."""
    at: datetime | None = None
    """When the maps were last drained."""
    tracers: tuple[TracerReport, ...] = ()
    streams: tuple[StreamReport, ...] = ()
    last_contact: datetime | None = None
    """When the centre last answered."""
    sync_error: str = ""


class BoxReport(_Frozen):
    """A whole box; either half is None where its process has never run or does not answer."""

    box: str
    control: ControlReport | None = None
    capture: CaptureReport | None = None
