"""One-sided sessions: two that face each other, and one to a box of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic.alias_generators import to_camel

from smartxd.spec.addresses import Address
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet, Link
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, BoxEnd, OutsideEnd
from smartxd.spec.places import Path
from smartxd.spec.rules.sessions import Session, sessions_of

TTL_MAX = 255

ONE_SIDED = Rule(
    "SX416",
    "one-sided",
    "Two one-sided sessions that face each other agree in what both ends must have alike.",
    "Two boxes of one repo that each declare the other as outside can disagree about AS numbers, families or"
    " whether there is a password, or one sends with a lower TTL than the `ttlSecurity` of the other takes."
    " Then the session never comes up, or carries less than either meant. Declare one BGPPeer `between` the"
    " two boxes: then both ends are made of it.",
)
BOX_AS_OUTSIDE = Rule(
    "SX417",
    "box-as-outside",
    "The outside end of a session is none of the fleet's boxes.",
    "The box at that address has no other end of this session. Declare the BGPPeer `between` the two boxes.",
    severity=Severity.WARNING,
)
ONE_SIDED_SETTING = Rule(
    "SX421",
    "one-sided-settings",
    "Two one-sided sessions that face each other have the same timers, BFD and `shutdown`.",
    "The session works, but not as one of the two says: the smaller hold time holds at both ends (RFC"
    " 4271, section 4.2), the slower interval of BFD in each direction (RFC 5880, section 6.8), BFD at one"
    " end alone watches nothing, and a shutdown at one end is one at both. Declare one BGPPeer `between`"
    " the two boxes.",
    severity=Severity.WARNING,
)


def facing_sessions_agree(fleet: Fleet) -> Iterator[Finding]:
    """Two one-sided sessions that face each other agree; one alone to a box should be between boxes."""
    owners = _Owners(fleet)
    sided: dict[tuple[str, Address, Address], tuple[Session, Link]] = {}
    for session in sessions_of(fleet):
        peer = session.peer
        here = next((i for i, end in enumerate(peer.spec.between) if isinstance(end, BoxEnd)), 0)
        near, far = session.addresses[here], session.addresses[1 - here]
        if len(peer.spec.box_ends) == 2 or near is None or far is None:
            continue
        if (owner := owners.of(far, session.links[here])) is not None:
            sided[peer.spec.box_ends[0].box, near, far] = (session, owner)
    for (_, near, far), (session, owner) in sided.items():
        peer = session.peer
        facing, _ = sided.get((owner.box, far, near), (None, None))
        if facing is None:
            at, whose = owner.by.at(*owner.path), f"{far} is an address of Box/{owner.box}"
            outside = next(i for i, end in enumerate(peer.spec.between) if isinstance(end, OutsideEnd))
            message = f"{whose} ({at}); declare the session between the two boxes"
            yield peer.finding(BOX_AS_OUTSIDE, ("between", outside, "address"), message, other=at)
        elif facing.peer.ref < peer.ref:
            yield from _asns_differ(fleet, facing.peer, peer)
            yield from _ttl_is_too_low(facing, session)
            yield from _fields_differ(ONE_SIDED, _ALIKE, facing.peer, peer)
            yield from _fields_differ(ONE_SIDED_SETTING, _SETTLED, facing.peer, peer)


class _Owners:
    """Whose an address is; segments apart may use the same private subnet."""

    def __init__(self, fleet: Fleet) -> None:
        asked = {(a.version, int(a)) for peer in fleet.peers.values() if (a := _far(peer)) is not None}
        every = (link for name in fleet.boxes for link in fleet.links_of(name)) if asked else ()
        links = [k for k in every if (k.address.version, int(k.address)) in asked]
        self._anywhere = {link.address.ip: link for link in links}
        self._within = {(link.address.ip, link.segment): link for link in links}

    def of(self, address: Address, seen_from: Link | None) -> Link | None:
        """The link that has the address: of the same segment where it is in the subnet of ``seen_from``."""
        if seen_from is not None and address in seen_from.address.network:
            return self._within.get((address, seen_from.segment))
        return self._anywhere.get(address)


def _far(peer: Object[BGPPeerSpec]) -> Address | None:
    """The address of the outside end of a session that has one."""
    return next((end.address for end in peer.spec.between if isinstance(end, OutsideEnd)), None)


def _asns_differ(fleet: Fleet, first: Object[BGPPeerSpec], second: Object[BGPPeerSpec]) -> Iterator[Finding]:
    """Whether each of two sessions expects the AS number that the other has."""
    for one, other in ((first, second), (second, first)):
        own = fleet.end_asn(one.spec.box_ends[0])
        i, end = next((i, e) for i, e in enumerate(other.spec.between) if isinstance(e, OutsideEnd))
        if own is not None and own != end.asn:
            at = one.at("between")
            message = f"AS {end.asn} is expected here, but the other end, {one.ref} ({at}), is AS {own}"
            yield other.finding(ONE_SIDED, ("between", i, "asn"), message, other=at)


def _ttl_is_too_low(first: Session, second: Session) -> Iterator[Finding]:
    """Whether each of two sessions sends with a TTL that the other takes."""
    for session, facing in ((first, second), (second, first)):
        peer, other, hops = session.peer, facing.peer, session.peer.spec.ttl_security
        if hops is not None and (sent := _ttl(facing)) <= TTL_MAX - hops:
            at = other.at("multihop")
            least = TTL_MAX + 1 - hops
            message = f"{hops} takes no TTL below {least}; the other end, {other.ref} ({at}), sends {sent}"
            yield peer.finding(ONE_SIDED, ("ttlSecurity",), message, other=at)


def _ttl(session: Session) -> int:
    """With which TTL FRR sends; it counts hops for sessions between ASes only."""
    spec = session.peer.spec
    return TTL_MAX if spec.ttl_security is not None or not session.external else spec.multihop or 1


_Said = Callable[[BGPPeerSpec], object]
_ALIKE: dict[str, _Said] = {
    "families": lambda s: ", ".join(sorted(set(s.families))),
    # By what name each box keeps the password is its own matter.
    "password_ref": lambda s: "not given" if s.password_ref is None else "given",
}
"""What both ends of a session must have alike, and what a session says of it."""
_SETTLED: dict[str, _Said] = {
    "timers": lambda s: f"{s.timers.keepalive}/{s.timers.hold} s",
    "bfd": lambda s: f"{s.bfd.receive_ms}/{s.bfd.transmit_ms} ms × {s.bfd.multiplier}" if s.bfd else "off",
    "shutdown": lambda s: "not given" if s.shutdown is None else "given",
}
"""What two ends settle between them where they differ."""


def _fields_differ(
    rule: Rule, fields: dict[str, _Said], first: Object[BGPPeerSpec], second: Object[BGPPeerSpec]
) -> Iterator[Finding]:
    """In which fields two sessions differ: one finding for each that the second gives, one for the rest."""
    differing: dict[Path, list[str]] = {}
    for field, said in fields.items():
        name, here, there = to_camel(field), said(second.spec), said(first.spec)
        if here != there:
            path: Path = (name,) if field in second.spec.model_fields_set else ()
            differing.setdefault(path, []).append(f"{name} {here} here, {there} at the other end")
    for path, phrases in differing.items():
        at = first.at(*path)
        message = f"{'; '.join(phrases)}, {first.ref} ({at})"
        yield second.finding(rule, path, message, other=at, hint="declare one BGPPeer between the two boxes")


RULES: tuple[Rule, ...] = (ONE_SIDED, BOX_AS_OUTSIDE, ONE_SIDED_SETTING)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (facing_sessions_agree,)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
