from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_values import (
    ADDRESS,
    ALL_OURS,
    BRIDGE,
    MARKED_ADDRESS,
    OTHER,
    SEG,
    STATE,
    VXLAN,
    WAN,
    WHOLE,
    observed,
    owning,
    reasons,
    seen,
    steps,
)

from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink
from smartxd.planes.kernel.state import NEWBORN_GROUP, Address, Bridge, KernelState, mark
from smartxd.reconcile.plan import Change, Disruption, Ownership, Plan, Verb


def test_what_is_missing_is_created_bridges_first_and_addresses_last() -> None:
    found = plan(KernelState((VXLAN, BRIDGE), (), (ADDRESS,)), observed(), Ownership())
    assert steps(found) == [
        "create link br100",
        "create link vx100",
        "create address 10.0.0.1/24 dev br100",
    ]
    assert not found.problems


def test_nothing_is_planned_when_all_is_as_wanted() -> None:
    assert plan(STATE, WHOLE, ALL_OURS) == Plan()


def test_what_the_specs_no_longer_ask_for_is_deleted_in_reverse() -> None:
    assert steps(plan(KernelState(), WHOLE, ALL_OURS)) == [
        "delete address 10.0.0.1/24 dev br100",
        "delete link vx100",
        "delete link br100",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("vni", 7), ("group", "239.9.9.9"), ("local", "192.0.2.9"), ("underlay", "wan2"), ("port", 8472)],
)
def test_a_changed_immutable_attribute_recreates_the_vxlan(field: str, value: object) -> None:
    was = replace(VXLAN, **{field: value})
    now = observed(seen(BRIDGE), seen(was), ObservedLink("wan2", 9), addresses=(MARKED_ADDRESS,))
    found = plan(STATE, now, ALL_OURS)
    (action,) = found.actions
    assert (action.verb, action.disruption) == (Verb.RECREATE, Disruption.RECREATE)
    assert (action.old, action.new) == (was, VXLAN)
    assert action.changes == (Change(field, value, getattr(VXLAN, field)),)


@pytest.mark.parametrize(
    ("field", "value"), [("ttl", 1), ("mtu", 1400), ("bridge", ""), ("learning", False), ("up", False)]
)
def test_a_changed_mutable_attribute_updates_the_vxlan(field: str, value: object) -> None:
    have = seen(VXLAN, up=False) if field == "up" else seen(replace(VXLAN, **{field: value}))
    (action,) = plan(STATE, observed(seen(BRIDGE), have, addresses=(MARKED_ADDRESS,)), ALL_OURS).actions
    assert (action.verb, action.disruption) == (Verb.UPDATE, Disruption.NONE)
    assert action.changes == (Change(field, value, True if field == "up" else getattr(VXLAN, field)),)


def test_a_vxlan_in_another_bridge_is_moved_and_that_flaps() -> None:
    elsewhere = ObservedLink("docker0", 50, "bridge")
    now = observed(elsewhere, seen(BRIDGE), seen(VXLAN, master="docker0"), addresses=(MARKED_ADDRESS,))
    (action,) = plan(STATE, now, ALL_OURS).actions
    assert action.disruption is Disruption.FLAP


def test_a_foreign_link_with_our_name_stops_its_owner_only() -> None:
    foreign = ObservedLink("vx100", 7, "veth")
    other = Bridge(OTHER, "br200", 1500)
    found = plan(KernelState((BRIDGE, other, VXLAN)), observed(foreign), owning(VXLAN))
    assert steps(found) == ["create link br100", "create link br200"]
    (problem,) = found.problems
    assert (problem.owner, problem.reason, problem.permanent) == (SEG, "ForeignObject", True)
    assert "veth link" in problem.message


def test_nothing_is_built_upon_a_foreign_bridge() -> None:
    foreign = seen(BRIDGE, alias="")
    found = plan(STATE, observed(foreign), Ownership())
    assert not found.actions
    assert reasons(found) == ["ForeignObject", "MissingLink", "MissingLink"]


def test_a_link_that_lost_its_mark_is_neither_changed_nor_deleted() -> None:
    unmarked = observed(seen(BRIDGE, alias=""), seen(VXLAN, alias="mine now"))
    assert not plan(KernelState(), unmarked, ALL_OURS).actions
    assert not plan(STATE, unmarked, ALL_OURS).actions


