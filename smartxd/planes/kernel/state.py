"""The kernel's network state that smartxd makes, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

from smartxd.objects import ObjectRef, OwnedObject

PLANE = "kernel"
"""The plane's name in plans and in the inventory."""

MARK_PREFIX = "smartxd:"
"""A link's alias is ``smartxd:Kind/name`` when smartxd made it: the kernel's half of ownership."""

PROTOCOL = 0x53
"""Who made an address (IFA_PROTO, Linux 5.18), a neighbour entry (NDA_PROTOCOL) or a route (rtm_protocol)."""

NEWBORN_GROUP = 0x5358
"""Link group of a link that smartxd has just made.

The kernel takes a group, but no alias, in the message that creates a link. The alias follows and clears the
group; a crash in between leaves a link that is still known."""


def mark(owner: ObjectRef) -> str:
    """The alias of a link that smartxd made for ``owner``."""
    return f"{MARK_PREFIX}{owner}"


def marked_owner(alias: str) -> ObjectRef | None:
    """For whom smartxd made the link with this alias; None when the alias is not a mark."""
    if not alias.startswith(MARK_PREFIX):
        return None
    try:
        return ObjectRef.parse(alias.removeprefix(MARK_PREFIX))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, order=True)
class VlanRange:
    """VLANs of a bridge port that are treated alike; a set of them is sorted, and as few as can be."""

    first: int
    last: int
    pvid: bool = False
    """Untagged frames that come in are of this VLAN."""
    untagged: bool = False
    """Frames go out untagged."""

    def __str__(self) -> str:
        ids = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return ids + " pvid" * self.pvid + " untagged" * self.untagged


@dataclass(frozen=True, slots=True)
class PortSettings:
    """How a bridge treats one of its ports; the defaults are those of a new port."""

    vlans: tuple[VlanRange, ...] = ()
    """Of a VLAN-aware bridge; a bridge that knows no VLANs has them in no port."""
    isolated: bool = False
    """No traffic to other isolated ports."""
    learning: bool = True
    neighbor_suppression: bool = False
    """ARP and ND are answered from what is known (RFC 9161)."""


@dataclass(frozen=True, slots=True, order=True)
class Host:
    """A host whose place is fixed: a permanent neighbour entry."""

    address: str
    mac: str

    def __str__(self) -> str:
        return f"{self.address} {self.mac}"


@dataclass(frozen=True, slots=True, order=True)
class Station:
    """A MAC address that is always behind one VTEP."""

    mac: str
    vtep: str

    def __str__(self) -> str:
        return f"{self.mac} {self.vtep}"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A virtual switch."""

    owner: ObjectRef
    name: str
    mtu: int
    mac: str = ""
    """Empty: whichever the kernel chooses, or it has already."""
    vlan_aware: bool = False
    """VLAN filtering; a port has the VLANs that it is given and no other (default_pvid 0)."""
    vlans: tuple[VlanRange, ...] = ()
    """Of the bridge itself as a port, where it is VLAN-aware."""
    stp: bool = False
    multicast_snooping: bool = True
    link_local: bool = False
    """Whether it has an IPv6 link-local address: a switch that is no router needs none."""
    forwarding4: bool = False
    """Whether IPv4 packets that come in by it are routed."""
    forwarding6: bool = False
    hosts: frozenset[Host] = frozenset()
    """Neighbour entries of smartxd's on it."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"link {self.name}"


