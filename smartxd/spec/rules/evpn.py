"""EVPN tunnels: a path of EVPN sessions between all members."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.tunnel import EVPNFlood, TunnelSpec

EVPN_SPEAKER = Rule(
    "SX321",
    "evpn-speaker",
    "Each box of an EVPN tunnel has a BGPRouter that speaks l2vpnEvpn.",
    "Its VTEPs and MACs are told by BGP alone: a box without a speaker hears of no other and is heard by"
    " none. Declare a BGPRouter with `families: [ipv4Unicast, l2vpnEvpn]`, or choose another flood mode.",
)
EVPN_PATH = Rule(
    "SX322",
    "evpn-path",
    "BGP carries EVPN routes between all boxes of an EVPN tunnel.",
    "Routes pass from speaker to speaker over sessions with the family l2vpnEvpn. What was learned by"
    " iBGP is told to other iBGP neighbours by a route reflector only (RFC 4456): join all boxes of an AS"
    " with each other, or each with a reflector whose end says `routeReflectorClient: true`. A speaker"
    " refuses a route with its own AS number in the path unless `allowAsIn` lets it.",
)

_FAMILY = "l2vpnEvpn"


def evpn_boxes_speak(fleet: Fleet) -> Iterator[Finding]:
    """Each box of an EVPN tunnel has a speaker with the family."""
    for tunnel in _evpn_tunnels(fleet):
        for box in fleet.members(tunnel):
            router = fleet.router_of(box)
            if router is None:
                yield tunnel.finding(EVPN_SPEAKER, ("flood", "mode"), f"{box} has no BGPRouter")
                break
            if _FAMILY not in router.spec.families:
                at = router.at("families")
                message = f"{router.ref} of {box} does not speak {_FAMILY} ({at})"
                yield tunnel.finding(EVPN_SPEAKER, ("flood", "mode"), message, other=at)
                break


def evpn_routes_reach_all(fleet: Fleet) -> Iterator[Finding]:
    """The routes of each box of an EVPN tunnel reach all others."""
    sessions = _Sessions.of(fleet)
    for tunnel in _evpn_tunnels(fleet):
        members = fleet.members(tunnel)
        if not all(sessions.speaks(box) for box in members):
            continue  # said by the other rule
        for box in members:
            reached = sessions.reached_from(box)
            missed = next((other for other in members if other not in reached), None)
            if missed is not None:
                message = f"no EVPN routes come from {box} to {missed}; {sessions.where_it_ends(box)}"
                yield tunnel.finding(EVPN_PATH, ("flood", "mode"), message)
                break


def _evpn_tunnels(fleet: Fleet) -> Iterator[Object[TunnelSpec]]:
    return (t for t in fleet.tunnels.values() if isinstance(t.spec.flood, EVPNFlood))


@dataclass(slots=True)
class _Sessions:
    """The EVPN sessions of a fleet, by box: who tells whom what."""

    asns: dict[str, int]
    """AS number of each box that speaks EVPN."""
    external: dict[str, list[tuple[str, bool]]] = field(default_factory=lambda: defaultdict(list))
    """Other boxes over eBGP, and whether they take a path with their own AS number."""
    clients: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Other boxes over iBGP that are clients of a box."""
    others: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Other boxes over iBGP that are none."""
    _reached: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, fleet: Fleet) -> _Sessions:
        asns: dict[str, int] = {}
        for box in fleet.boxes:
            router = fleet.router_of(box)
            if router is not None and _FAMILY in router.spec.families and (asn := fleet.asn_of(router)):
                asns[box] = asn
        made = cls(asns)
        for peer in fleet.peers.values():
            ends = peer.spec.box_ends
            if len(ends) != 2 or _FAMILY not in peer.spec.families or peer.spec.shutdown is not None:
                continue
            for here, there in (ends, reversed(ends)):
                if here.box not in asns or there.box not in asns:
                    continue
                if asns[here.box] != asns[there.box]:
                    made.external[here.box].append((there.box, there.allow_as_in is not None))
                else:
                    known = made.clients if here.route_reflector_client else made.others
                    known[here.box].append(there.box)
        return made

    def speaks(self, box: str) -> bool:
        """Whether a box speaks EVPN."""
        return box in self.asns

    def reached_from(self, origin: str) -> frozenset[str]:
        """The boxes to which the routes of a box come."""
        if origin not in self._reached:
            self._reached[origin] = frozenset(box for box, _ in self._told(origin))
        return self._reached[origin]

    def _told(self, origin: str) -> set[tuple[str, bool]]:
        """The boxes, and whether each may tell all its neighbours or only its clients and other ASes."""
        told: set[tuple[str, bool]] = {(origin, True)}
        waiting = [(origin, True)]
        while waiting:
            box, to_all = waiting.pop()
            for heard in self._neighbors(box, origin, to_all=to_all):
                # Who may tell all may tell its clients too.
                if heard not in told and (heard[0], True) not in told:
                    told.add(heard)
                    waiting.append(heard)
        return told

    def _neighbors(self, box: str, origin: str, *, to_all: bool) -> Iterator[tuple[str, bool]]:
        """Whom a box tells, and whether they may tell all: not what a non-client told them by iBGP."""
        for other, own_as_allowed in self.external.get(box, ()):
            if self.asns[other] != self.asns[origin] or own_as_allowed:
                yield other, True
        for other in (*self.clients.get(box, ()), *(self.others.get(box, ()) if to_all else ())):
            yield other, box in self.clients.get(other, ())

    def where_it_ends(self, origin: str) -> str:
        """How far the routes of a box come, in words."""
        reached = sorted(self.reached_from(origin) - {origin})
        if not reached:
            return f"{origin} has no EVPN session that is up"
        shown = ", ".join(reached[:3]) + f" and {len(reached) - 3} more" * (len(reached) > 3)
        return f"they reach {shown}, and no reflector or other AS takes them further"


RULES: tuple[Rule, ...] = (EVPN_SPEAKER, EVPN_PATH)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (evpn_boxes_speak, evpn_routes_reach_all)