def test_a_marked_link_that_the_inventory_does_not_know_is_never_deleted() -> None:
    assert plan(KernelState(), WHOLE, Ownership()) == Plan()


def test_a_lost_inventory_is_regained_by_adoption() -> None:
    found = plan(STATE, WHOLE, Ownership())
    assert [(a.verb, [c.field for c in a.changes]) for a in found.actions] == [
        (Verb.UPDATE, ["inventory"])
    ] * 3


def test_an_adopted_link_is_updated_but_not_recreated() -> None:
    now = observed(seen(BRIDGE), seen(replace(VXLAN, vni=7, ttl=1)), addresses=(MARKED_ADDRESS,))
    first = plan(STATE, now, owning(BRIDGE, ADDRESS))
    assert [(a.verb, [c.field for c in a.changes]) for a in first.actions] == [
        (Verb.UPDATE, ["ttl", "inventory"])
    ]
    assert [a.verb for a in plan(STATE, now, ALL_OURS).actions] == [Verb.RECREATE]


def test_a_link_marked_for_another_object_is_foreign_without_the_inventory() -> None:
    found = plan(KernelState((BRIDGE,)), observed(seen(replace(BRIDGE, owner=OTHER))), Ownership())
    assert not found.actions
    assert "marked as Tunnel/other's" in found.problems[0].message


def test_a_link_passes_from_one_owner_to_the_next() -> None:
    was = replace(BRIDGE, owner=OTHER)
    (action,) = plan(KernelState((BRIDGE,)), observed(seen(was)), owning(was)).actions
    assert action.verb is Verb.UPDATE
    assert action.changes == (
        Change("alias", "smartxd:Tunnel/other", "smartxd:Tunnel/seg"),
        Change("inventory", OTHER, SEG),
    )


@pytest.mark.parametrize("inventory", [owning(BRIDGE), Ownership()])
def test_a_link_whose_making_was_interrupted_is_finished(inventory: Ownership) -> None:
    newborn = seen(BRIDGE, mtu=1500, alias="", up=False, group=NEWBORN_GROUP)
    (action,) = plan(KernelState((BRIDGE,)), observed(newborn), inventory).actions
    assert action.verb is Verb.UPDATE
    assert {c.field for c in action.changes} >= {"mtu", "up", "alias"}


def test_a_bridge_with_the_name_of_our_vxlan_is_replaced_only_if_it_is_ours() -> None:
    wrong = seen(replace(BRIDGE, name="vx100"))
    assert [a.verb for a in plan(STATE, observed(wrong), ALL_OURS).actions] == [
        Verb.CREATE,
        Verb.RECREATE,
        Verb.CREATE,
    ]
    assert "recreate link vx100" not in steps(plan(STATE, observed(wrong), Ownership()))


def test_a_vni_in_use_by_a_foreign_device_is_named() -> None:
    foreign = seen(replace(VXLAN, name="flannel.1"), alias="")
    found = plan(STATE, observed(foreign), Ownership())
    assert steps(found) == ["create link br100", "create address 10.0.0.1/24 dev br100"]
    (problem,) = found.problems
    assert (problem.reason, problem.permanent) == ("VNIInUse", True)
    assert "in use by link flannel.1" in problem.message


def test_the_same_vni_on_another_port_is_no_obstacle() -> None:
    foreign = seen(replace(VXLAN, name="flannel.1", port=8472), alias="")
    assert "create link vx100" in steps(plan(STATE, observed(foreign), Ownership()))


def test_a_renamed_tunnel_takes_over_its_vni() -> None:
    now = replace(VXLAN, name="vxnew")
    found = plan(KernelState((BRIDGE, now), (), (ADDRESS,)), WHOLE, ALL_OURS)
    assert steps(found) == ["delete link vx100", "create link vxnew"]


def test_a_link_that_was_renamed_by_hand_is_named_and_neither_changed_nor_deleted() -> None:
    renamed = seen(VXLAN, name="mine")
    found = plan(STATE, observed(seen(BRIDGE), renamed, addresses=(MARKED_ADDRESS,)), ALL_OURS)
    assert not found.actions
    (problem,) = found.problems
    assert (problem.reason, problem.permanent) == ("VNIInUse", True)
    assert "in use by link mine: delete mine" in problem.message


