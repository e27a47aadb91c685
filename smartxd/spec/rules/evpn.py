"""EVPN tunnels: a path of EVPN sessions between all members."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BoxEnd
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
    sessions = _Sessions(fleet)
    for tunnel in _evpn_tunnels(fleet):
        members = fleet.members(tunnel)
        if not all(sessions.speaks(box) for box in members):
            continue  # said by the other rule
        wanted = sessions.bits_of(members)
        for box in members:
            if missing := wanted & ~sessions.reached_from(box):
                missed = sessions.names_of(missing)[0]
                message = f"no EVPN routes come from {box} to {missed}; {sessions.where_it_ends(box)}"
                yield tunnel.finding(EVPN_PATH, ("flood", "mode"), message)
                break


def _evpn_tunnels(fleet: Fleet) -> Iterator[Object[TunnelSpec]]:
    return (t for t in fleet.tunnels.values() if isinstance(t.spec.flood, EVPNFlood))


@dataclass(slots=True)
class _Told:
    """Whom a box tells a route, as bits."""

    external: int = 0
    """Over eBGP, unless the route is of their own AS."""
    own_too: int = 0
    """Over eBGP, of their own AS too (``allowAsIn``)."""
    clients: int = 0
    """Over iBGP, its clients."""
    others: int = 0
    """Over iBGP, those that are none."""
    reflectors: int = 0
    """Over iBGP, those whose client it is: they may tell all what it tells them."""


class _Sessions:
    """The EVPN sessions of a fleet. A set of boxes is a number with a bit for each, in the order of names."""

    def __init__(self, fleet: Fleet) -> None:
        self._asns: dict[str, int] = {}
        """AS number of each box that speaks EVPN."""
        for box in fleet.boxes:
            router = fleet.router_of(box)
            if router is not None and _FAMILY in router.spec.families and (asn := fleet.asn_of(router)):
                self._asns[box] = asn
        self._names = list(self._asns)
        self._index = {box: i for i, box in enumerate(self._names)}
        self._told = [_Told() for _ in self._names]
        for peer in fleet.peers.values():
            if _FAMILY in peer.spec.families and peer.spec.shutdown is None and len(peer.spec.box_ends) == 2:
                self._join(*peer.spec.box_ends)
        of_asns: dict[int, list[str]] = {}
        for box, asn in self._asns.items():
            of_asns.setdefault(asn, []).append(box)
        refusing = 0
        for told in self._told:
            refusing |= told.external & ~told.own_too
        self._refusing = {n: self.bits_of(boxes) & refusing for n, boxes in of_asns.items() if len(boxes) > 1}
        """By AS, its boxes that refuse each other's routes over eBGP; one alone has none to refuse."""
        self._through = self._bits(lambda t: (t.external | t.own_too | t.clients | t.others).bit_count() > 1)
        """The boxes that have anybody to tell but the one who told them."""
        self._passing = self._bits(lambda t: bool(t.external | t.own_too | t.clients))
        """The boxes that tell anybody what they heard from no client by iBGP."""
        self._reached: dict[int, dict[int, tuple[int, int]]] = {}

    def _join(self, one: BoxEnd, other: BoxEnd) -> None:
        for here, there in ((one, other), (other, one)):
            if here.box not in self._asns or there.box not in self._asns:
                return
            told, bit = self._told[self._index[here.box]], 1 << self._index[there.box]
            if self._asns[here.box] != self._asns[there.box]:
                told.external |= bit
                told.own_too |= bit if there.allow_as_in is not None else 0
                continue
            told.clients |= bit if here.route_reflector_client else 0
            told.others |= 0 if here.route_reflector_client else bit
            told.reflectors |= bit if there.route_reflector_client else 0

    def _bits(self, which: Callable[[_Told], bool]) -> int:
        return self.bits_of(name for name, told in zip(self._names, self._told, strict=True) if which(told))

    def bits_of(self, boxes: Iterable[str]) -> int:
        """These boxes, which speak EVPN, as bits."""
        digits = bytearray(b"0" * (len(self._names) + 1))
        for box in boxes:
            digits[-1 - self._index[box]] = ord("1")
        return int(digits, 2)

    def names_of(self, bits: int, most: int = 1) -> list[str]:
        """The first boxes of some."""
        names: list[str] = []
        while bits and len(names) < most:
            names.append(self._names[_lowest(bits)])
            bits &= bits - 1
        return names

    def speaks(self, box: str) -> bool:
        """Whether a box speaks EVPN."""
        return box in self._asns

    def reached_from(self, origin: str) -> int:
        """The boxes to which the routes of a box come."""
        asn = self._asns[origin]
        refusing = self._refusing.get(asn, 0)
        known = self._reached.setdefault(asn if refusing else 0, {})
        start = self._index[origin]
        if start not in known:
            known[start] = self._spread(start, refusing, known)
        return known[start][0] | known[start][1]

    def _spread(self, start: int, refusing: int, known: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
        """The boxes that may tell all their neighbours, and those that may tell clients and other ASes only.

        ``known`` has what was found from other boxes whose routes are refused by the same.
        """
        to_all, to_some = 1 << start, 0
        todo_all, todo_some = to_all, 0
        while todo := todo_all or todo_some:
            box = _lowest(todo)
            told = self._told[box]
            if todo_all and box in known:
                to_all, to_some = to_all | known[box][0], to_some | known[box][1]
                todo_all &= ~known[box][0]
                todo_some &= ~(known[box][0] | known[box][1])
                continue
            within = told.clients | (told.others if todo_all else 0)
            heard_all = told.external & ~refusing | told.own_too | within & told.reflectors
            new = heard_all & ~to_all
            if todo_all:  # who has nobody else to tell need not be asked
                todo_all = todo_all & (todo_all - 1) | new & self._through
            else:
                todo_all, todo_some = new, todo_some & (todo_some - 1)
            to_all |= heard_all
            todo_some |= within & ~(to_all | to_some) & self._passing
            to_some |= within
        return to_all, to_some

    def where_it_ends(self, origin: str) -> str:
        """How far the routes of a box come, in words."""
        reached = self.reached_from(origin) & ~(1 << self._index[origin])
        if not reached:
            return f"{origin} has no EVPN session that is up"
        count = reached.bit_count()
        shown = ", ".join(self.names_of(reached, 3)) + f" and {count - 3} more" * (count > 3)
        return f"they reach {shown}, and no reflector or other AS takes them further"


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


RULES: tuple[Rule, ...] = (EVPN_SPEAKER, EVPN_PATH)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (evpn_boxes_speak, evpn_routes_reach_all)
