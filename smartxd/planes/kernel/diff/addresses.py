"""Addresses on links."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from smartxd.planes.kernel.diff.scene import Scene, action, ip
from smartxd.planes.kernel.observed import ObservedAddress
from smartxd.planes.kernel.state import Address
from smartxd.reconcile.plan import Action, Verb


@dataclass
class Addresses:
    """Plans addresses, and which of those that go make room for what comes."""

    scene: Scene
    _gone: dict[tuple[str, str], Action] = field(default_factory=dict)
    """Deletions, by link and address."""

    _coming: list[Address] = field(default_factory=list)
    _others: dict[tuple[str, str], ObservedAddress] | None = None

    def _find_gone(self) -> None:
        """What the inventory has, the specs no longer ask for, and the kernel still has under our mark."""
        scene = self.scene
        for id, owner in scene.unwanted("address"):
            address, _, link = id.partition(" dev ")
            have = scene.observed.addresses.get((link, address))
            if have is None:
                continue
            if have.marked or not scene.observed.marks_addresses or link in scene.going:
                self._gone[link, address] = action(Verb.DELETE, Address(owner, link, address), None)

    def plan(self) -> None:
        """Plan what is wanted; the links have been planned before."""
        self._find_gone()
        for want in sorted(self.scene.desired.addresses, key=lambda a: (a.link, a.address)):
            self._address(want)

    def _address(self, want: Address) -> None:
        """The same address put there by hand serves as well, and stays the hand's."""
        scene = self.scene
        bare = want.link in scene.made
        have = None if bare else scene.observed.addresses.get((want.link, want.address))
        if not scene.there(want.link):
            scene.waits(want.owner, want.id, want.link)
        elif have is not None:
            if have.marked and (changes := scene.entry(want.id, want.owner)):
                scene.actions.append(action(Verb.UPDATE, want, want, changes))
        elif not bare and ":" in want.address and (other := self._staying().get((want.link, want.ip))):
            text = f"{want.id}: the link has it as {other.address}, not by smartxd"
            hint = f"`ip address del {other.address} dev {want.link}`, or correct the spec"
            scene.problem(want.owner, "ForeignObject", text, hint, permanent=True)
        else:
            self._coming.append(want)
            scene.actions.append(action(Verb.CREATE, None, want))

    def _staying(self) -> dict[tuple[str, str], ObservedAddress]:
        """What is there and stays, by link and address without its prefix length."""
        if self._others is None:
            self._others = {
                (a.link, ip(a.address)): a
                for a in self.scene.observed.addresses.values()
                if (a.link, a.address) not in self._gone
            }
        return self._others

    def deletions(self) -> tuple[list[Action], list[Action]]:
        """Those that go first, and those that can wait until what replaces them is there.

        Not of an address that comes back with another prefix length or on another link: IPv6 takes it only
        once. Nor of the last IPv4 address of a link, with which the kernel forgets the routes by that link.
        """
        scene = self.scene
        coming = {a.ip for a in self._coming}
        staying = self._ipv4(self._gone)
        for a in self._coming:
            staying[a.link] += ":" not in a.address
        early: list[Action] = []
        late: list[Action] = []
        for (link, address), gone in sorted(self._gone.items()):
            bared = ":" not in address and not staying[link]
            now = scene.perishes(link) or ip(address) in coming or bared
            (early if now else late).append(gone)
        left = self._ipv4({(a.old.link, a.old.address): a for a in early}) if early else {}
        scene.bared.update(a.old.link for a in early if ":" not in a.old.address and not left.get(a.old.link))
        return early, late

    def _ipv4(self, less: dict[tuple[str, str], Action]) -> defaultdict[str, int]:
        """How many IPv4 addresses each link of those in ``less`` keeps without them."""
        count: defaultdict[str, int] = defaultdict(int)
        links = {link for link, _ in less}
        for link, address in self.scene.observed.addresses if links else ():
            if link in links and ":" not in address and (link, address) not in less:
                count[link] += 1
        return count
