"""Whatever the specs were, are, and whatever else is on the box: what must hold of every plan."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.kernel.assume import applied
from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import (
    KernelObserved,
    ObservedAddress,
    ObservedBridge,
    ObservedLink,
    ObservedPort,
    ObservedVxlan,
)
from smartxd.planes.kernel.state import (
    Address,
    Bridge,
    Forwarding,
    Host,
    KernelState,
    Link,
    NextHop,
    Plug,
    PortRule,
    PortSettings,
    Route,
    Station,
    Vlan,
    VlanRange,
    Vxlan,
)
from smartxd.reconcile.converge import converge
from smartxd.reconcile.plan import Action, Ownership, Plan, Result, Verb

OWNERS = st.sampled_from([ObjectRef("Tunnel", n) for n in "abc"])
NAMES = [f"n{i}" for i in range(6)]
TAPS = ["tap0", "tap1", "tap2"]
VNIS = st.integers(1, 4)
HOSTS = st.frozensets(st.sampled_from([Host("10.0.0.7", "02::7"), Host("10.0.0.8", "02::8")]))
STATIONS = st.frozensets(st.sampled_from([Station("02::7", "192.0.2.7"), Station("02::8", "192.0.2.8")]))
IPS = ["10.0.0.1/24", "10.0.0.1/25", "10.0.1.1/24", "2001:db8::1/64", "2001:db8::1/80"]
PREFIXES = ["0.0.0.0/0", "10.9.0.0/16", "2001:db8:9::/48"]


def settings(*, aware: bool) -> st.SearchStrategy[PortSettings]:
    ranges = [(VlanRange(10, 10, pvid=True, untagged=True),), (VlanRange(10, 20),)]
    vlans = st.sampled_from(ranges if aware else [()])
    return st.builds(PortSettings, vlans, st.booleans(), st.booleans(), st.booleans())


@st.composite
def states(draw: st.DrawFn) -> KernelState:
    """A state without contradictions of its own, which the rules of specs see to."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
    bridges, vlans, vxlans = [], [], []
    vnis = draw(st.permutations(range(1, 5)))
    for name in names:
        owner, mtu = draw(OWNERS), draw(st.sampled_from([1400, 1450]))
        places = [b.name for b in bridges] + ["ext", "gone"]
        router = (draw(st.booleans()), draw(st.booleans()), draw(st.booleans()), draw(HOSTS))
        kind = draw(st.sampled_from(["bridge", "bridge", "vlan", "vxlan", "vxlan"]))
        if kind == "bridge":
            aware = draw(st.booleans())
            own = (VlanRange(1, 1),) if aware and draw(st.booleans()) else ()
            mac = draw(st.sampled_from(["", "02:00:00:00:01:00"]))
            stp, snoop = draw(st.booleans()), draw(st.booleans())
            bridges.append(Bridge(owner, name, mtu, mac, aware, own, stp, snoop, *router))
        elif kind == "vlan":
            vlans.append(Vlan(owner, name, draw(st.sampled_from(places)), draw(VNIS), mtu, "", *router))
        elif vnis:
            place = draw(st.sampled_from(places))
            aware = any(b.vlan_aware for b in bridges if b.name == place)
            multicast = draw(st.booleans())
            remotes = draw(st.sampled_from([None, frozenset({"192.0.2.9"}), frozenset()]))
            vxlan = Vxlan(
                owner,
                name,
                vnis.pop(),
                draw(st.sampled_from(["192.0.2.1", "192.0.2.2"])),
                place,
                mtu,
                group="239.1.1.1" if multicast else "",
                underlay=draw(st.sampled_from(["wan", "wan2", "later"])) if multicast else "",
                ttl=draw(st.sampled_from([1, 16])),
                remotes=frozenset() if multicast else remotes,
                stations=draw(STATIONS),
                settings=draw(settings(aware=aware)),
            )
            vxlans.append(vxlan)
    links: tuple[Link, ...] = (*bridges, *vlans, *vxlans)
    rules = []
    for place in draw(
        st.lists(st.sampled_from([b.name for b in bridges] + ["ext"]), unique=True, max_size=2)
    ):
        aware = any(b.vlan_aware for b in bridges if b.name == place)
        patterns = draw(st.sampled_from([("tap*",), ("tap0", "tap1"), ("t?p2",)]))
        namespace = draw(st.sampled_from([None, None, "vm"]))
        rules.append(PortRule(draw(OWNERS), patterns, place, namespace, draw(settings(aware=aware))))
    places = [link.name for link in links] + ["wan", "gone"]
    spots = draw(st.lists(st.tuples(st.sampled_from(IPS), st.sampled_from(places)), max_size=4))
    addresses = {f"{ip.partition('/')[0]} {link}": Address(draw(OWNERS), link, ip) for ip, link in spots}
    hops = st.builds(NextHop, st.sampled_from(["", "10.0.0.9"]), st.sampled_from(places), st.just(1))
    routes = {
        prefix: Route(draw(OWNERS), prefix, tuple(draw(st.lists(hops, unique=True, max_size=2))))
        for prefix in draw(st.lists(st.sampled_from(PREFIXES), unique=True))
    }
    on = draw(st.lists(st.sampled_from([("wan", "ipv4"), ("wan2", "ipv6"), ("gone", "ipv4")]), unique=True))
    forwarding = tuple(Forwarding(draw(OWNERS), link, family) for link, family in on)
    adopt = draw(st.frozensets(OWNERS))
    return KernelState(
        links, tuple(rules), tuple(addresses.values()), tuple(routes.values()), forwarding, adopt
    )


