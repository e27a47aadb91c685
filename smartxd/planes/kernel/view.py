"""What is in a network namespace, kept current by what the kernel tells of its changes.

A message says only where to look: the link's index and the table. What is there is then read, so neither the
order of messages matters nor what was true when one was made. Why what is known is right as soon as all
messages have been drained and what they name has been read:

- The socket hears before anything is read, so a change is either in what is read or leaves a message that is
  drained later; it may be in both, and is then read twice.
- A read begins after its message was drained, so it cannot show what was before the change, but for one
  thing: the kernel announces that a link goes down, or that an address goes, before it draws the
  consequences, and holds its RTNL lock until these are drawn. A read of a link waits for that lock, and links
  are read first.
- Of what is gone the read finds nothing, whatever messages about it are older; of an index that serves
  again, it finds what is there now.

The kernel does some things without a word; what it says near them counts for them:

- IPv4 routes vanish with the link or the address that they need: smartxd's routes are read again when a link
  goes down or away, or an address goes. A link that is down or away has everything about it read again.
- A veth's other end moves to another namespace: the other end's own coming or going is told.
- ``addr_gen_mode`` by sysctl: the link-local address that comes of it is told.
- Of a link that is down, the kernel does not tell when its alias, its group or what makes it a bridge or a
  VTEP change: links that are down are read again at each look.
- An IPv6 address is told of when its duplicate address detection has ended, a second later or so; that a
  neighbour entry bears another protocol number is not told at all. What smartxd itself does is looked at
  (``doubt``).
- VLANs of ports change with the bridge's default PVID: the group of VLANs is told, that of links is not.

What nothing tells (a permanent entry made one that ages by hand, or a neighbour entry's number changed) is
found by the next full reading: ``resync``, which is also what follows where messages were lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from smartxd.errors import PlaneError
from smartxd.planes.kernel import observe
from smartxd.planes.kernel.multicast import BUFFER_BYTES, Changes, Multicast
from smartxd.planes.kernel.namespaces import Namespaces
from smartxd.planes.kernel.observed import KernelObserved
from smartxd.planes.kernel.rtnl import Rtnl

_T = TypeVar("_T")

_ONE_IN = 4
"""Reading one link by one costs some four times as much as its part of a dump of all."""


class View:
    """Of the network namespace of the thread that makes it, and of the socket; any thread may use it."""

    def __init__(self, rtnl: Rtnl, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._rtnl = rtnl
        self._multicast = Multicast(buffer_bytes)
        self._picture = observe.new_picture()
        self._namespaces = Namespaces(rtnl)
        self._changes = Changes(lost=True)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Of the socket that becomes readable when something changes, for waiting; only the view reads it."""
        return self._multicast.fileno()

    def close(self) -> None:
        """Give the socket back."""
        self._multicast.close()

    def resync(self) -> None:
        """Read everything anew when next observed."""
        with self._lock:
            self._changes.lost = True

    def doubt(self, links: Iterable[str]) -> None:
        """Read links, by name, with their addresses and hosts when next observed."""
        with self._lock:
            self._changes.doubted.update(links)

    def take_in(self) -> None:
        """Note what has been told without reading what changed: makes room for more."""
        with self._lock:
            self._multicast.drain(self._changes)

    def observed(self) -> KernelObserved:
        """What there is; the same object as long as that is the same. PlaneError when it cannot be had."""
        with self._lock:
            changes = self._changes
            try:
                self._multicast.drain(changes)
                changes.links.update(self._picture.down)
                if changes:
                    # Should reading fail, everything is read the next time.
                    self._changes = Changes(lost=True)
                    self._read(changes)
                    self._changes = Changes()
            except OSError as err:
                raise PlaneError(
                    "KernelRefused",
                    f"the kernel does not say what there is: {err.strerror or err}",
                    "it is tried again; `dmesg` may say why",
                ) from err
            self._picture.namespaces(self._namespaces.named(self._picture.nsids))
            return self._picture.observed()

    def _read(self, changes: Changes) -> None:
        picture = self._picture
        if changes.lost:
            observe.take_all(self._rtnl, picture)
            return
        doubted = picture.indices_of(changes.doubted)
        self._read_links(changes.links | doubted)
        changes.addresses |= doubted
        changes.hosts |= doubted
        self._read_table(changes.addresses, observe.addresses, picture.addresses)
        self._read_table(changes.vlans, observe.vlan_ranges, picture.vlans)
        self._read_table(changes.fdb, observe.remote_entries, picture.fdb)
        self._read_table(changes.hosts, observe.hosts, picture.hosts)
        if changes.routes or (changes.flushed and picture.has_routes):
            picture.routes(observe.raw_routes(self._rtnl))

    def _read_links(self, of: Iterable[int]) -> None:
        wanted = set(of)
        if self._many(wanted):
            self._picture.links(observe.raw_links(self._rtnl))
            return
        if not wanted:
            observe.raw_link(self._rtnl, 1)  # Only to wait for the lock.
        while wanted:
            found = {i: message for i in wanted if (message := observe.raw_link(self._rtnl, i)) is not None}
            wanted = self._picture.links(found, wanted) - wanted

    def _read_table(
        self,
        of: Collection[int],
        read: Callable[[Rtnl, int], dict[int, _T]],
        put: Callable[[dict[int, _T], Collection[int] | None], None],
    ) -> None:
        if self._many(of):
            put(read(self._rtnl, 0), None)
        else:
            for index in of:
                put(read(self._rtnl, index), [index])

    def _many(self, of: Collection[int]) -> bool:
        return len(of) * _ONE_IN > len(self._picture.indices)
