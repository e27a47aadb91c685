"""Ports of others, and bridges that know VLANs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_values import BRIDGE, OTHER, SEG, VXLAN, observed, owning, reasons, seen, steps

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import ObservedBridge, ObservedLink, ObservedPort
from smartxd.planes.kernel.state import Bridge, KernelState, Plug, PortRule, PortSettings, VlanRange, mark
from smartxd.reconcile.plan import Change, Disruption, Ownership, Plan, Verb

VM = ObjectRef("Port", "vm")
PLAIN = PortSettings()
ACCESS = PortSettings((VlanRange(10, 10, pvid=True, untagged=True),))
TRUNK = PortSettings((VlanRange(10, 20),))
SWITCH = Bridge(SEG, "br100", 1450, vlan_aware=True)
RULE = PortRule(VM, ("tap*",), "br100")
TAP = ObservedLink("tap3", 30, "tun", mtu=1500, up=False)
PLUG = Plug(VM, "tap3", "br100")
EXTERNAL = ObservedLink("ovs0", 40, "bridge", bridge=ObservedBridge())


def plugged(bridge: str, settings: PortSettings = PLAIN) -> ObservedLink:
    return replace(TAP, master=bridge, port=ObservedPort(settings=settings))


def test_a_port_that_appears_is_plugged_in_and_nothing_else_of_it_is_touched() -> None:
    found = plan(KernelState((BRIDGE,), (RULE,)), observed(seen(BRIDGE), TAP), owning(BRIDGE))
    (action,) = found.actions
    assert (action.verb, action.id, action.owner) == (Verb.CREATE, "port tap3 in br100", VM)
    assert (action.old, action.new, action.disruption) == (None, PLUG, Disruption.NONE)


def test_a_port_is_plugged_in_after_the_bridge_is_made() -> None:
    found = plan(KernelState((BRIDGE,), (RULE,)), observed(TAP), Ownership())
    assert steps(found) == ["create link br100", "create port tap3 in br100"]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("tap3", True),
        ("tap?", True),
        ("*", True),
        ("t*3", True),
        ("tap", False),
        ("ta[p]3", False),
        ("?", False),
    ],
)
def test_patterns_are_of_whole_names(pattern: str, matches: bool) -> None:
    rule = replace(RULE, patterns=("other", pattern))
    found = plan(KernelState((BRIDGE,), (rule,)), observed(seen(BRIDGE), TAP), owning(BRIDGE))
    assert ("create port tap3 in br100" in steps(found)) is matches


def test_a_pattern_for_all_takes_no_loopback_no_bridge_and_nothing_that_is_ours() -> None:
    links = (ObservedLink("lo", 1), EXTERNAL, seen(replace(BRIDGE, name="old", owner=OTHER)))
    rule = replace(RULE, patterns=("*",))
    found = plan(KernelState((BRIDGE,), (rule,)), observed(seen(BRIDGE), *links), owning(BRIDGE))
    assert steps(found) == ["create port wan in br100"]


def test_the_underlay_is_not_plugged_in() -> None:
    state = KernelState((BRIDGE, VXLAN), (replace(RULE, patterns=("w*",)),))
    found = plan(state, observed(seen(BRIDGE), seen(VXLAN)), owning(BRIDGE, VXLAN))
    assert (steps(found), reasons(found)) == ([], ["PortIsUnderlay"])


@pytest.mark.parametrize(("there", "taken"), [("vm1", True), ("vm2", False), (None, False)])
def test_a_namespace_names_the_other_end(there: str | None, taken: bool) -> None:
    rule = replace(RULE, namespace="vm1")
    tap = replace(TAP, peer_namespace=there)
    found = plan(KernelState((BRIDGE,), (rule,)), observed(seen(BRIDGE), tap), owning(BRIDGE))
    assert bool(found.actions) is taken


def test_a_port_that_somebody_else_has_plugged_in_elsewhere_is_foreign() -> None:
    now = observed(seen(BRIDGE), EXTERNAL, plugged("ovs0"))
    found = plan(KernelState((BRIDGE,), (RULE,)), now, owning(BRIDGE))
    assert not found.actions
    (problem,) = found.problems
    assert (problem.owner, problem.reason, problem.permanent) == (VM, "ForeignObject", True)
    assert "ip link set dev tap3 nomaster" in problem.message


def test_a_port_without_a_rule_is_unplugged_where_smartxd_plugged_it_in() -> None:
    now = observed(seen(BRIDGE), EXTERNAL, plugged("br100"))
    state = KernelState((BRIDGE,))
    (action,) = plan(state, now, owning(BRIDGE, PLUG)).actions
    assert (action.verb, action.old, action.new) == (Verb.DELETE, PLUG, None)
    assert plan(state, now, owning(BRIDGE)) == Plan(), "plugged in by hand"
    elsewhere = observed(seen(BRIDGE), EXTERNAL, plugged("ovs0"))
    assert plan(state, elsewhere, owning(BRIDGE, PLUG)) == Plan(), "moved by hand"
    gone = observed(seen(BRIDGE))
    assert plan(state, gone, owning(BRIDGE, PLUG)) == Plan(), "gone"


def test_a_port_of_an_external_bridge_is_unplugged_when_no_spec_names_it_any_more() -> None:
    plug = replace(PLUG, bridge="ovs0")
    found = plan(KernelState(), observed(EXTERNAL, plugged("ovs0")), owning(plug))
    assert steps(found) == ["delete port tap3 in ovs0"]


def test_a_port_is_unplugged_when_its_other_end_leaves_the_namespace() -> None:
    now = observed(seen(BRIDGE), replace(plugged("br100"), peer_namespace="vm2"))
    state = KernelState((BRIDGE,), (replace(RULE, namespace="vm1"),))
    assert steps(plan(state, now, owning(BRIDGE, PLUG))) == ["delete port tap3 in br100"]


def test_a_port_that_was_plugged_in_is_held_in_the_inventory_while_it_is() -> None:
    state = KernelState((BRIDGE,), (RULE,))
    assert plan(state, observed(seen(BRIDGE), plugged("br100")), owning(BRIDGE, PLUG)) == Plan(
        held=frozenset({"port tap3 in br100"})
    )
    assert not plan(state, observed(seen(BRIDGE)), owning(BRIDGE, PLUG)).held


def test_a_port_plugged_in_by_hand_serves_and_stays() -> None:
    now = observed(seen(BRIDGE), plugged("br100"))
    assert plan(KernelState((BRIDGE,), (RULE,)), now, owning(BRIDGE)) == Plan()


def test_a_port_is_moved_to_another_bridge_and_that_flaps() -> None:
    other = replace(BRIDGE, name="br200")
    now = observed(seen(BRIDGE), seen(other), plugged("br100"))
    state = KernelState((BRIDGE, other), (replace(RULE, bridge="br200"),))
    (action,) = plan(state, now, owning(BRIDGE, other, PLUG)).actions
    assert (action.verb, action.id, action.old) == (Verb.UPDATE, "port tap3 in br200", PLUG)
    assert action.disruption is Disruption.FLAP
    assert action.changes == (Change("bridge", "br100", "br200"),)


def test_a_port_of_a_bridge_that_goes_is_plugged_into_the_next() -> None:
    other = replace(BRIDGE, name="br200")
    state = KernelState((other,), (replace(RULE, bridge="br200"),))
    found = plan(state, observed(seen(BRIDGE), plugged("br100")), owning(BRIDGE, PLUG))
    assert steps(found) == ["delete link br100", "create link br200", "create port tap3 in br200"]
    assert found.actions[-1].disruption is Disruption.FLAP


def test_a_bridge_is_deleted_after_its_ports_are_unplugged() -> None:
    found = plan(KernelState(), observed(seen(BRIDGE), plugged("br100")), owning(BRIDGE, PLUG))
    assert steps(found) == ["delete port tap3 in br100", "delete link br100"]


def test_ports_wait_for_a_bridge_that_is_not_there_and_for_nothing_that_is_none() -> None:
    found = plan(KernelState((), (RULE,)), observed(TAP), Ownership())
    assert (steps(found), reasons(found)) == ([], ["MissingLink"])
    found = plan(KernelState((), (RULE,)), observed(TAP, ObservedLink("br100", 9)), Ownership())
    assert (steps(found), reasons(found)) == ([], ["MissingLink"])
    assert "is no bridge" in found.problems[0].message


@pytest.mark.parametrize(("aware", "settings"), [(False, ACCESS), (True, PortSettings())])
def test_an_external_bridge_must_know_vlans_where_the_spec_does(aware: bool, settings: PortSettings) -> None:
    external = replace(EXTERNAL, name="br100", bridge=ObservedBridge(vlan_aware=aware))
    found = plan(KernelState((), (replace(RULE, settings=settings),)), observed(external, TAP), Ownership())
    assert (steps(found), reasons(found)) == ([], ["VLANMismatch"])
    assert found.problems[0].permanent


def test_a_tunnel_plugs_into_an_external_bridge_which_is_never_changed() -> None:
    external = replace(EXTERNAL, name="br100", mtu=9000, up=False)
    found = plan(KernelState((VXLAN,)), observed(external), Ownership())
    assert steps(found) == ["create link vx100"]


def test_a_bridge_that_becomes_an_external_one_is_handed_over() -> None:
    now = observed(seen(BRIDGE), seen(VXLAN))
    assert plan(KernelState((VXLAN,)), now, owning(BRIDGE, VXLAN)) == Plan()


def test_a_bridge_becomes_vlan_aware_and_its_ports_get_their_vlans() -> None:
    now = observed(seen(BRIDGE), plugged("br100"))
    state = KernelState((SWITCH,), (replace(RULE, settings=ACCESS),))
    bridge, port = plan(state, now, owning(SWITCH, PLUG)).actions
    assert (bridge.verb, bridge.disruption) == (Verb.UPDATE, Disruption.FLAP)
    assert bridge.changes == (Change("vlan_aware", False, True), Change("default_pvid", 1, 0))
    assert port.changes == (Change("settings.vlans", (), ACCESS.vlans),)


def test_another_pvid_flaps_and_another_tagged_vlan_does_not() -> None:
    state = KernelState((SWITCH,), (replace(RULE, settings=ACCESS),))
    other = PortSettings((VlanRange(11, 11, pvid=True, untagged=True),))
    (action,) = plan(state, observed(seen(SWITCH), plugged("br100", other)), owning(SWITCH, PLUG)).actions
    assert action.disruption is Disruption.FLAP
    state = KernelState((SWITCH,), (replace(RULE, settings=TRUNK),))
    other = PortSettings((VlanRange(10, 15),))
    (action,) = plan(state, observed(seen(SWITCH), plugged("br100", other)), owning(SWITCH, PLUG)).actions
    assert action.disruption is Disruption.NONE


def test_a_vlan_aware_bridge_has_no_default_vlan() -> None:
    have = seen(SWITCH, bridge=ObservedBridge(vlan_aware=True, default_pvid=1))
    (action,) = plan(KernelState((SWITCH,)), observed(have), owning(SWITCH)).actions
    assert action.changes == (Change("default_pvid", 1, 0),)


def test_vlans_are_not_compared_where_the_bridge_knows_none() -> None:
    state = KernelState((BRIDGE,), (replace(RULE, settings=ACCESS),))
    assert not plan(state, observed(seen(BRIDGE), plugged("br100")), owning(BRIDGE, PLUG)).actions


def test_settings_of_a_tunnels_port_are_told_one_by_one() -> None:
    want = replace(VXLAN, settings=PortSettings(ACCESS.vlans, isolated=True, learning=False))
    have = seen(VXLAN, port=ObservedPort(settings=PortSettings(learning=False)))
    (action,) = plan(KernelState((SWITCH, want)), observed(seen(SWITCH), have), owning(SWITCH, want)).actions
    assert action.changes == (
        Change("settings.vlans", (), ACCESS.vlans),
        Change("settings.isolated", False, True),
    )


def test_a_port_that_changes_bridges_has_all_its_settings_anew() -> None:
    want = replace(VXLAN, settings=PortSettings(isolated=True))
    have = seen(want, master="ovs0")
    (action,) = plan(
        KernelState((BRIDGE, want)), observed(EXTERNAL, seen(BRIDGE), have), owning(BRIDGE, want)
    ).actions
    assert action.changes == (Change("bridge", "ovs0", "br100"), Change("settings.isolated", False, True))


def test_a_port_comes_back_into_a_bridge_that_is_made_anew() -> None:
    wrong = ObservedLink("br100", 7, "veth", alias=mark(SEG))
    assert reasons(plan(KernelState((BRIDGE,)), observed(wrong), owning(BRIDGE))) == ["ForeignObject"]
    wrong = seen(replace(VXLAN, name="br100", vni=9, bridge=""))
    found = plan(KernelState((BRIDGE,), (RULE,)), observed(wrong, TAP), owning(BRIDGE))
    assert steps(found) == ["recreate link br100", "create port tap3 in br100"]


def test_of_two_rules_it_is_always_the_same_that_has_a_link_and_is_heard_first() -> None:
    rules = RULE, replace(RULE, owner=ObjectRef("Port", "web"), bridge="br200")
    state, other = KernelState((BRIDGE,), rules), KernelState((BRIDGE,), rules[::-1])
    now = observed(seen(BRIDGE), TAP)
    found = plan(state, now, owning(BRIDGE))
    assert steps(found) == ["create port tap3 in br100"]
    assert plan(other, now, owning(BRIDGE)) == found
    waiting = [plan(KernelState((), r), observed(TAP), Ownership()) for r in (rules, rules[::-1])]
    assert reasons(waiting[0]) == ["MissingLink"] * 2
    assert waiting[0] == waiting[1]
