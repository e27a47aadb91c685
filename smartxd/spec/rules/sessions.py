"""BGP sessions: both ends there, on one link or hops apart, and of one mind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from smartxd.objects import ObjectRef
from smartxd.spec.addresses import Address, Network, family_of
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, BoxEnd, CommunityType, Policy
from smartxd.spec.places import Path
from smartxd.spec.prefixes import Prefixes

ENDS = Rule(
    "SX411",
    "session-ends",
    "A session has two ends: two different boxes with a BGPRouter each, or one and the outside.",
    "A box without a BGPRouter has no AS number to speak for. Declare one with `box:` of that name.",
    fixed=True,
)
ADDRESS = Rule(
    "SX412",
    "session-address",
    "The address of an end is one of its box, and both ends are of one family.",
    "FRR would wait for a neighbour that nobody is. An address that is not given is the box's underlay"
    " address; the message lists those that the box has.",
)
SUBNET = Rule(
    "SX413",
    "session-subnet",
    "The ends of an eBGP session are in one subnet, or the session says how many hops they are apart.",
    "BGP to another AS leaves the box with a TTL of 1 and only to connected subnets, unless `multihop`"
    " says otherwise (or `ttlSecurity`, which counts from the other side). Sessions between loopbacks are"
    " hops apart, too.",
)
FAMILIES = Rule(
    "SX414",
    "session-families",
    "Both speakers speak every family that the session carries.",
    "A family that one end does not offer is not negotiated (RFC 4760), and its routes stay where they"
    " are, while the session looks healthy. Add it to `families` of the BGPRouter, or take it from the"
    " session.",
)
OPTIONS = Rule(
    "SX415",
    "session-options",
    "The options of a session mean something where they stand.",
    "Routes are reflected within an AS, and FRR refuses a reflector's client in another. `multihop` is of"
    " sessions between ASes; within one FRR takes no notice of it.",
)
TOO_FEW = Rule(
    "SX418",
    "max-prefixes-too-few",
    "An end takes as many prefixes as the other is known to announce.",
    "With the first update the limit is passed, and the session ends or complains at once.",
    severity=Severity.WARNING,
)
SLOW_BFD = Rule(
    "SX419",
    "bfd-slow",
    "BFD finds a dead path sooner than the hold timer does.",
    "BFD that needs as long as the session's own hold time is load without use. Lower its intervals or its"
    " multiplier, or leave it out.",
    severity=Severity.WARNING,
)
LOOPBACK_ROUTE = Rule(
    "SX420",
    "loopback-unreachable",
    "The specs give each end of a session between loopbacks a route to the other.",
    "A loopback is reached over something else: a Route, another session that announces it, or routes of"
    " which the specs do not know. If the underlay knows the loopbacks, silence the rule.",
    severity=Severity.NOTE,
)
BOTH_CLIENTS = Rule(
    "SX422",
    "clients-of-each-other",
    "Of two ends within an AS one at most is the other's client.",
    "Each then reflects to the other what it has from all others, which is mostly a copy of a line: only a"
    " reflector says `routeReflectorClient`, of the end that is none. Where both reflect on purpose, as boxes"
    " in a row do, silence the rule.",
    severity=Severity.WARNING,
)
NOT_OF_EVPN = Rule(
    "SX425",
    "not-of-evpn",
    "A session that carries EVPN routes filters and bounds them as FRR can: by a route map.",
    "In the family l2vpnEvpn FRR knows neither AS path lists of a neighbour nor a limit of its prefixes, and"
    " it sends communities of all types. A route map can match an ASPathList; where the rest is meant for the"
    " other families, carry l2vpnEvpn in a session of its own, or silence the rule.",
    severity=Severity.WARNING,
)


SHOWN_MAX = 5
"""Addresses of a box that a message names."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session with what is known of its ends."""

    peer: Object[BGPPeerSpec]
    addresses: tuple[Address | None, Address | None]
    links: tuple[Link | None, Link | None]
    """Where a box has its address; None for the outside, and where the box has no such address."""
    asns: tuple[int | None, int | None]

    @property
    def external(self) -> bool | None:
        """Whether it joins two ASes; None where that is not known."""
        return None if None in self.asns else self.asns[0] != self.asns[1]


def sessions_of(fleet: Fleet) -> Iterator[Session]:
    """Every session of a fleet, in the order of names."""
    for peer in fleet.peers.values():
        one, other = peer.spec.between
        here, there = fleet.address_of(one), fleet.address_of(other)
        yield Session(
            peer,
            (here, there),
            (fleet.link_at(getattr(one, "box", ""), here), fleet.link_at(getattr(other, "box", ""), there)),
            (fleet.end_asn(one), fleet.end_asn(other)),
        )


