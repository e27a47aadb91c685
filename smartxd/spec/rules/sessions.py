"""BGP sessions: both ends there, on one link or hops apart, and of one mind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from smartxd.spec.addresses import Address, family_of
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, BoxEnd, OutsideEnd
from smartxd.spec.places import Path

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
    "Reflection and an own next hop for others' routes are matters within an AS, and so are the bounds of"
    " hops between ASes: FRR refuses such a line or takes no notice of it.",
)
ONE_SIDED = Rule(
    "SX416",
    "one-sided",
    "Two one-sided sessions that face each other agree.",
    "Two boxes of one repo that each declare the other as outside can disagree, and then the session"
    " never comes up, or not as either meant. Declare one BGPPeer `between` the two boxes: then both ends"
    " are made of it.",
)
BOX_AS_OUTSIDE = Rule(
    "SX417",
    "box-as-outside",
    "The outside end of a session is none of the fleet's boxes.",
    "The box at that address has no other end of this session. Declare the BGPPeer `between` the two boxes.",
    severity=Severity.WARNING,
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


@dataclass(frozen=True, slots=True)
class _Session:
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


def _sessions(fleet: Fleet) -> Iterator[_Session]:
    for peer in fleet.peers.values():
        one, other = peer.spec.between
        yield _Session(
            peer,
            (fleet.address_of(one), fleet.address_of(other)),
            (_link(fleet, one), _link(fleet, other)),
            (fleet.end_asn(one), fleet.end_asn(other)),
        )


def _link(fleet: Fleet, end: BoxEnd | OutsideEnd) -> Link | None:
    if isinstance(end, OutsideEnd):
        return None
    address = fleet.address_of(end)
    return next((link for link in fleet.links_of(end.box) if link.address.ip == address), None)


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
    for session in _sessions(fleet):
        peer, (one, other) = session.peer, session.addresses
        for i, end in enumerate(peer.spec.between):
            if not isinstance(end, BoxEnd) or end.box not in fleet.boxes or end.address is None:
                continue
            if session.links[i] is None:
                has = ", ".join(str(link) for link in fleet.links_of(end.box)) or "none"
                message = f"{end.address} is no address of Box/{end.box}; it has {has}"
                yield peer.finding(ADDRESS, ("between", i, "address"), message)
        if one is not None and other is not None and one.version != other.version:
            yield peer.finding(ADDRESS, ("between",), f"{one} and {other} are of different families")


def external_ends_see_each_other(fleet: Fleet) -> Iterator[Finding]:
    """Between two ASes the ends are in one subnet, or hops apart."""
    for session in _sessions(fleet):
        peer, spec = session.peer, session.peer.spec
        if not session.external or spec.multihop is not None or spec.ttl_security is not None:
            continue
        one, other = session.links
        if one is not None and other is not None:
            if not one.reaches(other) and one.address.version == other.address.version:
                how = "are on different links" if one.segment != other.segment else "are in different subnets"
                message = f"{one} and {other} {how}; eBGP between them needs multihop"
                yield peer.finding(SUBNET, ("between",), message)
            continue
        link, far = (one, session.addresses[1]) if one is not None else (other, session.addresses[0])
        outside = len(spec.box_ends) == 1
        if outside and link is not None and far is not None and far.version == link.address.version:
            near = [k for k in fleet.links_of(link.box) if k.segment != "loopback"]
            if not any(k.address.version == far.version and far in k.address.network for k in near):
                message = f"{far} is in no subnet of Box/{link.box}; eBGP to it needs multihop"
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
    """Options of iBGP stand on iBGP, those of eBGP on eBGP."""
    for session in _sessions(fleet):
        peer, external = session.peer, session.external
        if external is None:
            continue
        for i, end in enumerate(peer.spec.between):
            if isinstance(end, BoxEnd) and external and end.route_reflector_client:
                message = f"AS {session.asns[0]} and AS {session.asns[1]} differ; only iBGP reflects routes"
                yield peer.finding(OPTIONS, ("between", i, "routeReflectorClient"), message)
        if not external:
            for field, value in (("multihop", peer.spec.multihop), ("ttlSecurity", peer.spec.ttl_security)):
                if value is not None:
                    message = f"both ends are AS {session.asns[0]}; {field} is a matter of eBGP"
                    yield peer.finding(OPTIONS, (field,), message)
        ends = peer.spec.box_ends
        if not external and len(ends) == 2 and all(end.route_reflector_client for end in ends):
            message = "each end is a client of the other; one of them is the reflector"
            yield peer.finding(OPTIONS, ("between", 1, "routeReflectorClient"), message)


def facing_sessions_agree(fleet: Fleet) -> Iterator[Finding]:
    """Two one-sided sessions that face each other agree; one alone to a box should be between boxes."""
    owners = {link.address.ip: link for name in fleet.boxes for link in fleet.links_of(name)}
    sided: dict[tuple[Address, Address], Object[BGPPeerSpec]] = {}
    for session in _sessions(fleet):
        peer = session.peer
        here = next((i for i, end in enumerate(peer.spec.between) if isinstance(end, BoxEnd)), 0)
        near, far = session.addresses[here], session.addresses[1 - here]
        if len(peer.spec.box_ends) == 2 or near is None or far is None or far not in owners:
            continue
        sided[near, far] = peer
    for (near, far), peer in sided.items():
        facing = sided.get((far, near))
        outside = next(i for i, end in enumerate(peer.spec.between) if isinstance(end, OutsideEnd))
        path: Path = ("between", outside, "address")
        if facing is None:
            link = owners[far]
            at = link.by.at(*link.path)
            message = (
                f"{far} is an address of Box/{link.box} ({at}); declare the session between the two boxes"
            )
            yield peer.finding(BOX_AS_OUTSIDE, path, message, other=at)
        elif facing.ref < peer.ref:
            yield from _disagreements(fleet, facing, peer)


def _disagreements(
    fleet: Fleet, first: Object[BGPPeerSpec], second: Object[BGPPeerSpec]
) -> Iterator[Finding]:
    """In what two sessions that face each other differ."""
    for one, other in ((first, second), (second, first)):
        own = fleet.end_asn(one.spec.box_ends[0])
        i, end = next((i, e) for i, e in enumerate(other.spec.between) if isinstance(e, OutsideEnd))
        if own is not None and own != end.asn:
            at = one.at("between")
            message = f"AS {end.asn} is expected here, but the other end, {one.ref} ({at}), is AS {own}"
            yield other.finding(ONE_SIDED, ("between", i, "asn"), message, other=at)
    differing = [field for field, attribute in _SHARED.items() if _differ(first, second, attribute)]
    given = [field for field in differing if _SHARED[field] in second.spec.model_fields_set]
    silent = [field for field in differing if field not in given]
    for path in (*((field,) for field in given), *([()] if silent else [])):
        at = first.at(*path) if path else first.at(silent[0])
        what = "" if path else f"{', '.join(silent)}: "
        message = f"{what}the other end, {first.ref} ({at}), says something else"
        hint = "declare one BGPPeer between the two boxes"
        yield second.finding(ONE_SIDED, path, message, other=at, hint=hint)


def _differ(one: Object[BGPPeerSpec], other: Object[BGPPeerSpec], attribute: str) -> bool:
    mine, theirs = getattr(one.spec, attribute), getattr(other.spec, attribute)
    return set(mine) != set(theirs) if attribute == "families" else mine != theirs


_SHARED = {
    "families": "families",
    "passwordRef": "password_ref",
    "bfd": "bfd",
    "timers": "timers",
    "multihop": "multihop",
    "ttlSecurity": "ttl_security",
    "shutdown": "shutdown",
}
"""Fields in which the two ends of a session must agree, by their names in YAML."""


def limits_are_enough(fleet: Fleet) -> Iterator[Finding]:
    """An end takes what the box at the other end announces of itself."""
    for peer in fleet.peers.values():
        one, other = peer.spec.between
        for i, (here, there) in enumerate(((one, other), (other, one))):
            if not isinstance(here, BoxEnd) or not isinstance(there, BoxEnd) or here.max_prefixes is None:
                continue
            router = fleet.router_of(there.box)
            networks = router.spec.networks if router is not None else ()
            counts = [sum(family_of(n) == family for n in networks) for family in ("ipv4", "ipv6")]
            if router is not None and max(counts) > here.max_prefixes.limit:
                at = router.at("networks")
                message = f"{here.max_prefixes.limit} is less than the {max(counts)} of {router.ref} ({at})"
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
    told: set[Any] = set()
    for router in fleet.routers.values():
        told |= set(router.spec.networks)
    for session in _sessions(fleet):
        for i, link in enumerate(session.links):
            far = session.peer.spec.between[1 - i]
            if link is None or link.segment != "loopback" or not isinstance(far, BoxEnd):
                continue
            routes = (route.spec.destination for route in fleet.on("Route", far.box))
            lead = any(r.version == link.address.version and link.address.ip in r for r in routes)
            if not lead and link.address.network not in told:
                message = f"nothing in the specs leads from {far.box} to {link.address.ip}"
                yield session.peer.finding(LOOPBACK_ROUTE, ("between", i), message)


RULES: tuple[Rule, ...] = (
    *(ENDS, ADDRESS, SUBNET, FAMILIES, OPTIONS, ONE_SIDED),
    *(BOX_AS_OUTSIDE, TOO_FEW, SLOW_BFD, LOOPBACK_ROUTE),
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    families_are_spoken,
    options_mean_something,
    facing_sessions_agree,
    limits_are_enough,
    bfd_is_fast,
    external_ends_see_each_other,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    sessions_have_two_ends,
    addresses_are_of_their_boxes,
    loopbacks_are_reached,
)
