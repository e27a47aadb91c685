"""Routes, forwarding, VLANs with addresses, and entries that links hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_values import (
    ADDRESS,
    BRIDGE,
    MARKED_ADDRESS,
    OTHER,
    SEG,
    VXLAN,
    WAN,
    observed,
    owning,
    reasons,
    seen,
    steps,
)

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink, ObservedRoute
from smartxd.planes.kernel.state import (
    PROTOCOL,
    Address,
    Bridge,
    Forwarding,
    Host,
    KernelState,
    NextHop,
    Route,
    Station,
    Vlan,
)
from smartxd.reconcile.plan import Change, Disruption, Ownership, Plan, Verb

OUT = ObjectRef("Route", "out")
GATEWAY = NextHop("10.0.0.9", "br100")
ROUTE = Route(OUT, "10.9.0.0/16", (GATEWAY,))
STATE = KernelState((BRIDGE,), (), (ADDRESS,), (ROUTE,))
OURS = owning(BRIDGE, ADDRESS, ROUTE)
HAVE = ObservedRoute("10.9.0.0/16", 0, 254, (GATEWAY,))


def box(*routes: ObservedRoute) -> KernelObserved:
    return observed(seen(BRIDGE), addresses=(MARKED_ADDRESS,), routes=routes)


def test_a_route_is_made_after_the_address_by_which_its_gateway_is_reached() -> None:
    found = plan(STATE, observed(), Ownership())
    assert steps(found)[-2:] == [
        "create address 10.0.0.1/24 dev br100",
        "create route 10.9.0.0/16 metric 0 table 254",
    ]


def test_routes_by_a_link_come_before_those_by_a_gateway_and_go_after_them() -> None:
    direct = Route(OUT, "10.8.0.0/16", (NextHop("", "wan"),))
    via = Route(OUT, "0.0.0.0/0", (NextHop("10.8.0.1", "wan"),))
    made = plan(KernelState(routes=(via, direct)), observed(), Ownership())
    assert [a.new for a in made.actions] == [direct, via]
    there = observed(routes=tuple(ObservedRoute(r.destination, 0, 254, r.hops) for r in (via, direct)))
    assert [a.old for a in plan(KernelState(), there, owning(via, direct)).actions] == [via, direct]


def test_a_route_as_wanted_needs_nothing_whatever_the_order_of_its_next_hops() -> None:
    assert plan(STATE, box(HAVE), OURS) == Plan()
    hops = (GATEWAY, NextHop("192.0.2.9", "wan", 2))
    state = replace(STATE, routes=(replace(ROUTE, hops=hops),))
    assert plan(state, box(replace(HAVE, hops=hops[::-1])), OURS) == Plan()


def test_the_link_of_a_next_hop_that_names_none_is_the_kernels_business() -> None:
    state = replace(STATE, routes=(replace(ROUTE, hops=(NextHop("10.0.0.9"),)),))
    assert plan(state, box(HAVE), OURS) == Plan()


@pytest.mark.parametrize(
    ("hops", "fields"),
    [((NextHop("10.0.0.8", "br100"),), ["hops"]), ((), ["blackhole", "hops"])],
)
def test_a_changed_route_is_replaced(hops: tuple[NextHop, ...], fields: list[str]) -> None:
    (action,) = plan(replace(STATE, routes=(replace(ROUTE, hops=hops),)), box(HAVE), OURS).actions
    assert (action.verb, action.disruption) == (Verb.UPDATE, Disruption.NONE)
    assert [c.field for c in action.changes] == fields
    assert (action.old, action.new.hops) == (ROUTE, hops)


def test_another_metric_is_another_route_which_is_there_before_the_old_one_goes() -> None:
    found = plan(replace(STATE, routes=(replace(ROUTE, metric=5),)), box(HAVE), OURS)
    assert steps(found) == [
        "create route 10.9.0.0/16 metric 5 table 254",
        "delete route 10.9.0.0/16 metric 0 table 254",
    ]


def test_a_route_goes_before_the_link_that_it_is_by() -> None:
    assert steps(plan(KernelState(), box(HAVE), OURS)) == [
        "delete route 10.9.0.0/16 metric 0 table 254",
        "delete address 10.0.0.1/24 dev br100",
        "delete link br100",
    ]


def test_a_route_that_the_inventory_does_not_know_is_adopted_but_never_deleted() -> None:
    (action,) = plan(STATE, box(HAVE), owning(BRIDGE, ADDRESS)).actions
    assert action.changes == (Change("inventory", None, OUT),)
    assert plan(replace(STATE, routes=()), box(HAVE), owning(BRIDGE, ADDRESS)) == Plan()


def test_a_route_by_a_link_that_is_not_there_waits() -> None:
    found = plan(KernelState(routes=(ROUTE,)), observed(), Ownership())
    assert (steps(found), reasons(found)) == ([], ["MissingLink"])


def test_a_route_that_went_with_its_link_is_made_again() -> None:
    wrong = seen(replace(VXLAN, name="br100", vni=9, bridge=""))
    found = plan(STATE, observed(wrong, routes=(HAVE,)), OURS)
    assert steps(found) == [
        "recreate link br100",
        "create address 10.0.0.1/24 dev br100",
        "create route 10.9.0.0/16 metric 0 table 254",
    ]


def test_of_an_ipv6_route_the_other_next_hop_stays_and_it_is_changed() -> None:
    hops = (NextHop("fd00::9", "br100"), NextHop("fd01::9", "wan"))
    route = Route(OUT, "fd09::/48", hops, 1024)
    wrong = seen(replace(VXLAN, name="br100", vni=9, bridge=""))
    now = observed(wrong, routes=(ObservedRoute("fd09::/48", 1024, 254, hops),))
    found = plan(KernelState((BRIDGE,), (), (), (route,)), now, owning(BRIDGE, route))
    assert steps(found) == ["recreate link br100", "update route fd09::/48 metric 1024 table 254"]


def test_a_route_survives_that_its_gateways_prefix_length_changes() -> None:
    longer = Address(SEG, "br100", "10.0.0.1/25")
    found = plan(replace(STATE, addresses=(longer,)), box(HAVE), OURS)
    # With the last IPv4 address of a link the kernel forgets the routes by it.
    assert steps(found) == [
        "delete address 10.0.0.1/24 dev br100",
        "create address 10.0.0.1/25 dev br100",
        "create route 10.9.0.0/16 metric 0 table 254",
    ]


def test_a_gateway_with_another_address_has_the_new_one_before_the_old_one_goes() -> None:
    other = Address(SEG, "br100", "10.0.0.2/24")
    assert steps(plan(replace(STATE, addresses=(other,)), box(HAVE), OURS)) == [
        "create address 10.0.0.2/24 dev br100",
        "delete address 10.0.0.1/24 dev br100",
    ]


def test_an_ipv6_address_of_ours_changes_its_prefix_length() -> None:
    was, now = Address(SEG, "br100", "2001:db8::1/80"), Address(SEG, "br100", "2001:db8::1/64")
    there = observed(seen(BRIDGE), addresses=(ObservedAddress("br100", was.address, PROTOCOL),))
    assert steps(plan(KernelState((BRIDGE,), (), (now,)), there, owning(BRIDGE, was))) == [
        f"delete {was.id}",
        f"create {now.id}",
    ]


FORWARDING = Forwarding(OUT, "wan", "ipv4")


def test_forwarding_is_turned_on_where_it_is_off_and_off_again() -> None:
    state = KernelState(forwarding=(FORWARDING,))
    on = observed(replace(WAN, forwarding4=True))
    assert steps(plan(state, observed(), Ownership())) == ["create ipv4 forwarding dev wan"]
    assert plan(state, on, owning(FORWARDING)) == Plan()
    assert steps(plan(KernelState(), on, owning(FORWARDING))) == ["delete ipv4 forwarding dev wan"]
    assert plan(KernelState(), observed(), owning(FORWARDING)) == Plan()


def test_forwarding_that_is_on_already_is_not_ours() -> None:
    on = observed(replace(WAN, forwarding4=True))
    assert plan(KernelState(forwarding=(FORWARDING,)), on, Ownership()) == Plan()
    assert plan(KernelState(), on, Ownership()) == Plan()


def test_forwarding_of_a_link_that_is_not_there_waits() -> None:
    found = plan(KernelState(forwarding=(replace(FORWARDING, link="eth9"),)), observed(), Ownership())
    assert (steps(found), reasons(found)) == ([], ["MissingLink"])


VLAN = Vlan(SEG, "br100.10", "br100", 10, 1450)


def test_a_vlan_is_made_after_its_bridge_and_goes_before_it() -> None:
    state = KernelState((BRIDGE, VLAN), (), (Address(SEG, "br100.10", "10.0.0.1/24"),))
    assert steps(plan(state, observed(), Ownership())) == [
        "create link br100",
        "create link br100.10",
        "create address 10.0.0.1/24 dev br100.10",
    ]
    gone = plan(KernelState(), observed(seen(BRIDGE), seen(VLAN)), owning(BRIDGE, VLAN))
    assert steps(gone) == ["delete link br100.10", "delete link br100"]


@pytest.mark.parametrize("was", [replace(VLAN, vid=11), replace(VLAN, bridge="wan")])
def test_a_vlan_with_another_number_or_bridge_is_made_anew(was: Vlan) -> None:
    now = observed(seen(BRIDGE), seen(was))
    (action,) = plan(KernelState((BRIDGE, VLAN)), now, owning(BRIDGE, VLAN)).actions
    assert (action.verb, action.disruption) == (Verb.RECREATE, Disruption.RECREATE)


def test_what_is_on_a_link_that_is_made_anew_is_made_anew_as_well() -> None:
    wrong = seen(replace(VXLAN, name="br100", vni=9, bridge=""))
    found = plan(KernelState((BRIDGE, VLAN)), observed(wrong, seen(VLAN)), owning(BRIDGE, VLAN))
    assert steps(found) == ["recreate link br100", "recreate link br100.10"]


@pytest.mark.parametrize(
    ("change", "flaps"),
    [
        ({"mac": "02:00:00:00:00:09"}, True),
        ({"stp": True}, True),
        ({"multicast_snooping": False}, False),
        ({"link_local": True}, False),
        ({"forwarding4": True}, False),
        ({"hosts": frozenset({Host("10.0.0.7", "02:00:00:00:00:07")})}, False),
        ({"mtu": 1400}, False),
    ],
)
def test_an_attribute_of_a_bridge_is_changed_in_place(change: dict[str, object], flaps: bool) -> None:
    ((field, value),) = change.items()
    want: Bridge = replace(BRIDGE, **change)  # type: ignore[arg-type]
    have = seen(BRIDGE)
    (action,) = plan(KernelState((want,)), observed(have), owning(want)).actions
    (change_,) = action.changes
    assert (action.verb, change_.field, change_.new) == (Verb.UPDATE, field, value)
    assert action.disruption is (Disruption.FLAP if flaps else Disruption.NONE)


def test_a_mac_that_the_spec_does_not_say_is_the_kernels_business() -> None:
    have = seen(BRIDGE, mac="02:aa:aa:aa:aa:aa")
    assert plan(KernelState((BRIDGE,)), observed(have), owning(BRIDGE)) == Plan()


STATIC = replace(VXLAN, group="", underlay="", remotes=frozenset({"192.0.2.2", "192.0.2.3"}))


def test_a_flood_list_follows_the_fleet() -> None:
    have = seen(replace(STATIC, remotes=frozenset({"192.0.2.2", "192.0.2.9"})))
    (action,) = plan(
        KernelState((BRIDGE, STATIC)), observed(seen(BRIDGE), have), owning(BRIDGE, STATIC)
    ).actions
    assert action.changes == (Change("remotes", frozenset({"192.0.2.2", "192.0.2.9"}), STATIC.remotes),)
    assert action.disruption is Disruption.NONE


def test_what_evpn_says_is_never_touched() -> None:
    want = replace(STATIC, remotes=None)
    have = seen(replace(STATIC, stations=frozenset({Station("02:00:00:00:00:07", "192.0.2.2")})))
    assert plan(KernelState((BRIDGE, want)), observed(seen(BRIDGE), have), owning(BRIDGE, want)) == Plan()


def test_a_tunnel_has_no_link_local_address_and_one_by_hand_is_a_change() -> None:
    have = seen(VXLAN, link_local=True)
    (action,) = plan(
        KernelState((BRIDGE, VXLAN)), observed(seen(BRIDGE), have), owning(BRIDGE, VXLAN)
    ).actions
    assert action.changes == (Change("link_local", True, False),)


def test_the_same_vni_over_the_other_family_is_no_obstacle() -> None:
    foreign = seen(replace(STATIC, name="flannel.1"), alias="")
    want = replace(STATIC, local="2001:db8::1", remotes=frozenset({"2001:db8::2"}))
    assert "create link vx100" in steps(plan(KernelState((BRIDGE, want)), observed(foreign), Ownership()))


def test_a_chain_of_tunnels_passes_its_vnis_on_unless_the_last_is_refused() -> None:
    was = [replace(STATIC, name=f"vx{n}", vni=n) for n in range(1, 6)]
    now = [replace(v, vni=v.vni + 1) for v in was]
    there = [seen(BRIDGE), *map(seen, was)]
    owned = owning(BRIDGE, *was)
    found = plan(KernelState((BRIDGE, *now)), observed(*there), owned)
    assert (len(found.actions), {a.verb for a in found.actions}, found.problems) == (5, {Verb.RECREATE}, ())
    foreign = seen(replace(STATIC, name="flannel.1", vni=6), alias="")
    found = plan(KernelState((BRIDGE, *now)), observed(*there, foreign), owned)
    assert (found.actions, reasons(found)) == ((), ["VNIInUse"] * 5)


def test_two_tunnels_that_want_the_same_vni_do_not_both_get_it() -> None:
    twin = replace(STATIC, name="vx101", owner=OTHER)
    found = plan(KernelState((BRIDGE, STATIC, twin)), observed(), Ownership())
    assert steps(found) == ["create link br100", "create link vx100"]
    assert "in use by link vx100" in found.problems[-1].message


ADOPTING = KernelState((BRIDGE, VXLAN), adopt=frozenset({SEG}))


def test_a_foreign_link_just_as_wanted_is_taken_over_by_annotation() -> None:
    links = seen(BRIDGE, alias=""), seen(replace(VXLAN, ttl=1), alias="lab")
    bridge, vxlan = plan(ADOPTING, observed(*links), Ownership()).actions
    assert bridge.changes == (Change("alias", "", "smartxd:Tunnel/seg"), Change("inventory", None, SEG))
    assert [c.field for c in vxlan.changes] == ["ttl", "alias", "inventory"]
    found = plan(KernelState((BRIDGE, VXLAN)), observed(*links), Ownership())
    assert not found.actions
    assert (
        'let Tunnel/seg take it over by the annotation smartx.io/adopt: "true"' in found.problems[0].message
    )


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        (seen(replace(VXLAN, vni=7), alias=""), "vni 7, not 100"),
        (seen(VXLAN, alias="", master="docker0"), "bridge docker0, not br100"),
        (ObservedLink("vx100", 7, "veth"), "kind veth, not vxlan"),
    ],
)
def test_a_foreign_link_that_is_another_is_not_taken_over(foreign: ObservedLink, said: str) -> None:
    found = plan(ADOPTING, observed(seen(BRIDGE), foreign), owning(BRIDGE))
    assert (steps(found), reasons(found)) == ([], ["ForeignObject"])
    assert said in found.problems[0].message