@st.composite
def others(draw: st.DrawFn) -> KernelObserved:
    """A box on which nothing is smartxd's."""
    made = [ObservedLink("wan", 1, forwarding4=draw(st.booleans())), ObservedLink("wan2", 2)]
    made.append(ObservedLink("ext", 3, "bridge", bridge=ObservedBridge(vlan_aware=draw(st.booleans()))))
    masters = ["", "", "ext"]
    for name in draw(st.lists(st.sampled_from([*NAMES, "docker0"]), unique=True, max_size=3)):
        index = 10 + len(made)
        kind = draw(st.sampled_from(["bridge", "veth", "vxlan"]))
        vnis = {link.vxlan.vni for link in made if link.vxlan}
        vni = draw(VNIS)
        if kind == "bridge":
            made.append(ObservedLink(name, index, kind, bridge=ObservedBridge()))
            masters.append(name)
        elif kind == "vxlan" and vni not in vnis:
            made.append(ObservedLink(name, index, kind, vxlan=ObservedVxlan(vni, "192.0.2.1")))
        else:
            made.append(ObservedLink(name, index, "veth"))
    for name in draw(st.lists(st.sampled_from(TAPS), unique=True)):
        master = draw(st.sampled_from(masters))
        port = ObservedPort() if master else None
        peer = draw(st.sampled_from([None, "vm"]))
        made.append(ObservedLink(name, 40 + len(made), "tun", master=master, port=port, peer_namespace=peer))
    spots = draw(
        st.lists(st.tuples(st.sampled_from([m.name for m in made]), st.sampled_from(IPS)), max_size=3)
    )
    addresses = {(link, ip): ObservedAddress(link, ip) for link, ip in spots}
    return KernelObserved({m.name: m for m in made}, addresses)


@dataclass
class Model:
    """A kernel plane and its inventory, without a kernel."""

    observed: KernelObserved
    entries: set[OwnedObject] = field(default_factory=set)
    done: list[Action] = field(default_factory=list)
    name: str = "kernel"

    def has_leftovers(self) -> bool:
        return False

    def observe(self) -> KernelObserved:
        return self.observed

    def plan(self, desired: KernelState, observed: KernelObserved, owned: Ownership) -> Plan:
        return plan(desired, observed, owned)

    def apply(self, plan: Plan, observed: KernelObserved) -> Iterator[Result]:
        for action in plan.actions:
            check_order(self.observed, action)
            self.observed = applied(self.observed, [action])
            self.done.append(action)
            yield Result(action)

    def owned(self) -> frozenset[OwnedObject]:
        return frozenset(self.entries)

    def claim(self, objects: Iterable[OwnedObject]) -> None:
        fresh = {o.id: o for o in objects}
        self.entries = {o for o in self.entries if o.id not in fresh} | set(fresh.values())

    def release(self, objects: Iterable[OwnedObject]) -> None:
        self.entries -= set(objects)


