"""Random FRR states: what the spec language can ask for, from pools small enough that names meet again.

A state is drawn from the one before it: much stays, some changes, some goes, so that each step removes, adds
and changes parts that others name.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Literal, TypeVar

from smartxd.objects import ObjectRef
from smartxd.planes.frr.needs import needs
from smartxd.planes.frr.state import (
    VNI,
    ASPathEntry,
    ASPathList,
    BFDProfile,
    Communities,
    CommunityEntry,
    CommunityList,
    Family,
    FRRState,
    Match,
    MaxPrefixes,
    Neighbor,
    NeighborFamily,
    Network,
    NextHop,
    Part,
    Permission,
    Policy,
    PrefixEntry,
    PrefixList,
    Redistribution,
    RouteMap,
    RouteMapEntry,
    Router,
    Set,
    StaticRoute,
    Unicast,
)

BOX, PEER = ObjectRef("BGPRouter", "box"), 65002
STABLE = "192.0.2.2"
"""A neighbour that is there and never changes; the lists and maps that it uses do."""
LIVELY = "198.51.100.2"
"""A neighbour that is there and changes."""
SECRETS = {"first": "correct-horse", "second": "battery'\"\\staple"}
"""Passwords by the name of their file."""

LONGEST = "x" * 63
_LISTS = ("a", "b", "seq", "permit", "7", "150", "description", LONGEST)
_WORDS = tuple(name for name in _LISTS if not name.isdigit())
"""FRR takes a name of digits for a numbered list of communities, whose number decides its style."""
_MAPS = ("a", "b", "in", "out", "10", "deny", LONGEST)
_LINKS = ("wan", "eth7", "a-b_c.100", "Interface012345")
_HOSTS = (
    LIVELY,
    "203.0.113.9",
    "10.9.9.9",
    "2001:db8::9",
    "2001:db8:ffff:1:2:3:4:5",
    "fd00::1:0:0:9",
    "wan",
    "eth7",
)
_PREFIXES: dict[Unicast, tuple[str, ...]] = {
    "ipv4": ("0.0.0.0/0", "10.0.0.0/8", "10.9.0.0/16", "192.0.2.0/24", "198.51.100.1/32", "128.0.0.0/1"),
    "ipv6": ("::/0", "2001:db8::/32", "2001:db8:0:1::/64", "fd00::/8", "2001:db8::1/128", "::ffff:0:0/96"),
}
_ASNS = (1, 64512, 65001, 65535, 65536, 4200000001, 0xFFFFFFFE)
_STANDARD = (
    "0:0",
    "65001:1",
    "65001:100",
    "65535:65535",
    "65535:65281",
    "65535:6",
    "no-export",
    "local-AS",
    "blackhole",
    "internet",
    "no-peer",
)
_LARGE = ("0:0:0", "65001:1:2", "4294967295:4294967295:4294967295", "65001:10:2")
_EXTENDED = ("rt 65001:100", "rt 192.0.2.1:5", "soo 4200000001:7", "soo 65001:4294967295", "rt 65536:1")
_COMMUNITIES: dict[Communities, tuple[str, ...]] = {
    "standard": _STANDARD,
    "large": _LARGE,
    "extended": _EXTENDED,
}
_REGEXES = (
    *("^65001_", "_65001$", "^$", ".*", "^(65001_)+$", "[0-9]+ 65001", "^65[0-4]..$", "_1?2*_", r"^1\.2"),
)
_TEXTS = (
    *(
        "",
        "to the other box",
        "a | b",
        "!",
        "# x",
        "exit",
        "end",
        "exit-address-family",
        "? ?",
        "%s %n",
        "\\",
        '"',
    ),
    *(
        "<cr>",
        "[x] {y}",
        "é 한국어",
        "FE80::0001 2001:DB8::1/32 ::",
        "route-map b in",
        "remote-as 1",
        "password x",
    ),
    *(
        "no neighbor 192.0.2.2",
        "a  b",
        "smartxd:BGPPeer/other",
        "x" * 200,
        "é" * 200,
        "peer-group PG",
        "seq 5",
    ),
    *("description", "message", "rpki", "timers 1 3", "0", "-1", "ipv6 add FE80::0001", "\u200b"),
)

_T = TypeVar("_T")
_P = TypeVar("_P", bound=Part)


@dataclass
class Draw:
    """Draws states, each from the one before."""

    rng: random.Random
    restless: bool = True
    """Whether the speaker's AS number and router ID may change, and the speaker go."""
    before: FRRState = FRRState()
    parts: dict[str, Part] = field(default_factory=dict)

    def state(self) -> FRRState:
        """The next state."""
        self.parts = {}
        lists: list[Part] = []
        lists += self._each(PrefixList, _LISTS, self._prefix_list, always="a")
        lists += self._each(CommunityList, _WORDS, self._community_list)
        lists += self._each(ASPathList, _LISTS, self._as_path_list)
        lists += self._each(RouteMap, _MAPS, self._route_map, always="a")
        lists += self._each(StaticRoute, (*_PREFIXES["ipv4"], *_PREFIXES["ipv6"]), self._static_route)
        speaker = self._speaker()
        used = {part.bfd_profile for part in speaker if isinstance(part, Neighbor)}
        profiles = [p for p in self.parts.values() if isinstance(p, BFDProfile) and p.name in used]
        self.before = FRRState((*lists, *profiles, *speaker))
        return self.before

    # What stays, changes and goes

    def _each(
        self, kind: type[_P], names: Sequence[str], make: Callable[[str], _P], always: str = ""
    ) -> Iterator[_P]:
        """Parts of a kind by their names: as before, made anew, or none."""
        had = {_key(part): part for part in self.before.of(kind)}
        for name in names:
            old, dice = had.get(name), self.rng.random()
            if old is not None and dice < 0.7 and all(need in self.parts for need in needs(old)):
                part = old
            elif (dice < 0.85 and (old is not None or dice < 0.3)) or name == always:
                part = make(name)
            else:
                continue
            self.parts[part.id] = part
            yield part

    def one(self, values: Sequence[_T]) -> _T:
        return self.rng.choice(values)

    def some(self, values: Sequence[_T], least: int = 0, most: int = 4) -> tuple[_T, ...]:
        return tuple(self.rng.sample(values, self.rng.randint(least, min(most, len(values)))))

    def maybe(self, chance: float = 0.3) -> bool:
        return self.rng.random() < chance

    def number(self, low: int, high: int) -> int:
        """Mostly an end of the range, for that is where printing differs."""
        near = (low, low + 1, high, self.rng.randint(low, high), self.rng.randint(low, min(high, low + 200)))
        return min(self.one(near), high)

    def text(self, most: int = 200) -> str:
        if self.maybe(0.7):
            return self.one(_TEXTS).strip()[:most]
        chars = (chr(self.rng.randrange(0x20, 0x3000)) for _ in range(self.rng.randrange(40)))
        return "".join(
            c for c in chars if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        ).strip()

    def _seqs(self, high: int = 0xFFFFFFFF) -> list[int]:
        return sorted(
            {self.number(1, high) if self.maybe() else 5 * self.rng.randint(1, 8) for _ in range(4)}
        )

    def _permission(self) -> Permission:
        return "permit" if self.maybe(0.7) else "deny"

    # Lists and maps

    def _prefix_list(self, name: str) -> PrefixList:
        family: Unicast = "ipv6" if self.maybe() and name != "a" else "ipv4"
        entries = tuple(self._prefix_entry(seq, self.one(_PREFIXES[family])) for seq in self._seqs())
        return PrefixList(ObjectRef("PrefixList", name), name, family, entries)

    def _prefix_entry(self, seq: int, prefix: str) -> PrefixEntry:
        network = ip_network(prefix)
        own, longest = network.prefixlen, network.max_prefixlen
        ge = self.rng.randint(own + 1, longest) if self.maybe() and own < longest else None
        le = self.one((ge or own, longest, self.rng.randint(ge or own, longest))) if self.maybe() else None
        return PrefixEntry(seq, self._permission(), prefix, ge, le)

    def _community_list(self, name: str) -> CommunityList:
        kind = self.one(("standard", "standard", "extended", "large"))
        by_regex, seqs = self.maybe(), self._seqs()
        if by_regex:
            said: list[tuple[tuple[str, ...], str]] = [((), self.one(_REGEXES)) for _ in seqs]
        else:
            said = [(self.some(_COMMUNITIES[kind], 1, 9), "") for _ in seqs]
        entries = tuple(
            CommunityEntry(seq, self._permission(), *what) for seq, what in zip(seqs, said, strict=True)
        )
        return CommunityList(ObjectRef("CommunityList", name), name, kind, entries)

    def _as_path_list(self, name: str) -> ASPathList:
        entries = tuple(ASPathEntry(seq, self._permission(), self.one(_REGEXES)) for seq in self._seqs())
        return ASPathList(ObjectRef("ASPathList", name), name, entries)

    def _route_map(self, name: str) -> RouteMap:
        seqs = self._seqs(65535)
        entries = tuple(self._entry(seq, seqs) for seq in seqs)
        return RouteMap(ObjectRef("RouteMap", name), name, entries)

    def _entry(self, seq: int, seqs: Sequence[int]) -> RouteMapEntry:
        action, later = self._permission(), [n for n in seqs if n > seq]
        return RouteMapEntry(
            seq,
            action,
            self.text(),
            self._match(),
            self._set() if action == "permit" else Set(),
            self._named(RouteMap) if self.maybe() else "",
            self.one(("", "next", *later)) if action == "permit" else "",
        )

    def _named(self, kind: type[Part], *wanted: str) -> str:
        """The name of a list or map that is there; empty where there is none."""
        names = [_key(part) for part in self.parts.values() if isinstance(part, kind)]
        return self.one(names) if names else ""

    def _lists(self, family: Unicast | None = None) -> dict[str, Unicast]:
        lists = (part for part in self.parts.values() if isinstance(part, PrefixList))
        return {part.name: part.family for part in lists if family in (None, part.family)}

    def _community_lists(self) -> dict[str, Communities]:
        return {part.name: part.type for part in self.parts.values() if isinstance(part, CommunityList)}

    def _match(self) -> Match:
        lists, communities = self._lists(), self._community_lists()
        prefix = self.one(["", *lists])
        hop, carried = self.one(["", "", *lists]), self.one(["", *communities])
        kind = communities.get(carried, "standard")
        return Match(
            prefix_list=prefix,
            prefix_list_family=lists.get(prefix, "ipv4"),
            next_hop_prefix_list=hop,
            next_hop_family=lists.get(hop, "ipv4"),
            community_list=carried,
            community_type=kind,
            exact_communities=bool(carried) and kind != "extended" and self.maybe(),
            as_path_list=self._named(ASPathList) if self.maybe() else "",
            local_preference=self._metric(),
            metric=self.number(1, 0xFFFFFFFF) if self.maybe(0.2) else None,
            tag=self.number(1, 0xFFFFFFFF) if self.maybe(0.2) else None,
            interface=self.one(_LINKS) if self.maybe(0.2) else "",
            source_protocol=self.one(("bgp", "connected", "kernel", "static")) if self.maybe(0.2) else "",
            evpn_vni=self.number(1, 0xFFFFFF) if self.maybe(0.2) else None,
            evpn_route_type=self.one(("macip", "multicast", "prefix")) if self.maybe(0.2) else "",
        )

    def _metric(self) -> int | None:
        return self.number(0, 0xFFFFFFFF) if self.maybe(0.2) else None

    def _change(self) -> int | str | None:
        value = self._metric()
        return f"{self.one('+-')}{value}" if value and self.maybe(0.5) else value

    def _set(self) -> Set:
        communities = self.some(_STANDARD) if self.maybe() else ()
        large = self.some(_LARGE) if self.maybe() else ()
        deletable = {n: kind for n, kind in self._community_lists().items() if kind != "extended"}
        deleted = self.one(["", *deletable])
        hops = ("", "", "192.0.2.9", "198.51.100.9", "2001:db8::9", "unchanged", "peer-address")
        return Set(
            local_preference=self._change(),
            metric=self._change(),
            weight=self._metric(),
            origin=self.one(("", "", "igp", "egp", "incomplete")),
            tag=self.number(1, 0xFFFFFFFF) if self.maybe(0.2) else None,
            next_hop=self.one(hops),
            as_path_prepend=tuple(self.one(_ASNS) for _ in range(self.one((0, 0, 1, 16)))),
            communities=communities,
            large_communities=large,
            extended_communities=self.some(_EXTENDED) if self.maybe() else (),
            additive=bool(communities or large) and self.maybe(),
            delete_communities=deleted,
            delete_type=deletable.get(deleted, "standard"),
        )

    # Static routes

    def _static_route(self, destination: str) -> StaticRoute:
        near = ("192.0.2.2", "198.51.100.9") if ":" not in destination else ("2001:db8::2", "fd00::9")
        hops = {
            NextHop(self.one(near)),
            NextHop("", self.one(_LINKS)),
            NextHop(self.one(near), self.one(_LINKS)),
        }
        if ":" in destination:
            hops.add(NextHop("fe80::1", self.one(_LINKS)))
        return StaticRoute(
            ObjectRef("Route", _as_name(destination)), destination, tuple(sorted(self.some([*sorted(hops)])))
        )

    # The speaker

    def _speaker(self) -> list[Part]:
        old = self.before.router
        if self.restless and old is not None and self.maybe(0.02):
            return []
        router = self._router(old)
        families: tuple[Unicast, ...] = tuple(f for f in router.families if f != "evpn")
        announced = [p for f in families for p in _PREFIXES[f] if ip_network(p).prefixlen]
        found: list[Part] = [router]
        found += [Network(BOX, prefix, router.asn) for prefix in self.some(announced)]
        found += [
            Redistribution(
                BOX, family, source, router.asn, self._metric(), self._named(RouteMap) if self.maybe() else ""
            )
            for family in families
            for source in self.some(("connected", "kernel", "static"))
        ]
        if router.advertise_all_vni:
            found += [
                self._vni(number, router.asn) for number in sorted(self.some((1, 100, 65536, 0xFFFFFF)))
            ]
        found += sorted(self._neighbors(router), key=_place)
        return found

    def _router(self, old: Router | None) -> Router:
        asn, router_id = (old.asn, old.router_id) if old is not None else (65001, "10.255.0.1")
        if self.restless and self.maybe(0.03):
            asn, router_id = self.one((65001, 4200000001, 65003)), self.one(("10.255.0.1", "203.0.113.1"))
        evpn = self.maybe(0.6)
        all_vni = evpn and self.maybe(0.7)
        return Router(
            BOX,
            asn,
            router_id,
            self.one(("", "", "10.255.0.9", "0.0.0.7")),
            ("ipv4", *(("ipv6",) if self.maybe(0.8) else ()), *(("evpn",) if evpn else ())),
            self.one((1, 1, 2, 64)),
            self.one((1, 1, 2, 64)),
            all_vni,
            all_vni and self.maybe(0.3),
        )

    def _vni(self, number: int, asn: int) -> VNI:
        names = ("65001:100", "192.0.2.1:100", "4200000001:5", "65001:4294967295")
        distinguisher = self.one(("", *names, "0.0.0.0:0", "4294967295:65535"))
        targets = tuple(sorted(self.some(names, 0 if distinguisher else 1)))
        return VNI(ObjectRef("Tunnel", f"t{number}"), number, asn, targets, distinguisher)

    def _neighbors(self, router: Router) -> Iterator[Neighbor]:
        had = {n.name: n for n in self.before.neighbors}
        policy = NeighborFamily("ipv4", inbound=Policy("a", "a"), outbound=Policy("a"))
        stable = ObjectRef("BGPPeer", "stable")
        yield Neighbor(stable, STABLE, router.asn, PEER, connect_retry_s=1, families=(policy,))
        for name in _HOSTS:
            old, dice = had.get(name), self.rng.random()
            if old is not None and dice < 0.6 and self._fits(old, router):
                if old.bfd_profile:
                    self._profile(*(int(n) for n in old.bfd_profile.split("-")[1:]))
                yield old
            elif dice < 0.75:
                yield self._neighbor(name, router)

    def _fits(self, old: Neighbor, router: Router) -> bool:
        named = (need for need in needs(old) if not need.startswith("bfd-profile "))
        spoken = {family.family for family in old.families} <= set(router.families)
        return old.asn == router.asn and spoken and all(need in self.parts for need in named)

    def _profile(self, receive: int, transmit: int, multiplier: int) -> str:
        profile = BFDProfile(BOX, receive, transmit, multiplier)
        self.parts[profile.id] = profile
        return profile.name

    def _neighbor(self, name: str, router: Router) -> Neighbor:
        unnumbered, remote = not _is_address(name), self.one((PEER, PEER, router.asn, *_ASNS))
        internal = remote == router.asn
        multihop = self.number(2, 255) if not internal and not unnumbered and self.maybe() else 0
        ttl = 0 if multihop or not self.maybe() else 1 if unnumbered else self.number(1, 254)
        keepalive = self.number(1, 21845)
        # Not the stable session's: to the other end both would be one neighbour, and collide (RFC 4271, 6.8).
        sources = ("", "2001:db8::1") if ":" in name else ("", "198.51.100.1", "10.255.0.1")
        bfd = (self.number(10, 60_000), self.one((10, 300, 60_000)), self.number(2, 255))
        plain = self.maybe()
        return Neighbor(
            owner=ObjectRef("BGPPeer", f"{self.one('ppppq')}-{_as_name(name)}"),
            name=name,
            asn=router.asn,
            remote_as=remote,
            description=self.text(),
            unnumbered=unnumbered,
            update_source="" if unnumbered else self.one(sources),
            keepalive_s=60 if plain else keepalive,
            hold_s=180 if plain else self.rng.randint(3 * keepalive, 65535),
            connect_retry_s=self.one((1, 10, 30, 120, 65535)),
            advertisement_interval_s=self.one((None, None, 0, 5, 30, 600)),
            secret=self.one(["", "", *SECRETS]),
            bfd_profile=self._profile(*self.one(((300, 300, 3), bfd))) if self.maybe() else "",
            multihop=multihop,
            ttl_security=ttl,
            graceful_restart=self.one(("helper", "helper", "enabled", "disabled")),
            shutdown=self.text() if self.maybe(0.2) else None,
            families=tuple(self._family(f, internal) for f in router.families if self.maybe(0.7))
            or (self._family(router.families[0], internal),),
        )

    def _family(self, family: Family, internal: bool) -> NeighborFamily:
        client, again = internal and self.maybe(), self.one((0, 0, 1, 3, 10))
        if family == "evpn":
            return NeighborFamily(
                "evpn",
                route_reflector_client=client,
                allow_as_in=again,
                inbound=Policy(self._some_map()),
                outbound=Policy(self._some_map()),
            )
        kinds: tuple[Communities, ...] = ("standard", "extended", "large")
        sent = tuple(kind for kind in kinds if self.maybe(0.8))
        return NeighborFamily(
            family,
            self.maybe(),
            client,
            self.maybe(),
            again,
            sent,
            self._limit() if self.maybe() else None,
            self._policy(family),
            self._policy(family),
        )

    def _some_map(self) -> str:
        return self._named(RouteMap) if self.maybe(0.5) else ""

    def _policy(self, family: Unicast) -> Policy:
        lists = self._lists(family)
        return Policy(
            self._some_map(), self.one(["", *lists]), self._named(ASPathList) if self.maybe() else ""
        )

    def _limit(self) -> MaxPrefixes:
        action: Literal["teardown", "restart", "warn"] = self.one(("teardown", "restart", "warn"))
        minutes = self.number(1, 65535) if action == "restart" else None
        # Not so low that a session that should stay up is ended by it.
        return MaxPrefixes(self.number(100, 0xFFFFFFFF), self.one((75, 1, 100)), action, minutes)


def _key(part: Part) -> str:
    """What the language tells parts of a kind apart by: one name, whatever the family or type."""
    return part.destination if isinstance(part, StaticRoute) else str(getattr(part, "name", part.id))


def _is_address(name: str) -> bool:
    return ":" in name or name.count(".") == 3


def _place(part: Neighbor) -> tuple[int, int, str]:
    if part.unnumbered:
        return 128, 0, part.name
    address = ip_address(part.name)
    return address.version, int(address), ""


def _as_name(text: str) -> str:
    return text.replace(":", "-").replace(".", "-").replace("/", "-").strip("-").lower()


def changed(before: FRRState, after: FRRState) -> Mapping[str, Part | None]:
    """What became of each part that is not as before, by its id."""
    old, new = ({part.id: part for part in state.parts} for state in (before, after))
    return {id: new.get(id) for id in old.keys() | new.keys() if old.get(id) != new.get(id)}
