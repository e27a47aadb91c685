"""What the kernel would show once a state had been applied: where a plan between commits starts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.diff.compare import IMMUTABLE
from smartxd.planes.kernel.observed import (
    KernelObserved,
    ObservedAddress,
    ObservedBridge,
    ObservedLink,
    ObservedPort,
    ObservedRoute,
    ObservedVxlan,
)
from smartxd.planes.kernel.state import (
    PROTOCOL,
    Address,
    Forwarding,
    KernelState,
    Link,
    Plug,
    PortSettings,
    Route,
    Vlan,
    Vxlan,
    mark,
)
from smartxd.reconcile.plan import Action, Ownership, Verb


def assumed(state: KernelState, base: KernelObserved) -> KernelObserved:
    """``base``, in which nothing is smartxd's, with all of ``state`` that can be had on it."""
    return applied(base, plan(state, base, Ownership()).actions)


def applied(observed: KernelObserved, actions: Iterable[Action]) -> KernelObserved:
    """The kernel after actions that were planned on ``observed``, each of them done.

    A link that is made, also anew, has an index that none had before.
    """
    kernel = _Kernel(dict(observed.links), dict(observed.addresses), dict(observed.routes))
    for action in actions:
        kernel.do(action)
    return replace(observed, links=kernel.links, addresses=kernel.addresses, routes=kernel.routes)


@dataclass
class _Kernel:
    """Does as the kernel does, as far as the diff counts on it."""

    links: dict[str, ObservedLink]
    addresses: dict[tuple[str, str], ObservedAddress]
    routes: dict[tuple[str, int, int], ObservedRoute]
    _index: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._index = count(max((link.index for link in self.links.values()), default=0) + 1)

    def do(self, action: Action) -> None:
        """Do one action."""
        some = action.new if action.new is not None else action.old
        match some:
            case Address():
                self._address(some, there=action.new is not None)
            case Route():
                self._route(some, there=action.new is not None)
            case Forwarding():
                self._forward(some, on=action.new is not None)
            case Plug():
                self._plug(some, there=action.new is not None)
            case _:
                self._link(action)

    def _link(self, action: Action) -> None:
        old, new = action.old, action.new
        if action.verb is Verb.UPDATE:
            self.links[new.name] = self._updated(self.links[new.name], action)
        else:
            if old is not None:
                self._remove(old.name)
            if new is not None:
                self.links[new.name] = self._shown(new, ObservedLink(new.name, next(self._index)))
        if any(c.field == "vlan_aware" for c in action.changes):
            for link in list(self.links.values()):
                if link.master == new.name and link.port is not None:
                    self.links[link.name] = replace(link, port=self._port(new.name, link.port.settings))

    def _updated(self, have: ObservedLink, action: Action) -> ObservedLink:
        """The link as wanted, save what is fixed or not said."""
        old, new = action.old, action.new
        kept = {name: getattr(old, name) for name in IMMUTABLE[type(new)] if hasattr(old, name)}
        if isinstance(new, Vxlan) and new.remotes is None:
            kept |= {"remotes": old.remotes, "stations": old.stations}
        elif not isinstance(new, Vxlan) and not new.mac:
            kept["mac"] = old.mac
        return self._shown(replace(new, **kept), have)

    def _shown(self, state: Link, link: ObservedLink) -> ObservedLink:
        """The link as the kernel shows it when it is as wanted."""
        link = replace(link, mtu=state.mtu, alias=mark(state.owner), group=0, up=True)
        if isinstance(state, Vxlan):
            vxlan = ObservedVxlan(
                vni=state.vni,
                local=state.local,
                group=state.group,
                underlay=state.underlay,
                port=state.port,
                ttl=state.ttl,
                learning=state.learning,
                remotes=state.remotes or frozenset(),
                stations=state.stations,
            )
            port = self._port(state.bridge, state.settings)
            return replace(link, kind="vxlan", vxlan=vxlan, master=state.bridge, port=port, link_local=False)
        link = replace(
            link,
            mac=state.mac,
            link_local=state.link_local,
            forwarding4=state.forwarding4,
            forwarding6=state.forwarding6,
            hosts=state.hosts,
        )
        if isinstance(state, Vlan):
            return replace(link, kind="vlan", vlan=(state.bridge, state.vid))
        bridge = ObservedBridge(
            vlan_aware=state.vlan_aware,
            default_pvid=0 if state.vlan_aware else 1,
            vlans=state.vlans,
            stp=state.stp,
            multicast_snooping=state.multicast_snooping,
        )
        return replace(link, kind="bridge", bridge=bridge)

    def _port(self, bridge: str, settings: PortSettings) -> ObservedPort:
        """A port of the bridge; it has VLANs where the bridge knows any."""
        master = self.links[bridge].bridge
        aware = master is not None and master.vlan_aware
        return ObservedPort(settings=settings if aware else replace(settings, vlans=()))

    def _remove(self, name: str) -> None:
        """Remove a link, and with it what is on it."""
        if self.links.pop(name, None) is None:
            return
        self.addresses = {key: a for key, a in self.addresses.items() if a.link != name}
        self._lose_hops(name, ipv4_only=False)
        for link in list(self.links.values()):
            if link.master == name:
                self.links[link.name] = replace(link, master="", port=None)
            if name in (link.vlan[0] if link.vlan else "", link.vxlan.underlay if link.vxlan else ""):
                self._remove(link.name)

    def _lose_hops(self, link: str, *, ipv4_only: bool) -> None:
        """Remove the next hops by a link; of IPv4 the route whole."""
        for key, route in list(self.routes.items()):
            ipv4 = ":" not in route.destination
            left = tuple(h for h in route.hops if h.link != link)
            if left == route.hops or (ipv4_only and not ipv4):
                continue
            if ipv4 or not left:
                del self.routes[key]
            else:
                self.routes[key] = replace(route, hops=left)

    def _address(self, address: Address, *, there: bool) -> None:
        key = address.link, address.address
        if there:
            self.addresses[key] = ObservedAddress(address.link, address.address, PROTOCOL)
            return
        self.addresses.pop(key, None)
        left = (a for link, a in self.addresses if link == address.link and ":" not in a)
        if ":" not in address.address and not any(left):
            self._lose_hops(address.link, ipv4_only=True)

    def _route(self, route: Route, *, there: bool) -> None:
        key = route.destination, route.metric, route.table
        if there:
            self.routes[key] = ObservedRoute(*key, route.hops, blackhole=not route.hops)
        else:
            self.routes.pop(key, None)

    def _forward(self, want: Forwarding, *, on: bool) -> None:
        have = self.links[want.link]
        ipv4 = want.family == "ipv4"
        self.links[want.link] = replace(have, forwarding4=on) if ipv4 else replace(have, forwarding6=on)

    def _plug(self, plug: Plug, *, there: bool) -> None:
        port = self._port(plug.bridge, plug.settings) if there else None
        master = plug.bridge if there else ""
        self.links[plug.link] = replace(self.links[plug.link], master=master, port=port)