def check_order(now: KernelObserved, action: Action) -> None:
    """What the action needs is there, and so is what it changes or deletes."""
    links, new, old = now.links, action.new, action.old
    if isinstance(new, Vxlan | Vlan):
        assert new.bridge in links, action
    if isinstance(new, Vxlan) and new.underlay:
        assert new.underlay in links, action
    if isinstance(new, Plug):
        assert new.link in links, action
        assert links[new.bridge].bridge is not None, action
    if isinstance(new, Route):
        assert all(h.link in links for h in new.hops if h.link), action
    some = new or old
    if isinstance(some, Address | Forwarding):
        assert some.link in links, action
    if isinstance(some, Link):
        there = action.verb in (Verb.UPDATE, Verb.DELETE)
        assert not there or some.name in links, action
        assert action.verb is not Verb.CREATE or some.name not in links, action
    if isinstance(new, Route):
        key = new.destination, new.metric, new.table
        assert (key in now.routes) == (action.verb is Verb.UPDATE), action


def bare(link: ObservedLink) -> ObservedLink:
    """Less what smartxd may change of a link of others."""
    return replace(link, master="", port=None, forwarding4=False, forwarding6=False)


@given(others(), st.lists(states(), min_size=1, max_size=3), st.data())
def test_each_state_is_reached_in_one_round_and_what_is_foreign_stays(
    base: KernelObserved, wanted: list[KernelState], data: st.DataObject
) -> None:
    model = Model(base)
    for state in wanted:
        foreign = set(base.links) - {a.new.name for a in model.done if isinstance(a.new, Link)}
        round = converge(model, state, model, ())
        assert not [p for p in round.failures if p.reason == "NotConverged"], round.failures
        assert not plan(state, model.observed, Ownership(model.owned())).actions
        taken = {a.new.name for a in model.done if isinstance(a.new, Link)}
        assert all(
            a.owner in state.adopt for a in model.done if isinstance(a.new, Link) and a.new.name in foreign
        )
        for name in foreign - taken:
            assert bare(model.observed.links[name]) == bare(base.links[name])
        ours = {(a.new.link, a.new.address) for a in model.done if isinstance(a.new, Address)}
        assert all(
            model.observed.addresses.get(key) == address
            for key, address in base.addresses.items()
            if key not in ours and key[0] not in taken
        )
        segments = [(v.vni, v.port) for link in model.observed.links.values() if (v := link.vxlan)]
        assert len(segments) == len(set(segments))
        appears = data.draw(st.sampled_from([*TAPS, "later"]))
        if appears not in model.observed.links:
            links = {**model.observed.links, appears: ObservedLink(appears, 90)}
            model.observed = replace(model.observed, links=links)


@given(others(), states())
def test_at_the_end_nothing_is_left_and_all_is_as_it_was(base: KernelObserved, state: KernelState) -> None:
    state = replace(state, adopt=frozenset())
    model = Model(base)
    converge(model, state, model, ())
    moved = {a.new.link for a in model.done if isinstance(a.new, Plug) and a.verb is Verb.UPDATE}
    converge(model, KernelState(), model, ())
    assert model.owned() == frozenset()
    was = {n: replace(li, master="", port=None) if n in moved else li for n, li in base.links.items()}
    assert model.observed.links == was
    assert model.observed.addresses == base.addresses
    assert model.observed.routes == base.routes


@given(others(), states(), states(), st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_what_it_is_made_from(
    base: KernelObserved, before: KernelState, after: KernelState, chance: random.Random
) -> None:
    model = Model(base)
    converge(model, before, model, ())

    def shuffled(items: Iterable[Any]) -> list[Any]:
        found = list(items)
        chance.shuffle(found)
        return found

    owned = model.owned()
    first = plan(after, model.observed, Ownership(owned))
    now = replace(
        model.observed,
        links=dict(shuffled(model.observed.links.items())),
        addresses=dict(shuffled(model.observed.addresses.items())),
        routes=dict(shuffled(model.observed.routes.items())),
    )
    mixed = KernelState(
        tuple(shuffled(after.links)),
        tuple(shuffled(after.ports)),
        tuple(shuffled(after.addresses)),
        tuple(shuffled(after.routes)),
        tuple(shuffled(after.forwarding)),
        after.adopt,
    )
    second = plan(mixed, now, Ownership(frozenset(shuffled(owned))))
    assert second.actions == first.actions
    assert second.problems == first.problems


@given(others(), states(), states())
def test_without_the_inventory_nothing_is_deleted_and_all_is_regained(
    base: KernelObserved, before: KernelState, after: KernelState
) -> None:
    model = Model(base)
    converge(model, before, model, ())
    model.entries.clear()
    assert not [a for a in plan(after, model.observed, Ownership()).actions if a.old and a.new is None]
    model.done.clear()
    converge(model, before, model, ())
    assert {a.verb for a in model.done} <= {Verb.UPDATE}
    assert {a.changes[0].field for a in model.done} <= {"inventory"}
