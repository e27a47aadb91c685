"""Whatever the kernel holds, a few plans lead to what is wanted, and nothing foreign is touched."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink, ObservedVxlan
from smartxd.planes.kernel.state import (
    ADDRESS_PROTOCOL,
    NEWBORN_GROUP,
    Address,
    Bridge,
    KernelState,
    Link,
    Vxlan,
    mark,
)
from smartxd.reconcile.plan import Action, Ownership, Plan, Verb

OWNERS = st.sampled_from([ObjectRef("Tunnel", name) for name in "abc"])
BRIDGES, VXLANS = ("br1", "br2"), ("vx1", "vx2", "vx3")
IPS = ("10.0.0.1/24", "10.0.0.1/16", "2001:db8::1/64")


@st.composite
def wanted(draw: st.DrawFn) -> KernelState:
    bridges = [
        Bridge(draw(OWNERS), name, draw(st.sampled_from([1450, 1500])))
        for name in draw(st.lists(st.sampled_from(BRIDGES), unique=True))
    ]
    names = draw(st.lists(st.sampled_from(VXLANS), unique=True))
    vnis = draw(st.permutations([1, 2, 3]))
    vxlans = [
        Vxlan(
            owner=draw(OWNERS),
            name=name,
            vni=vni,
            group="239.1.1.1",
            local=draw(st.sampled_from(["192.0.2.1", "192.0.2.9"])),
            underlay=draw(st.sampled_from(["wan", "wan", "wan", "nowhere"])),
            bridge=draw(st.sampled_from(BRIDGES)),
            mtu=1450,
            ttl=draw(st.sampled_from([1, 16])),
        )
        for name, vni in zip(names, vnis, strict=False)
    ]
    targets = draw(st.lists(st.tuples(st.sampled_from(BRIDGES), st.sampled_from(IPS)), unique=True))
    return KernelState((*bridges, *vxlans), tuple(Address(draw(OWNERS), link, ip) for link, ip in targets))


@st.composite
def had(draw: st.DrawFn) -> KernelObserved:
    links = {"wan": ObservedLink("wan", 1, "veth")}
    segments = draw(st.permutations([(1, 4789), (2, 4789), (3, 4789), (1, 8472), (4, 4789), (5, 4789)]))
    names = draw(st.lists(st.sampled_from((*BRIDGES, *VXLANS, "flannel.1")), unique=True))
    for index, (name, (vni, port)) in enumerate(zip(names, segments, strict=False), start=2):
        kind = draw(st.sampled_from(["bridge", "vxlan", "veth"]))
        newborn = draw(st.booleans())
        alias = draw(st.one_of(st.just(""), st.just("by hand"), OWNERS.map(mark)))
        link = ObservedLink(
            name=name,
            index=index,
            kind=kind,
            mtu=draw(st.sampled_from([1400, 1450])),
            up=draw(st.booleans()),
            alias="" if newborn else alias,
            group=NEWBORN_GROUP if newborn else 0,
        )
        if kind == "vxlan":
            local = draw(st.sampled_from(["192.0.2.1", "192.0.2.7"]))
            vxlan = ObservedVxlan(vni, "239.1.1.1", local, "wan", port, draw(st.sampled_from([1, 16])), True)
            master = draw(st.sampled_from(["", *(n for n in links if links[n].kind == "bridge")]))
            link = replace(link, vxlan=vxlan, master=master)
        links[name] = link
    places = [(name, ip) for name in links for ip in IPS]
    held = [ObservedAddress("wan", "192.0.2.1/24")]
    for link_name, ip in draw(st.lists(st.sampled_from(places), unique=True, max_size=4)):
        held.append(ObservedAddress(link_name, ip, draw(st.sampled_from([0, ADDRESS_PROTOCOL]))))
    return KernelObserved(links, {(a.link, a.address): a for a in held})


class Simulation:
    """As much of a kernel as the plans can see; refuses what a kernel refuses."""

    def __init__(self, observed: KernelObserved, owned: Ownership) -> None:
        self.links = dict(observed.links)
        self.addresses = dict(observed.addresses)
        self.inventory = owned.of("kernel")

    @property
    def observed(self) -> KernelObserved:
        return KernelObserved(dict(self.links), dict(self.addresses))

    @property
    def owned(self) -> Ownership:
        return Ownership(frozenset(OwnedObject("kernel", id, owner) for id, owner in self.inventory.items()))

    def apply(self, found: Plan) -> None:
        for action in found.actions:
            if action.verb is not Verb.DELETE:
                self.inventory[action.id] = action.owner
        for action in found.actions:
            if action.verb is Verb.RECREATE:
                self.delete(action.old)
        for action in found.actions:
            if action.verb is Verb.DELETE:
                self.delete(action.old)
                del self.inventory[action.id]
            elif action.verb is Verb.UPDATE:
                self.update(action)
            else:
                self.create(action.new)

    def delete(self, old: Link | Address) -> None:
        if isinstance(old, Address):
            self.addresses.pop((old.link, old.address), None)
            return
        link = self.links.pop(old.name)
        assert link.newborn or link.owner is not None, "an unmarked link was deleted"
        self.addresses = {key: a for key, a in self.addresses.items() if key[0] != old.name}
        self.links = {
            n: replace(i, master="" if i.master == old.name else i.master) for n, i in self.links.items()
        }

    def create(self, new: Link | Address) -> None:
        if isinstance(new, Address):
            assert new.link in self.links
            assert (new.link, new.address) not in self.addresses
            same = [
                a
                for link, a in self.addresses
                if link == new.link and a.split("/")[0] == new.address.split("/")[0]
            ]
            assert not same or ":" not in new.address
            self.addresses[new.link, new.address] = ObservedAddress(new.link, new.address, ADDRESS_PROTOCOL)
            return
        assert new.name not in self.links
        index = 1 + max(link.index for link in self.links.values())
        link = ObservedLink(new.name, index, "bridge", new.mtu, alias=mark(new.owner))
        if isinstance(new, Vxlan):
            assert all(
                (i.vxlan.vni, i.vxlan.port) != (new.vni, new.port) for i in self.links.values() if i.vxlan
            )
            assert {new.underlay, new.bridge} <= self.links.keys()
            vxlan = ObservedVxlan(
                new.vni, new.group, new.local, new.underlay, new.port, new.ttl, new.learning
            )
            link = replace(link, kind="vxlan", master=new.bridge, vxlan=vxlan)
        self.links[new.name] = link

    def update(self, action: Action) -> None:
        for change in action.changes:
            if change.field == "inventory":
                continue
            link = self.links[action.new.name]
            if change.field in ("ttl", "learning"):
                assert link.vxlan is not None
                link = replace(link, vxlan=replace(link.vxlan, **{change.field: change.new}))
            elif change.field == "alias":
                link = replace(link, alias=str(change.new), group=0)
            else:
                name = "master" if change.field == "bridge" else change.field
                link = replace(link, **{name: change.new})  # type: ignore[arg-type]
            self.links[link.name] = link


def is_as_wanted(have: ObservedLink, want: Link) -> bool:
    return have.up and have.owner == want.owner and have.as_state(want.owner) == want


@settings(max_examples=600, deadline=None)
@given(wanted(), had(), st.data())
def test_plans_lead_to_what_is_wanted_and_touch_nothing_foreign(
    desired: KernelState, observed: KernelObserved, data: st.DataObject
) -> None:
    ids = [f"link {name}" for name in observed.links] + [
        f"address {a} dev {link}" for link, a in observed.addresses
    ]
    recorded = data.draw(st.lists(st.sampled_from(ids), unique=True))
    owned = Ownership(frozenset(OwnedObject("kernel", id, data.draw(OWNERS)) for id in recorded))
    world = Simulation(observed, owned)
    for _ in range(3):  # The first adopts what an inventory has lost, the second may recreate it.
        found = plan(desired, world.observed, world.owned)
        world.apply(found)

    last = plan(desired, world.observed, world.owned)
    assert not last.actions
    stopped = {p.owner for p in last.problems}
    for want in desired.links:
        assert want.owner in stopped or is_as_wanted(world.links[want.name], want)
    for address in desired.addresses:
        assert address.owner in stopped or (address.link, address.address) in world.addresses
    for name, link in observed.links.items():
        if link.owner is None and not link.newborn:
            after = world.links[name]
            assert replace(after, master="") == replace(link, master="")
            assert after.master in (link.master, "")
    wanted_ids = {o.id for o in (*desired.links, *desired.addresses)}
    for name, link in observed.links.items():
        if f"link {name}" not in recorded and f"link {name}" not in wanted_ids:
            assert world.links[name].alias == link.alias
