"""A look at what FRR's daemons do: sessions, BFD, EVPN. Each is asked over its own socket, within a bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from smartxd.planes.frr import bfd, evpn, sessions
from smartxd.planes.frr.bfd import BFDPeer
from smartxd.planes.frr.sessions import Change, Peer, Session
from smartxd.planes.frr.state import FRRState, Neighbor
from smartxd.planes.frr.vty import NoReply, Vty
from smartxd.report import SessionReport, VniReport

DETAILS_MAX = 64
"""Neighbours that are asked about one by one in a look; the others keep what was last known of them."""

_UNREADABLE = (NoReply, TypeError, ValueError, AttributeError, LookupError)
"""No answer, or JSON of another shape: of another FRR."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Look:
    """What FRR does at one moment, and what happened since the look before."""

    sessions: Mapping[str, SessionReport]
    """The wanted ones, by the neighbour's name; none where bgpd does not answer."""
    vnis: tuple[VniReport, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why a neighbour was reset last, and what was seen of it when that was asked."""

    text: str
    up: bool
    drops: int
    look: int


class Looker:
    """Looks at one FRR again and again, and remembers what it saw; for one thread."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._known: dict[str, Session] = {}
        self._reasons: dict[str, _Reason] = {}
        self._looks = 0

    def look(self, desired: FRRState) -> Look:
        """What FRR does of what is desired; what does not answer is left out."""
        self._looks += 1
        wanted = {n.name: n for n in desired.neighbors}
        found = self._sessions(wanted) if wanted else {}
        # What is not known now will be compared with what was known last.
        before = {name: session for name, session in self._known.items() if name in wanted}
        known = {name: _known(session, before.get(name)) for name, session in found.items()}
        changes = tuple(
            change
            for name in sorted(known.keys() & before)
            for change in sessions.changes(before[name], known[name])
        )
        self._known = {**before, **known}
        reports = {name: session.report(wanted[name].remote_as) for name, session in found.items()}
        router = desired.router
        vnis = self._vnis() if router is not None and router.advertise_all_vni else ()
        return Look(reports, vnis, changes)

    def _sessions(self, wanted: Mapping[str, Neighbor]) -> dict[str, Session]:
        at = time.monotonic()
        seen = self._ask("bgpd", lambda vty: self._peers(vty, list(wanted)), None)
        if seen is None:
            return {}
        heard = self._bfd() if any(n.bfd_profile for n in wanted.values()) else {}
        return {
            name: Session(
                neighbor.owner,
                name,
                at,
                peer=sessions.limited(seen.get(name, sessions.ABSENT), neighbor),
                error=self._reason(name, seen.get(name, sessions.ABSENT)),
                bfd=_heard(heard, name) if neighbor.bfd_profile else None,
            )
            for name, neighbor in wanted.items()
        }

    def _peers(self, vty: Vty, names: list[str]) -> dict[str, Peer]:
        """The neighbours, once it is known of each why it was reset last, or of as many as is fair to ask."""
        seen = sessions.peers(vty.show("show bgp summary"))
        self._reasons = {name: reason for name, reason in self._reasons.items() if name in names}

        def age(name: str) -> tuple[bool, int]:
            """What has just changed first, then what was asked longest ago."""
            reason, peer = self._reasons.get(name), seen[name]
            same = reason is not None and (reason.up, reason.drops) == (peer.up, peer.drops)
            return same, reason.look if reason else 0

        asked = [name for name in names if name in seen and self._puzzling(name, seen[name])]
        for name in sorted(asked, key=age)[:DETAILS_MAX]:
            detail = vty.show(f"show bgp neighbors {name}").get(name, {})
            peer = seen[name]
            self._reasons[name] = _Reason(sessions.error(detail), peer.up, peer.drops, self._looks)
        return seen

    def _reason(self, name: str, peer: Peer) -> str:
        """Why it is down, or was last; what it waited for before it came up the first time is past."""
        known = self._reasons.get(name)
        return known.text if known is not None and (peer.drops or not peer.up) else ""

    def _puzzling(self, name: str, peer: Peer) -> bool:
        """Whether bgpd has to be asked why it was reset: it is down, or has been since that was asked."""
        reason = self._reasons.get(name)
        return not peer.up or peer.drops != (reason.drops if reason else 0)

    def _bfd(self) -> dict[str, BFDPeer] | None:
        return self._ask("bfdd", lambda vty: bfd.states(vty.show("show bfd peers") or ()), None)

    def _vnis(self) -> tuple[VniReport, ...]:
        return self._ask("zebra", _vnis, ())

    def _ask(self, daemon: str, questions: Callable[[Vty], _T], otherwise: _T) -> _T:
        """The answer of a daemon; ``otherwise`` where there is none, or none that can be read."""
        try:
            with Vty(self._run_dir / f"{daemon}.vty") as vty:
                return questions(vty)
        except _UNREADABLE:
            return otherwise


def _vnis(vty: Vty) -> tuple[VniReport, ...]:
    found = evpn.vnis(vty.show("show evpn vni detail") or ())
    few = evpn.few(found)
    return tuple(
        v.model_copy(update={"entries": evpn.entries(vty.show(f"show evpn mac vni {v.vni}"))})
        if v.vni in few
        else v
        for v in found
    )


def _heard(states: Mapping[str, BFDPeer] | None, name: str) -> BFDPeer:
    return bfd.UNKNOWN if states is None else states.get(name, bfd.ABSENT)


def _known(session: Session, before: Session | None) -> Session:
    """A session as one look is compared with the next: what bfdd does not tell is what it told last."""
    if session.bfd is bfd.UNKNOWN:
        return replace(session, bfd=before.bfd if before else None)
    return session
