"""The kernel's network state that smartxd makes, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from smartxd.objects import ObjectRef

MARK_PREFIX = "smartxd:"
"""A link's alias is ``smartxd:Kind/name`` when smartxd made it: the kernel's half of ownership."""

ADDRESS_PROTOCOL = 0x53
"""IFA_PROTO of an address that smartxd made (Linux 5.18); 0 is unspecified, 1–3 are the kernel's own."""


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
