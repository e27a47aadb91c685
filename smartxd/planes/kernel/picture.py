"""What is known of a network namespace, table by table, and the one value that is made of it. Pure.

Tables are by the link's index, as the kernel has them. Only what a new table changes is made anew, and as
long as that comes to the same, the value is the same object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import TypeVar

from smartxd.planes.kernel.decode import links as link_messages
from smartxd.planes.kernel.decode import routes as route_messages
from smartxd.planes.kernel.decode.links import Around, Decoded
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink
from smartxd.planes.kernel.state import Host, VlanRange

_T = TypeVar("_T")


class Picture:
    """Tables in, KernelObserved out. A table is of the links ``of``, or of all of them."""

    def __init__(self, *, marks_addresses: bool = True, forces_forwarding: bool = True) -> None:
        self._forces_forwarding = forces_forwarding
        self._messages: dict[int, bytes] = {}
        self._addresses: dict[int, tuple[tuple[str, int], ...]] = {}
        self._routes: tuple[bytes, ...] = ()
        self._around = Around()
        self._decoded: dict[int, Decoded] = {}
        self._down: set[int] = set()
        self._touched: set[int] = set()
        """Links to make anew."""
        self._moved: set[int] = set()
        """Links whose addresses are to be made anew."""
        self._rerouted = False
        self._by_name: dict[str, ObservedLink] = {}
        self._by_place: dict[tuple[str, str], ObservedAddress] = {}
        self._places: dict[int, tuple[tuple[str, str], ...]] = {}
        self._new_links = self._new_addresses = False
        self._observed = KernelObserved(marks_addresses=marks_addresses)

    @property
    def indices(self) -> Collection[int]:
        """The links that there are."""
        return self._messages.keys()

    def indices_of(self, names: Collection[str]) -> set[int]:
        """Of the links with these names."""
        return {index for index, name in self._around.names.items() if name in names} if names else set()

    @property
    def down(self) -> Collection[int]:
        """The links that are not up."""
        return self._down

    @property
    def has_routes(self) -> bool:
        """Whether a route of smartxd's is known."""
        return bool(self._routes)

    @property
    def nsids(self) -> frozenset[int]:
        """Numbers of the namespaces in which the other ends of links are."""
        self._decode()
        return frozenset(d.nsid for d in self._decoded.values() if d.nsid is not None)

    def links(self, found: Mapping[int, bytes], of: Iterable[int] | None = None) -> set[int]:
        """Messages of links. Returned are links that may have changed with them without a message.

        A veth is not announced when its other end moves to another namespace.
        """
        changed = _merge(self._messages, found, of)
        self._touched |= changed
        around = self._around
        other: set[int] = set()
        born: set[int] = set()
        for index in changed:
            message = found.get(index)
            name = link_messages.name_of(message) if message is not None else None
            aware = message is not None and link_messages.knows_vlans(message)
            up = message is None or link_messages.is_up(message)
            (self._down.discard if up else self._down.add)(index)
            was = around.names.get(index), index in around.aware
            if was == (name, aware):
                continue
            other.add(index)
            if (was[0] is None) != (name is None):
                born.add(index)
            if name is None:
                around.names.pop(index, None)
            else:
                around.names[index] = name
            (around.aware.add if aware else around.aware.discard)(index)
        if not other:
            return set()
        # Who names one of them, or has VLANs by one of them, is another as well.
        related = {i for i, d in self._decoded.items() if not other.isdisjoint(d.related)}
        self._touched |= related
        self._moved |= other
        self._rerouted = True
        return self._peers(born) if of is not None else set()

    def all_forwarding6(self, on: bool) -> None:
        """Whether IPv6 is routed on all links."""
        self._touched |= self._decoded.keys() if on != self._around.all_forwarding6 else set()
        self._around.all_forwarding6 = on
        if self._observed.routes_ipv6 != (routes := on or self._forces_forwarding):
            self._observed = replace(self._observed, routes_ipv6=routes)

    def addresses(
        self, found: Mapping[int, tuple[tuple[str, int], ...]], of: Iterable[int] | None = None
    ) -> None:
        """Addresses with their protocols."""
        self._moved |= _merge(self._addresses, found, of)

    def vlans(self, found: Mapping[int, tuple[VlanRange, ...]], of: Iterable[int] | None = None) -> None:
        """VLANs of bridges and ports."""
        self._touched |= _merge(self._around.vlans, found, of)

    def fdb(self, found: Mapping[int, frozenset[tuple[str, str]]], of: Iterable[int] | None = None) -> None:
        """Fixed MACs and VTEPs of VXLAN links."""
        self._touched |= _merge(self._around.fdb, found, of)

    def hosts(self, found: Mapping[int, frozenset[Host]], of: Iterable[int] | None = None) -> None:
        """Neighbour entries of smartxd's."""
        self._touched |= _merge(self._around.hosts, found, of)

    def routes(self, found: tuple[bytes, ...]) -> None:
        """Messages of all routes of smartxd's."""
        self._rerouted |= found != self._routes
        self._routes = found

    def namespaces(self, names: Mapping[int, str]) -> None:
        """Names of other network namespaces, by number."""
        old = self._around.namespaces
        if names != old:
            self._around.namespaces = names
            changed = {nsid for nsid in old.keys() | names.keys() if old.get(nsid) != names.get(nsid)}
            self._touched |= {i for i, d in self._decoded.items() if d.nsid in changed}

    def observed(self) -> KernelObserved:
        """All of it as one value."""
        self._decode()
        self._place()
        old = self._observed
        routes = old.routes
        if self._rerouted:
            routes = route_messages.by_key(self._routes, self._around.names)
            self._rerouted = False
        if self._new_links or self._new_addresses or routes != old.routes:
            self._observed = replace(
                old,
                links=dict(self._by_name) if self._new_links else old.links,
                addresses=dict(self._by_place) if self._new_addresses else old.addresses,
                routes=routes,
            )
            self._new_links = self._new_addresses = False
        return self._observed

    def _decode(self) -> None:
        """Make the touched links anew."""
        changed = []
        for index in self._touched:
            message = self._messages.get(index)
            old = self._decoded.get(index)
            new = link_messages.decode(message, self._around) if message is not None else None
            if new != old:
                changed.append((index, old, new))
        self._touched = set()
        self._new_links |= bool(changed)
        # All old names go before a new one comes: two links may have changed theirs.
        for index, old, _ in changed:
            if old is not None and self._by_name[old.link.name].index == index:
                del self._by_name[old.link.name]
        for index, _, new in changed:
            if new is None:
                del self._decoded[index]
            else:
                self._decoded[index] = new
                self._by_name[new.link.name] = new.link

    def _place(self) -> None:
        """Make the addresses of the moved links anew."""
        for index in self._moved:
            for place in self._places.pop(index, ()):
                self._by_place.pop(place, None)
        for index in self._moved:
            name = self._around.names.get(index)
            # Those of a link that is not known yet wait for it.
            if name is None or index not in self._addresses:
                continue
            made = {
                (name, text): ObservedAddress(name, text, proto) for text, proto in self._addresses[index]
            }
            self._by_place.update(made)
            self._places[index] = tuple(made)
        self._new_addresses |= bool(self._moved)
        self._moved = set()

    def _peers(self, of: Collection[int]) -> set[int]:
        """The other ends of veths that have come or gone."""
        decoded, around = self._decoded, self._around
        lost = {i for i, d in decoded.items() if d.link.kind == "veth" and d.related[1] in of}
        for index in of:
            message = self._messages.get(index)
            if message is not None:
                made = link_messages.decode(message, around)
                lost |= {made.related[1]} if made.link.kind == "veth" else set()
        return lost & self._messages.keys()


def _merge(table: MutableMapping[int, _T], found: Mapping[int, _T], of: Iterable[int] | None) -> set[int]:
    """Put what was found in its place in the table; the places where that is something else."""
    places = table.keys() | found.keys() if of is None else set(of) | found.keys()
    changed = {index for index in places if table.get(index) != found.get(index)}
    for index in changed:
        if index in found:
            table[index] = found[index]
        else:
            del table[index]
    return changed
