"""The kernel's network state that smartxd makes, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from smartxd.objects import ObjectRef, OwnedObject

PLANE = "kernel"
"""The plane's name in plans and in the inventory."""

MARK_PREFIX = "smartxd:"
"""A link's alias is ``smartxd:Kind/name`` when smartxd made it: the kernel's half of ownership."""

ADDRESS_PROTOCOL = 0x53
"""IFA_PROTO of an address that smartxd made (Linux 5.18); 0 is unspecified, 1–3 are the kernel's own."""

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


@dataclass(frozen=True, slots=True)
class Bridge:
    """A virtual switch."""

    owner: ObjectRef
    name: str
    mtu: int

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"link {self.name}"


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A VTEP: one VNI over one underlay link, a port of a bridge."""

    owner: ObjectRef
    name: str
    vni: int
    group: str
    """The multicast group that unknown and broadcast frames flood to, and by which VTEPs find each other."""
    local: str
    """This box's VTEP address."""
    underlay: str
    """Name of the link that carries the outer packets."""
    bridge: str
    mtu: int
    port: int = 4789
    ttl: int = 16
    learning: bool = True
    """Whether remote VTEPs are learned from the frames that they send."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"link {self.name}"


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


Link = Bridge | Vxlan
Object = Bridge | Vxlan | Address


@dataclass(frozen=True, slots=True)
class KernelState:
    """All of the kernel that a box's specs ask for; links in creation order, then addresses, each sorted."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()

    def objects(self) -> frozenset[OwnedObject]:
        """Every object of the state, as the inventory knows it."""
        return frozenset(OwnedObject(PLANE, o.id, o.owner) for o in (*self.links, *self.addresses))