def test_an_underlay_that_was_renamed_leaves_the_tunnel_as_it_is_and_is_missed() -> None:
    now = observed(seen(BRIDGE), seen(VXLAN, vxlan=replace(seen(VXLAN).vxlan, underlay="eth7")))
    links = {name: link for name, link in now.links.items() if name != "wan"}
    found = plan(KernelState((BRIDGE, VXLAN)), replace(now, links=links), owning(BRIDGE, VXLAN))
    assert (steps(found), reasons(found)) == ([], ["MissingUnderlay"])


def test_two_tunnels_exchange_their_vnis() -> None:
    a, b = VXLAN, replace(VXLAN, name="vx200", vni=200, owner=OTHER)
    now = observed(seen(BRIDGE), seen(a, vxlan=seen(b).vxlan), seen(b, vxlan=seen(a).vxlan))
    found = plan(KernelState((BRIDGE, a, b)), now, owning(BRIDGE, a, b))
    assert steps(found) == ["recreate link vx100", "recreate link vx200"]
    assert not found.problems


def test_a_tunnel_is_not_torn_down_for_a_vni_that_it_cannot_get() -> None:
    a, b = replace(VXLAN, vni=2), replace(VXLAN, name="vx200", vni=3, owner=OTHER)
    foreign = seen(replace(VXLAN, name="flannel.1", vni=3), alias="")
    now = observed(seen(BRIDGE), foreign, seen(replace(a, vni=1)), seen(replace(b, vni=2)))
    found = plan(KernelState((BRIDGE, a, b)), now, owning(BRIDGE, a, b))
    assert not found.actions
    assert reasons(found) == ["VNIInUse", "VNIInUse"]


def test_a_missing_underlay_is_waited_for_and_the_rest_goes_on() -> None:
    found = plan(STATE, KernelObserved(), Ownership())
    assert steps(found) == ["create link br100", "create address 10.0.0.1/24 dev br100"]
    (problem,) = found.problems
    assert (problem.reason, problem.permanent) == ("MissingUnderlay", False)


def test_a_missing_vtep_address_is_said_but_stops_nothing() -> None:
    found = plan(STATE, KernelObserved({"wan": WAN}), Ownership())
    assert "create link vx100" in steps(found)
    assert [(p.reason, p.permanent) for p in found.problems] == [("MissingUnderlayAddress", False)]


def test_addresses_come_back_with_a_recreated_link() -> None:
    wrong = ObservedLink("br100", 7, "vxlan", alias=mark(SEG), vxlan=seen(replace(VXLAN, vni=9)).vxlan)
    now = observed(wrong, addresses=(MARKED_ADDRESS,))
    found = plan(KernelState((BRIDGE,), (), (ADDRESS,)), now, ALL_OURS)
    assert steps(found) == ["recreate link br100", "create address 10.0.0.1/24 dev br100"]


def test_an_address_put_there_by_hand_serves_and_stays() -> None:
    by_hand = ObservedAddress("br100", "10.0.0.1/24")
    now = observed(seen(BRIDGE), seen(VXLAN), addresses=(by_hand,))
    assert plan(STATE, now, owning(BRIDGE, VXLAN)) == Plan()
    assert plan(replace(STATE, addresses=()), now, ALL_OURS) == Plan()


def test_without_address_protocol_the_inventory_alone_owns_an_address() -> None:
    by_hand = ObservedAddress("br100", "10.0.0.1/24")
    now = observed(seen(BRIDGE), seen(VXLAN), addresses=(by_hand,), marks=False)
    assert steps(plan(replace(STATE, addresses=()), now, ALL_OURS)) == [
        "delete address 10.0.0.1/24 dev br100"
    ]


def test_an_ipv6_address_of_another_length_is_named() -> None:
    want = Address(SEG, "br100", "2001:db8::1/64")
    by_hand = ObservedAddress("br100", "2001:db8::1/80")
    found = plan(
        KernelState((BRIDGE,), (), (want,)), observed(seen(BRIDGE), addresses=(by_hand,)), owning(BRIDGE)
    )
    assert not found.actions
    assert "2001:db8::1/80" in found.problems[0].message


def test_an_address_on_a_link_that_is_not_there_waits() -> None:
    found = plan(KernelState((), (), (ADDRESS,)), observed(), Ownership())
    assert not found.actions
    assert reasons(found) == ["MissingLink"]
