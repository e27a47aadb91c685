"""What FRR should be, as plain data: parts, each of which one object of the specs owns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from smartxd.objects import ObjectRef, OwnedObject

PLANE = "frr"
"""The plane's name in the inventory."""

Unicast = Literal["ipv4", "ipv6"]
Family = Literal["ipv4", "ipv6", "evpn"]
Permission = Literal["permit", "deny"]
Communities = Literal["standard", "extended", "large"]


@dataclass(frozen=True, slots=True)
class Router:
    """The ``router bgp`` section of the default VRF and its own settings."""

    owner: ObjectRef
    asn: int
    router_id: str | None
    cluster_id: str = ""
    """Of a route reflector; the router ID where empty."""
    families: tuple[Family, ...] = ("ipv4",)
    multipath_ebgp: int = 1
    multipath_ibgp: int = 1
    advertise_all_vni: bool = False
    advertise_svi_ip: bool = False

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"router bgp {self.asn}"


@dataclass(frozen=True, slots=True)
class Network:
    """A prefix that the speaker of ``asn`` announces."""

    owner: ObjectRef
    prefix: str
    asn: int

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"network {self.prefix}"


@dataclass(frozen=True, slots=True)
class Redistribution:
    """Routes of another source that the speaker of ``asn`` announces."""

    owner: ObjectRef
    family: Unicast
    source: str
    """As FRR calls it: ``connected``, ``static``, ``kernel``."""
    asn: int
    metric: int | None = None
    route_map: str = ""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"redistribute {self.family} {self.source}"


@dataclass(frozen=True, slots=True)
class VNI:
    """What EVPN is told of one VNI; where there is none, FRR derives everything from AS number and VNI."""

    owner: ObjectRef
    vni: int
    asn: int
    route_targets: tuple[str, ...] = ()
    """Imported and exported."""
    route_distinguisher: str = ""
    """FRR derives one where empty."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"vni {self.vni}"


@dataclass(frozen=True, slots=True)
class MaxPrefixes:
    """How many prefixes a neighbour may announce in a family, and what happens beyond."""

    limit: int
    warn_at_percent: int = 75
    action: Literal["teardown", "restart", "warn"] = "teardown"
    restart_after_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What routes have to pass in one direction; names, empty where there is none."""

    route_map: str = ""
    prefix_list: str = ""
    as_path_list: str = ""


@dataclass(frozen=True, slots=True)
class NeighborFamily:
    """What a session does in one address family."""

    family: Family
    next_hop_self: bool = False
    route_reflector_client: bool = False
    default_originate: bool = False
    allow_as_in: int = 0
    """How often the own AS may stand in a path; 0 for not at all."""
    send_communities: tuple[Communities, ...] = ("standard", "extended", "large")
    max_prefixes: MaxPrefixes | None = None
    inbound: Policy = Policy()
    outbound: Policy = Policy()


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP session with one address, or with whoever is at the other end of a link."""

    owner: ObjectRef
    name: str
    """The address; of an unnumbered session (RFC 5549) the interface."""
    asn: int
    """The speaker's own AS number."""
    remote_as: int
    description: str = ""
    """Free text of the spec; the running configuration carries it behind the owner's mark."""
    unnumbered: bool = False
    update_source: str = ""
    """The own address; FRR takes that of the link where empty."""
    keepalive_s: int = 60
    hold_s: int = 180
    connect_retry_s: int = 10
    advertisement_interval_s: int | None = None
    secret: str = ""
    """Name of the secret that is the TCP MD5 password (RFC 2385), never the password."""
    bfd_profile: str = ""
    multihop: int = 0
    """TTL of an eBGP session whose ends share no link; 0 where they do."""
    ttl_security: int = 0
    """How many hops away the other end may be (RFC 5082); 0 where that is not looked at."""
    graceful_restart: Literal["enabled", "helper", "disabled"] = "helper"
    shutdown: str | None = None
    """The message of a session that is kept down, may be empty; None where it is not."""
    families: tuple[NeighborFamily, ...] = (NeighborFamily("ipv4"),)

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"neighbor {self.name}"


@dataclass(frozen=True, slots=True)
class PrefixEntry:
    """Prefixes of one block, by their length."""

    seq: int
    action: Permission
    prefix: str
    ge: int | None = None
    le: int | None = None


@dataclass(frozen=True, slots=True)
class PrefixList:
    """Prefixes that pass or do not."""

    owner: ObjectRef
    name: str
    family: Unicast
    entries: tuple[PrefixEntry, ...]

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"prefix-list {self.family} {self.name}"


@dataclass(frozen=True, slots=True)
class CommunityEntry:
    """Routes that carry all of ``communities``, or one that ``regex`` matches."""

    seq: int
    action: Permission
    communities: tuple[str, ...] = ()
    regex: str = ""