@dataclass(frozen=True, slots=True)
class Vlan:
    """A VLAN of a bridge as a link of its own (802.1Q): where a gateway of that VLAN has its addresses."""

    owner: ObjectRef
    name: str
    bridge: str
    vid: int
    mtu: int
    mac: str = ""
    link_local: bool = False
    forwarding4: bool = False
    forwarding6: bool = False
    hosts: frozenset[Host] = frozenset()

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"link {self.name}"


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A VTEP: one VNI over the underlay, a port of a bridge."""

    owner: ObjectRef
    name: str
    vni: int
    local: str
    """This box's VTEP address, IPv4 or IPv6."""
    bridge: str
    mtu: int
    group: str = ""
    """The multicast group that unknown and broadcast frames flood to; empty where there is none."""
    underlay: str = ""
    """Name of the link on which the group is joined; empty without a group: then the routes decide."""
    port: int = 4789
    ttl: int = 16
    learning: bool = True
    """Whether remote VTEPs are learned from the frames that they send."""
    remotes: frozenset[str] | None = frozenset()
    """VTEPs that unknown and broadcast frames are sent to, one copy each; None: BGP EVPN says it."""
    stations: frozenset[Station] = frozenset()
    settings: PortSettings = PortSettings()

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"link {self.name}"


@dataclass(frozen=True, slots=True)
class PortRule:
    """Links of others that are plugged into a bridge whenever they are there."""

    owner: ObjectRef
    patterns: tuple[str, ...]
    """Names, in which ``*`` stands for any characters and ``?`` for one."""
    bridge: str
    namespace: str | None = None
    """Only veths whose other end is in this network namespace (a name under /run/netns)."""
    settings: PortSettings = PortSettings()


@dataclass(frozen=True, slots=True)
class Plug:
    """A link of somebody else's as a port of a bridge."""

    owner: ObjectRef
    link: str
    bridge: str
    settings: PortSettings = PortSettings()

    @property
    def id(self) -> str:
        """The plane's name for it: it says where smartxd plugged the link in, which bears no mark."""
        return f"port {self.link} in {self.bridge}"


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its prefix length on a link."""

    owner: ObjectRef
    link: str
    address: str
    """As the kernel writes it: ``192.0.2.1/24``, ``2001:db8::1/64``."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"address {self.address} dev {self.link}"

    @property
    def ip(self) -> str:
        """Without the prefix length."""
        return self.address.partition("/")[0]


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where packets of a route go next: an address, a link, or an address on a link."""

    address: str = ""
    link: str = ""
    weight: int = 1

    def __str__(self) -> str:
        weight = f"weight {self.weight}" if self.weight != 1 else ""
        return " ".join(filter(None, (self.address, f"dev {self.link}" if self.link else "", weight)))


@dataclass(frozen=True, slots=True)
class Route:
    """A static route; without next hops it drops what it is for."""

    owner: ObjectRef
    destination: str
    """As the kernel writes it: ``192.0.2.0/24``, ``0.0.0.0/0``."""
    hops: tuple[NextHop, ...] = ()
    metric: int = 0
    """For IPv6 the kernel takes 0 for 1024; this says 1024."""
    table: int = 254

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"route {self.destination} metric {self.metric} table {self.table}"


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Packets of a family that come in by a link of somebody else's (the underlay) are routed."""

    owner: ObjectRef
    link: str
    family: str
    """``ipv4`` or ``ipv6``."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"{self.family} forwarding dev {self.link}"


Link = Bridge | Vlan | Vxlan
Object = Link | Plug | Address | Route | Forwarding


@dataclass(frozen=True, slots=True)
class KernelState:
    """All of the kernel that a box's specs ask for, each tuple sorted; links in the order of creation."""

    links: tuple[Link, ...] = ()
    """Bridges, then VLANs, then VXLANs."""
    ports: tuple[PortRule, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    forwarding: tuple[Forwarding, ...] = ()
    adopt: frozenset[ObjectRef] = frozenset()
    """Whose links may be taken over where somebody else has made them just so: by annotation."""

    def objects(self) -> frozenset[OwnedObject]:
        """Every object of the state, as the inventory knows it; which links ports take is not known yet."""
        found = (*self.links, *self.addresses, *self.routes, *self.forwarding)
        return frozenset(OwnedObject(PLANE, o.id, o.owner) for o in found)


def family_of(address: str) -> str:
    """``ipv4`` or ``ipv6``, of an address with or without a prefix length."""
    version = (ip_interface if "/" in address else ip_address)(address).version
    return f"ipv{version}"
