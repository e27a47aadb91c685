"""What the kernel's network state is, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import (
    NEWBORN_GROUP,
    PROTOCOL,
    Bridge,
    Host,
    Link,
    NextHop,
    PortSettings,
    Station,
    Vlan,
    VlanRange,
    Vxlan,
    marked_owner,
)


@dataclass(frozen=True, slots=True)
class ObservedVxlan:
    """What makes a link a VTEP."""

    vni: int
    local: str = ""
    group: str = ""
    """The multicast group, or the one remote VTEP; empty when there is none."""
    underlay: str = ""
    """Name of the link that carries the outer packets; empty when the routes decide."""
    port: int = 4789
    ttl: int = 0
    learning: bool = True
    remotes: frozenset[str] = frozenset()
    """Permanent entries of its forwarding table for the all-zero MAC, ``group`` aside."""
    stations: frozenset[Station] = frozenset()
    """Permanent entries for other MACs, with a remote VTEP each; none that EVPN made."""


@dataclass(frozen=True, slots=True)
class ObservedBridge:
    """What makes a link a virtual switch."""

    vlan_aware: bool = False
    default_pvid: int = 1
    vlans: tuple[VlanRange, ...] = ()
    stp: bool = False
    multicast_snooping: bool = True


@dataclass(frozen=True, slots=True)
class ObservedPort:
    """A link as the port of a bridge."""

    state: str = "forwarding"
    """``forwarding``, ``disabled``, …"""
    settings: PortSettings = PortSettings()


@dataclass(frozen=True, slots=True)
class ObservedLink:
    """A link of any kind, whoever made it."""

    name: str
    index: int
    kind: str = ""
    """``vxlan``, ``bridge``, ``vlan``, ``veth``, ``tun``, …; empty for hardware and loopback."""
    mtu: int = 1500
    up: bool = True
    """Administratively; whether it has a carrier is another matter."""
    mac: str = ""
    alias: str = ""
    group: int = 0
    master: str = ""
    """Name of the bridge (or bond, or VRF) of which it is a port; empty when of none."""
    port: ObservedPort | None = None
    """As a port of a bridge."""
    link_local: bool = True
    """Whether it has IPv6 (disable_ipv6 is 0), and with it a link-local address."""
    forwarding4: bool = False
    forwarding6: bool = False
    peer_namespace: str | None = None
    """Name of the network namespace of the other end, where that is another and has one."""
    vxlan: ObservedVxlan | None = None
    bridge: ObservedBridge | None = None
    vlan: tuple[str, int] | None = None
    """Of an 802.1Q link: the link that it is on, and its VLAN."""
    hosts: frozenset[Host] = frozenset()
    """Permanent neighbour entries on it that bear smartxd's protocol number."""
    compared: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    """The diff's notes of what it was compared with, good as long as it is this very object."""

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
        if self.bridge is not None:
            return Bridge(
                owner=owner,
                name=self.name,
                mtu=self.mtu,
                mac=self.mac,
                vlan_aware=self.bridge.vlan_aware,
                vlans=self.bridge.vlans,
                stp=self.bridge.stp,
                multicast_snooping=self.bridge.multicast_snooping,
                link_local=self.link_local,
                forwarding4=self.forwarding4,
                forwarding6=self.forwarding6,
                hosts=self.hosts,
            )
        if self.vlan is not None:
            return Vlan(
                owner=owner,
                name=self.name,
                bridge=self.vlan[0],
                vid=self.vlan[1],
                mtu=self.mtu,
                mac=self.mac,
                link_local=self.link_local,
                forwarding4=self.forwarding4,
                forwarding6=self.forwarding6,
                hosts=self.hosts,
            )
        if self.vxlan is not None:
            v = self.vxlan
            return Vxlan(
                owner=owner,
                name=self.name,
                vni=v.vni,
                local=v.local,
                bridge=self.master,
                mtu=self.mtu,
                group=v.group,
                underlay=v.underlay,
                port=v.port,
                ttl=v.ttl,
                learning=v.learning,
                remotes=v.remotes,
                stations=v.stations,
                settings=self.port.settings if self.port is not None else PortSettings(),
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
        return self.protocol == PROTOCOL


@dataclass(frozen=True, slots=True)
class ObservedRoute:
    """A route that bears smartxd's protocol number; those of others are not looked at."""

    destination: str
    metric: int
    table: int
    hops: tuple[NextHop, ...] = ()
    """Sorted as the kernel says them; empty for a blackhole."""
    blackhole: bool = False


@dataclass(frozen=True, slots=True)
class KernelObserved:
    """The network of a namespace at one moment."""

    links: Mapping[str, ObservedLink] = field(default_factory=dict)
    """By name."""
    addresses: Mapping[tuple[str, str], ObservedAddress] = field(default_factory=dict)
    """By link and address."""
    routes: Mapping[tuple[str, int, int], ObservedRoute] = field(default_factory=dict)
    """By destination, metric and table."""
    marks_addresses: bool = True
    """Whether the kernel keeps IFA_PROTO; where it does not, the inventory alone says whose an address is."""
    routes_ipv6: bool = True
    """Whether a link that is to route IPv6 does. Before Linux 6.17 it depends on ``conf.all.forwarding``."""


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
    vlan: int = 0