def sessions_have_two_ends(fleet: Fleet) -> Iterator[Finding]:
    """The boxes of a session are two, with a BGPRouter each."""
    for peer in fleet.peers.values():
        boxes = [end.box for end in peer.spec.box_ends]
        if len(boxes) == 2 and boxes[0] == boxes[1]:
            yield peer.finding(ENDS, ("between", 1, "box"), f"both ends are {boxes[0]}")
            continue
        for i, end in enumerate(peer.spec.between):
            if isinstance(end, BoxEnd) and end.box in fleet.boxes and fleet.router_of(end.box) is None:
                yield peer.finding(ENDS, ("between", i, "box"), f"{end.box} has no BGPRouter")


def addresses_are_of_their_boxes(fleet: Fleet) -> Iterator[Finding]:
    """The address of an end is one that its box has, and of the other end's family."""
    for session in sessions_of(fleet):
        peer, (one, other) = session.peer, session.addresses
        for i, end in enumerate(peer.spec.between):
            if not isinstance(end, BoxEnd) or end.box not in fleet.boxes or end.address is None:
                continue
            if session.links[i] is None:
                links = fleet.links_of(end.box)
                more = f" and {len(links) - SHOWN_MAX} more" * (len(links) > SHOWN_MAX)
                has = ", ".join(map(str, links[:SHOWN_MAX])) + more or "none"
                message = f"{end.address} is no address of Box/{end.box}; it has {has}"
                yield peer.finding(ADDRESS, ("between", i, "address"), message)
        if one is not None and other is not None and one.version != other.version:
            yield peer.finding(ADDRESS, ("between",), f"{one} and {other} are of different families")


def external_ends_see_each_other(fleet: Fleet) -> Iterator[Finding]:
    """Between two ASes the ends are in one subnet, or hops apart."""
    subnets: dict[str, Prefixes[Link]] = {}
    for session in sessions_of(fleet):
        peer, spec = session.peer, session.peer.spec
        if not session.external or max(spec.multihop or 1, spec.ttl_security or 1) > 1:
            continue
        one, other = session.links
        if one is not None and other is not None:
            if not one.reaches(other) and one.address.version == other.address.version:
                how = "are on different links" if one.segment != other.segment else "are in different subnets"
                message = f"{one} and {other} {how}; eBGP between them needs multihop, 2 or more"
                yield peer.finding(SUBNET, ("between",), message)
            continue
        link, far = (one, session.addresses[1]) if one is not None else (other, session.addresses[0])
        outside = len(spec.box_ends) == 1
        if not outside or link is None or far is None or far.version != link.address.version:
            continue
        if link.box not in subnets:
            links = (k for k in fleet.links_of(link.box) if k.segment != "loopback")
            subnets[link.box] = Prefixes((k.address.network, k) for k in links)
        if not subnets[link.box].hold(far):
            message = f"{far} is in no subnet of Box/{link.box}; eBGP to it needs multihop, 2 or more"
            yield peer.finding(SUBNET, ("between",), message)


def families_are_spoken(fleet: Fleet) -> Iterator[Finding]:
    """Both speakers speak what the session carries."""
    for peer in fleet.peers.values():
        for i, family in enumerate(peer.spec.families):
            for end in peer.spec.box_ends:
                router = fleet.router_of(end.box)
                if router is not None and family not in router.spec.families:
                    at = router.at("families")
                    message = f"{router.ref} of {end.box} does not speak {family} ({at})"
                    path: Path = ("families", i)
                    yield peer.finding(FAMILIES, path, message, other=at)
                    break


def options_mean_something(fleet: Fleet) -> Iterator[Finding]:
    """A reflector's clients are of its AS, and hops are counted between ASes."""
    for session in sessions_of(fleet):
        peer, external = session.peer, session.external
        if external is None:
            continue
        for i, end in enumerate(peer.spec.between):
            if isinstance(end, BoxEnd) and external and end.route_reflector_client:
                message = f"AS {session.asns[0]} and AS {session.asns[1]} differ; only iBGP reflects routes"
                yield peer.finding(OPTIONS, ("between", i, "routeReflectorClient"), message)
        # ttlSecurity is no such option: FRR checks the TTL of sessions within an AS too.
        if not external and peer.spec.multihop is not None:
            message = f"both ends are AS {session.asns[0]}; multihop is a matter of eBGP"
            yield peer.finding(OPTIONS, ("multihop",), message)


def evpn_routes_meet_what_is_given(fleet: Fleet) -> Iterator[Finding]:
    """What a session with EVPN says of its routes holds for those of EVPN too."""
    for peer in fleet.peers.values():
        if "l2vpnEvpn" not in peer.spec.families:
            continue
        for i, end in enumerate(peer.spec.between):
            if not isinstance(end, BoxEnd):
                continue
            for key, policy in (("in", end.inbound), ("out", end.outbound)):
                if policy.as_path_list is not None:
                    message = "no EVPN route is asked for its AS path; match the list in a route map"
                    yield peer.finding(NOT_OF_EVPN, ("between", i, key, "asPathList"), message)
            if end.max_prefixes is not None:
                message = "EVPN routes are not counted"
                yield peer.finding(NOT_OF_EVPN, ("between", i, "maxPrefixes"), message)
        if len(set(peer.spec.send_communities)) < len(get_args(CommunityType)):
            message = "EVPN routes are announced with communities of all types"
            yield peer.finding(NOT_OF_EVPN, ("sendCommunities",), message)