@dataclass(frozen=True, slots=True)
class CommunityList:
    """Communities that pass or do not."""

    owner: ObjectRef
    name: str
    type: Communities
    entries: tuple[CommunityEntry, ...]

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"community-list {self.type} {self.name}"


@dataclass(frozen=True, slots=True)
class ASPathEntry:
    """Routes whose AS path ``regex`` matches."""

    seq: int
    action: Permission
    regex: str


@dataclass(frozen=True, slots=True)
class ASPathList:
    """AS paths that pass or do not."""

    owner: ObjectRef
    name: str
    entries: tuple[ASPathEntry, ...]

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"as-path-list {self.name}"


@dataclass(frozen=True, slots=True)
class Match:
    """Which routes an entry of a route map is for; what is empty or None is not looked at."""

    prefix_list: str = ""
    prefix_list_family: Unicast = "ipv4"
    next_hop_prefix_list: str = ""
    next_hop_family: Unicast = "ipv4"
    community_list: str = ""
    community_type: Communities = "standard"
    exact_communities: bool = False
    as_path_list: str = ""
    local_preference: int | None = None
    metric: int | None = None
    tag: int | None = None
    interface: str = ""
    source_protocol: str = ""
    evpn_vni: int | None = None
    evpn_route_type: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """What an entry of a route map changes; what is empty or None stays."""

    local_preference: int | str | None = None
    """A number, or a change of it as ``+10``; so with the metric."""
    metric: int | str | None = None
    weight: int | None = None
    origin: str = ""
    tag: int | None = None
    next_hop: str = ""
    """An address, ``unchanged`` or ``peer-address``."""
    as_path_prepend: tuple[int, ...] = ()
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    extended_communities: tuple[str, ...] = ()
    """Each ``rt 65001:100`` or ``soo 65001:5``."""
    additive: bool = False
    """Of communities and large ones."""
    delete_communities: str = ""
    """A list of communities to take away."""
    delete_type: Communities = "standard"


@dataclass(frozen=True, slots=True)
class RouteMapEntry:
    """A step of a map."""

    seq: int
    action: Permission
    description: str = ""
    match: Match = Match()
    set: Set = Set()
    call: str = ""
    on_match: Literal["", "next"] | int = ""
    """``next``, or the number of the entry to go on with."""


@dataclass(frozen=True, slots=True)
class RouteMap:
    """A policy for routes."""

    owner: ObjectRef
    name: str
    entries: tuple[RouteMapEntry, ...]

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"route-map {self.name}"


@dataclass(frozen=True, slots=True)
class BFDProfile:
    """Intervals of BFD (RFC 5880); sessions that agree in them share a profile, named after them."""

    owner: ObjectRef
    receive_ms: int = 300
    transmit_ms: int = 300
    multiplier: int = 3

    @property
    def name(self) -> str:
        """The profile's name, and by its beginning the mark that smartxd made it."""
        return f"smartxd-{self.receive_ms}-{self.transmit_ms}-{self.multiplier}"

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"bfd-profile {self.name}"


@dataclass(frozen=True, slots=True, order=True)
class NextHop:
    """Where a static route leads; either may be empty."""

    address: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A static route that FRR keeps, because its speaker announces those."""

    owner: ObjectRef
    destination: str
    hops: tuple[NextHop, ...] = ()
    """None for a blackhole."""
    table: int = 254

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"route {self.destination}" + (f" table {self.table}" if self.table != MAIN_TABLE else "")


MAIN_TABLE = 254

List = PrefixList | CommunityList | ASPathList
Inner = Network | Redistribution | VNI | Neighbor
"""What stands within the ``router bgp`` section of its ``asn``."""
Part = Router | Inner | List | RouteMap | BFDProfile | StaticRoute

_P = TypeVar("_P", bound=Part)


@dataclass(frozen=True, slots=True)
class FRRState:
    """All of FRR that a box's specs ask for."""

    parts: tuple[Part, ...] = ()
    """In an order in which nothing names what comes after it: lists, maps, profiles, the router, what is in
    it; each kind sorted."""
    adopt: frozenset[ObjectRef] = field(default_factory=frozenset)
    """Owners that may take over parts that somebody else has made just as they say."""

    def of(self, kind: type[_P]) -> Iterator[_P]:
        """The parts of a kind, in order."""
        return (part for part in self.parts if isinstance(part, kind))

    @property
    def router(self) -> Router | None:
        """The speaker; there is one at most."""
        return next(self.of(Router), None)

    @property
    def neighbors(self) -> tuple[Neighbor, ...]:
        """The sessions."""
        return tuple(self.of(Neighbor))

    def objects(self) -> frozenset[OwnedObject]:
        """Every part, as the inventory knows it."""
        return frozenset(OwnedObject(PLANE, part.id, part.owner) for part in self.parts)
