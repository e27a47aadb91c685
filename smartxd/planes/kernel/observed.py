"""What the kernel's network state is, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import ADDRESS_PROTOCOL, NEWBORN_GROUP, Bridge, Link, Vxlan, marked_owner


@dataclass(frozen=True, slots=True)
class ObservedVxlan:
    """What makes a link a VTEP."""

    vni: int
    group: str
    """The multicast group, or the one remote VTEP; empty when there is none."""
    local: str
    underlay: str
    """Name of the link that carries the outer packets; empty when the routes decide."""
    port: int
    ttl: int
    learning: bool


@dataclass(frozen=True, slots=True)
class ObservedLink:
    """A link of any kind, whoever made it."""

    name: str
    index: int
    kind: str = ""
    """``vxlan``, ``bridge``, ``veth``, …; empty for hardware and loopback."""
    mtu: int = 1500
    up: bool = True
    """Administratively; whether it has a carrier is another matter."""
    alias: str = ""
    group: int = 0
    master: str = ""
    """Name of the bridge (or bond, or VRF) of which it is a port; empty when of none."""
    port_state: str = ""
    """As a port of a bridge: ``forwarding``, ``disabled``, …"""
    vxlan: ObservedVxlan | None = None

    @property
    def owner(self) -> ObjectRef | None:
        """For whom smartxd made the link, by its mark; None when it bears none."""
        return marked_owner(self.alias)

    @property
    def newborn(self) -> bool:
        """Whether smartxd made the link and was killed before it could mark it."""
        return self.group == NEWBORN_GROUP and not self.alias

    def as_state(self, owner: ObjectRef) -> Link | None:
        """The link in the words of the desired state; None when it is of a kind that smartxd never makes."""
        if self.kind == "bridge":
            return Bridge(owner, self.name, self.mtu)
        if self.kind == "vxlan" and (v := self.vxlan):
            return Vxlan(
                owner=owner,
                name=self.name,
                vni=v.vni,
                group=v.group,
                local=v.local,
                underlay=v.underlay,
                bridge=self.master,
                mtu=self.mtu,
                port=v.port,
                ttl=v.ttl,
                learning=v.learning,
            )
        return None


@dataclass(frozen=True, slots=True)
class ObservedAddress:
    """An address on a link, whoever made it."""

    link: str
    address: str
    """With its prefix length, as the kernel writes it."""
    protocol: int = 0

    @property
    def marked(self) -> bool:
        """Whether it bears smartxd's mark."""
        return self.protocol == ADDRESS_PROTOCOL


@dataclass(frozen=True, slots=True)
class KernelObserved:
    """All links and addresses of the network namespace."""

    links: Mapping[str, ObservedLink] = field(default_factory=dict)
    """By name."""
    addresses: Mapping[tuple[str, str], ObservedAddress] = field(default_factory=dict)
    """By link and address."""
    marks_addresses: bool = True
    """Whether the kernel keeps IFA_PROTO; where it does not, the inventory alone says whose an address is."""


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """A MAC address in the forwarding table of a bridge or of a VXLAN link."""

    index: int
    """Of the bridge port or of the VXLAN link."""
    mac: str
    dst: str = ""
    """Address of the remote VTEP, in the table of a VXLAN link."""
    master: int = 0
    """Index of the bridge, in the table of a bridge."""
    permanent: bool = False
    """Configured, not learned."""