def one_end_is_the_reflector(fleet: Fleet) -> Iterator[Finding]:
    """The ends of a session are not each other's client."""
    for session in sessions_of(fleet):
        clients = [end.route_reflector_client for end in session.peer.spec.box_ends]
        if clients == [True, True] and session.external is False:
            message = "each end is a client of the other; mostly one of them is the reflector"
            yield session.peer.finding(BOTH_CLIENTS, ("between", 1, "routeReflectorClient"), message)


def limits_are_enough(fleet: Fleet) -> Iterator[Finding]:
    """An end takes what the box at the other end announces of itself, where no policy stands between."""
    counts = {router.ref: Counter(map(family_of, router.spec.networks)) for router in fleet.routers.values()}
    for peer in fleet.peers.values():
        carried = {f.removesuffix("Unicast") for f in peer.spec.families}
        one, other = peer.spec.between
        for i, (here, there) in enumerate(((one, other), (other, one))):
            if not isinstance(here, BoxEnd) or not isinstance(there, BoxEnd) or here.max_prefixes is None:
                continue
            router = fleet.router_of(there.box)
            if router is None or (here.inbound, there.outbound) != (Policy(), Policy()):
                continue
            most = max((n for family, n in counts[router.ref].items() if family in carried), default=0)
            if most > here.max_prefixes.limit:
                at = router.at("networks")
                message = f"{here.max_prefixes.limit} is less than the {most} of {router.ref} ({at})"
                yield peer.finding(TOO_FEW, ("between", i, "maxPrefixes", "limit"), message, other=at)


def bfd_is_fast(fleet: Fleet) -> Iterator[Finding]:
    """BFD finds a dead path before the hold timer does."""
    for peer in fleet.peers.values():
        bfd, hold_s = peer.spec.bfd, peer.spec.timers.hold
        if bfd is not None:
            detect_ms = max(bfd.receive_ms, bfd.transmit_ms) * bfd.multiplier
            if detect_ms >= hold_s * 1000:
                late = f"no sooner than the hold time of {hold_s} s"
                message = f"it finds a dead path in {detect_ms / 1000:g} s, {late}"
                yield peer.finding(SLOW_BFD, ("bfd",), message)


def loopbacks_are_reached(fleet: Fleet) -> Iterator[Finding]:
    """Something in the specs leads from each end of a session to the other's loopback."""
    sessions = list(sessions_of(fleet))
    told = _told(fleet, sessions)
    routed: dict[str, Prefixes[ObjectRef]] = {}
    for session in sessions:
        for i, link in enumerate(session.links):
            far = session.peer.spec.between[1 - i]
            if link is None or link.segment != "loopback" or not isinstance(far, BoxEnd):
                continue
            if far.box not in routed:
                routed[far.box] = Prefixes((r.spec.destination, r.ref) for r in fleet.on("Route", far.box))
            if link.address.network not in told and not routed[far.box].hold(link.address.ip):
                message = f"nothing in the specs leads from {far.box} to {link.address.ip}"
                yield session.peer.finding(LOOPBACK_ROUTE, ("between", i), message)


def _told(fleet: Fleet, sessions: Iterable[Session]) -> set[Network]:
    """What BGP announces of itself; a box whose sessions all wait for its loopback's route tells nobody."""
    telling = {
        end.box
        for session in sessions
        for end, link in zip(session.peer.spec.between, session.links, strict=True)
        if isinstance(end, BoxEnd) and (link is None or link.segment != "loopback")
    }
    told: set[Network] = set()
    for router in fleet.routers.values():
        if router.spec.box in telling:
            told |= set(router.spec.networks)
            if any(entry.source == "connected" for entry in router.spec.redistribute):
                told |= {link.address.network for link in fleet.links_of(router.spec.box)}
    return told


RULES: tuple[Rule, ...] = (
    *(ENDS, ADDRESS, SUBNET, FAMILIES, OPTIONS),
    *(TOO_FEW, SLOW_BFD, LOOPBACK_ROUTE, BOTH_CLIENTS, NOT_OF_EVPN),
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    families_are_spoken,
    options_mean_something,
    evpn_routes_meet_what_is_given,
    one_end_is_the_reflector,
    limits_are_enough,
    bfd_is_fast,
    external_ends_see_each_other,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    sessions_have_two_ends,
    addresses_are_of_their_boxes,
    loopbacks_are_reached,
)
