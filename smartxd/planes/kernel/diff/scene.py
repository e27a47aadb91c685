"""What the parts of the diff share: what is there, what goes, what has been planned so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.observed import KernelObserved, ObservedLink
from smartxd.planes.kernel.state import PLANE, Bridge, KernelState, Link, Object, PortSettings
from smartxd.reconcile.plan import Action, Change, Disruption, Problem, Verb


@dataclass
class Scene:
    """Desired, observed and inventory, and the actions and problems as they are found."""

    desired: KernelState
    observed: KernelObserved
    recorded: Mapping[str, ObjectRef]
    """The inventory, owner by id."""
    going: set[str] = field(default_factory=set)
    """Names of the links that this plan deletes, first of all."""
    made: set[str] = field(default_factory=set)
    """Names of the links that this plan makes or makes anew: they are bare."""
    lost: set[str] = field(default_factory=set)
    """Names of wanted links that cannot be had."""
    bared: set[str] = field(default_factory=set)
    """Links that lose their last IPv4 address for a moment, and with it the IPv4 routes by them."""
    actions: list[Action] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wanted: dict[str, Link] = {link.name: link for link in self.desired.links}
        state = self.desired
        ids = {o.id for o in (*state.links, *state.addresses, *state.routes, *state.forwarding)}
        self._unwanted = [(id, self.recorded[id]) for id in sorted(self.recorded.keys() - ids)]
        self._bridges: dict[tuple[str, bool], tuple[str, str, bool] | None] = {}

    def unwanted(self, noun: str) -> Iterator[tuple[str, ObjectRef]]:
        """What follows ``noun`` in the ids of the inventory that the state does not want, and owners."""
        for id, owner in self._unwanted:
            first, _, rest = id.partition(" ")
            if first == noun:
                yield rest, owner

    def there(self, name: str) -> bool:
        """Whether the link is there to build upon, as far as has been planned."""
        if name in self.made:
            return True
        return name in self.observed.links and name not in self.going and name not in self.lost

    def perishes(self, name: str) -> bool:
        """Whether the link that was observed goes in this plan, for good or to be made anew."""
        return name in self.going or (name in self.made and name in self.observed.links)

    def falls(self, link: ObservedLink) -> bool:
        """Whether the kernel removes the link because the one that it is on perishes."""
        under = link.vlan[0] if link.vlan else link.vxlan.underlay if link.vxlan else ""
        return bool(under) and self.perishes(under)

    def master(self, link: ObservedLink) -> str:
        """The bridge of which the link is a port once the deletions are done; empty when of none."""
        return "" if self.perishes(link.master) else link.master

    def aware(self, bridge: str) -> bool:
        """Whether a bridge will be VLAN-aware."""
        want = self.wanted.get(bridge)
        if want is not None:
            return isinstance(want, Bridge) and want.vlan_aware
        have = self.observed.links.get(bridge)
        return have is not None and have.bridge is not None and have.bridge.vlan_aware

    def entry(self, id: str, owner: ObjectRef) -> tuple[Change, ...]:
        """The change of the inventory that an object needs, where it needs one."""
        recorded = self.recorded.get(id)
        return () if recorded == owner else (Change("inventory", recorded, owner),)

    def problem(
        self, owner: ObjectRef, reason: str, text: str, hint: str = "", *, permanent: bool = False
    ) -> None:
        """Note what stands in the way of an owner's object."""
        self.problems.append(Problem(owner, reason, f"{text}: {hint}" if hint else text, permanent))

    def waits(self, owner: ObjectRef, what: str, link: str) -> None:
        """Note that something waits for a link."""
        self.problem(owner, "MissingLink", f"{what}: waits for link {link}, which is not there or not ours")

    def plugs_in(self, owner: ObjectRef, what: str, bridge: str, settings: PortSettings) -> bool:
        """Whether there is, or will be, a bridge to plug into that suits; what stands in the way is noted."""
        key = bridge, bool(settings.vlans)
        if key not in self._bridges:
            self._bridges[key] = self._unfit(*key)
        unfit = self._bridges[key]
        if unfit is None:
            return True
        reason, text, permanent = unfit
        self.problem(owner, reason, f"{what}: {text}", permanent=permanent)
        return False

    def _unfit(self, bridge: str, vlans: bool) -> tuple[str, str, bool] | None:
        if not self.there(bridge):
            return "MissingLink", f"waits for link {bridge}, which is not there or not ours", False
        want = self.wanted.get(bridge)
        if isinstance(want, Bridge):
            return None
        have = self.observed.links[bridge]
        if want is not None or have.bridge is None:
            return "MissingLink", f"link {bridge} is no bridge, so that nothing can be plugged into it", True
        if have.bridge.vlan_aware == vlans:
            return None
        if vlans:
            text = f"bridge {bridge} is not VLAN-aware: turn VLAN filtering on there, or name no VLAN"
        else:
            text = f"bridge {bridge} is VLAN-aware: name the VLAN, or turn VLAN filtering off there"
        return "VLANMismatch", text, True


def action(
    verb: Verb,
    old: Object | None,
    new: Object | None,
    changes: tuple[Change, ...] = (),
    disruption: Disruption = Disruption.NONE,
) -> Action:
    """A step on ``new``, or on ``old`` where it goes."""
    some = new or old
    assert some is not None
    return Action(PLANE, some.id, some.owner, verb, old, new, disruption, changes)


def ip(address: str) -> str:
    """The address without its prefix length."""
    return address.partition("/")[0]
