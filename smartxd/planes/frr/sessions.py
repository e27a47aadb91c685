"""Sessions from what bgpd prints as JSON, and what happened to one between two looks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from smartxd.objects import ObjectRef
from smartxd.planes.frr.bfd import BFDPeer
from smartxd.planes.frr.state import MaxPrefixes, Neighbor
from smartxd.report import FamilyReport, SessionReport

UP = "Established"
LIMITED = "Idle (PfxCt)"
"""How FRR calls the state of a neighbour that announced more than it may."""
NEAR, OVER = "near", "over"
"""Levels of a limit of prefixes, as reports call them."""
_SLACK_S = 2
"""bgpd counts whole seconds."""
_FAMILIES = {"ipv4Unicast": "ipv4", "ipv6Unicast": "ipv6", "l2VpnEvpn": "evpn"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A neighbour in bgpd's summary."""

    state: str
    since_s: int
    """How long it has been established, or not."""
    drops: int
    families: tuple[FamilyReport, ...]

    @property
    def up(self) -> bool:
        """Whether it is established."""
        return self.state == UP


ABSENT = Peer("Absent", 0, 0, ())
"""What FRR does not have."""


@dataclass(frozen=True, slots=True)
class Session:
    """A wanted session at one moment."""

    owner: ObjectRef
    name: str
    at: float
    """On the monotonic clock."""
    peer: Peer
    error: str = ""
    bfd: BFDPeer | None = None
    """None where it has no BFD."""

    def report(self, remote_as: int) -> SessionReport:
        """What the box says of it."""
        return SessionReport(
            owner=str(self.owner),
            address=self.name,
            remote_as=remote_as,
            state=self.peer.state,
            uptime_s=self.peer.since_s if self.peer.up else 0,
            prefixes_received=sum(f.prefixes_received for f in self.peer.families),
            prefixes_sent=sum(f.prefixes_sent for f in self.peer.families),
            last_error=self.error,
            families=self.peer.families,
            bfd=self.bfd.status if self.bfd else "",
            drops=self.peer.drops,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a session: a line of history."""

    owner: ObjectRef
    kind: str
    message: str


def unknown(neighbor: Neighbor) -> SessionReport:
    """What the box says of a session of which FRR says nothing."""
    session = Session(neighbor.owner, neighbor.name, 0.0, Peer("Unknown", 0, 0, ()))
    return session.report(neighbor.remote_as)


def peers(summary: Mapping[str, Any]) -> dict[str, Peer]:
    """The neighbours in ``show bgp summary json``, by address or interface; none where there is no BGP."""
    families: dict[str, list[FamilyReport]] = {}
    last: dict[str, Mapping[str, Any]] = {}
    for key, family in _FAMILIES.items():
        for name, said in summary.get(key, {}).get("peers", {}).items():
            counts = FamilyReport(
                family=family,
                prefixes_received=said.get("pfxRcd", 0),
                prefixes_sent=said.get("pfxSnt", 0),
            )
            families.setdefault(name, []).append(counts)
            last[name] = said
    return {
        name: Peer(
            state=str(said["state"]),
            since_s=int(said.get("peerUptimeMsec", 0)) // 1000,
            drops=int(said.get("connectionsDropped", 0)),
            families=tuple(families[name]),
        )
        for name, said in last.items()
    }


def limited(peer: Peer, neighbor: Neighbor) -> Peer:
    """A neighbour with how many prefixes it may announce, and whether it is near or over that.

    bgpd does not tell when it has warned: it does so from the same counts (``bgp_maximum_prefix_overflow``).
    """
    limits: dict[str, MaxPrefixes | None] = {f.family: f.max_prefixes for f in neighbor.families}
    return replace(peer, families=tuple(_limited(f, limits.get(f.family)) for f in peer.families))


def _limited(family: FamilyReport, limit: MaxPrefixes | None) -> FamilyReport:
    if limit is None:
        return family
    count, level = family.prefixes_received, ""
    if count > limit.limit:
        level = OVER
    elif count > limit.limit * limit.warn_at_percent // 100:
        level = NEAR
    return family.model_copy(update={"prefixes_max": limit.limit, "limit": level})


def error(detail: Mapping[str, Any]) -> str:
    """Why a neighbour was reset last, from its part of ``show bgp neighbors NAME json``; empty where never.

    ``BGP Notification received: Cease/Administrative Shutdown: "back at noon"``
    """
    cause = str(detail.get("lastResetDueTo", ""))
    notification = str(detail.get("lastNotificationReason", ""))
    said = str(detail.get("lastShutdownDescription", ""))
    parts = (cause, notification, f'"{said}"' if said else "")
    return _printable(": ".join(part for part in parts if part))


def changes(before: Session, now: Session) -> Iterator[Change]:
    """What happened between two looks at one session; what came and went between them too."""
    was, is_ = before.peer, now.peer
    name, why = now.name, f": {now.error}" if now.error else ""
    lost = max(0, is_.drops - was.drops)
    elapsed_s = now.at - before.at
    # A bgpd that was started anew counts from 0; but its session is younger than the look before.
    anew = was.up and is_.up and is_.since_s + _SLACK_S < was.since_s + elapsed_s
    often = f", {lost} times since the last look" if lost > 1 else ""
    if was.up and (not is_.up or lost or anew):
        up_s = was.since_s + max(0, round(elapsed_s) - is_.since_s)
        yield Change(now.owner, "SessionDown", f"{name}: down after {timedelta(seconds=up_s)}{often}{why}")
    elif not is_.up and lost:
        yield Change(now.owner, "SessionDown", f"{name}: established and down again{often}{why}")
    if is_.up and (not was.up or lost or anew):
        yield Change(now.owner, "SessionUp", f"{name}: established")
    if is_.up:
        yield from _counts(now, {} if lost or anew or not was.up else {f.family: f for f in was.families})
    if is_.state == LIMITED != was.state:
        yield Change(now.owner, "PrefixLimitReached", f"{name}: it announces more prefixes than it may{why}")
    if before.bfd and now.bfd and before.bfd.up != now.bfd.up:
        if now.bfd.up:
            yield Change(now.owner, "BFDUp", f"{name}: BFD is up")
        elif before.bfd.up:
            yield Change(now.owner, "BFDDown", f"{name}: BFD is {now.bfd}")


def _counts(now: Session, before: Mapping[str, FamilyReport]) -> Iterator[Change]:
    """What the counts of prefixes of a session that is up came to, since those of ``before``."""
    for family in now.peer.families:
        had = before[family.family].limit if family.family in before else ""
        told = (
            f"{now.name}: it announces {family.prefixes_received} prefixes of {family.family}, "
            f"and may {family.prefixes_max}"
        )
        if family.limit == OVER != had:
            yield Change(now.owner, "PrefixLimitReached", f"{told}; they are taken all the same")
        elif had == OVER != family.limit:
            yield Change(now.owner, "PrefixLimitKept", f"{told} again")
        elif family.limit == NEAR != had:
            yield Change(now.owner, "PrefixLimitNear", told)


def _printable(text: str) -> str:
    """On one line: the other end wrote a part of it."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
