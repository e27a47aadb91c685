"""Links of others are plugged in whenever they are there, and nothing else about them is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Namespace
from kernel_box import Box, problems

from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.kernel.state import Bridge, KernelState, PortRule, PortSettings

pytestmark = pytest.mark.kernel

OWNER = ObjectRef("Bridge", "lab")
BRIDGES = (Bridge(OWNER, "br1", 1400), Bridge(OWNER, "br2", 1400))


def state(*rules: PortRule) -> KernelState:
    return KernelState(BRIDGES, rules)


def rule(*patterns: str, bridge: str = "br1", namespace: str | None = None, **settings: Any) -> PortRule:
    return PortRule(OWNER, patterns, bridge, namespace, PortSettings(**settings))


@pytest.fixture
def made(box: Namespace) -> Iterator[Box]:
    made = Box(box)
    try:
        yield made
    finally:
        made.close()


def alone(box: Namespace, name: str) -> dict[str, Any]:
    """What is not smartxd's of a link, whether it is a port or not."""
    link = box.link(name)
    for ours in ("master", "linkinfo", "allmulti", "promiscuity"):
        link.pop(ours, None)
    return link


@pytest.mark.parametrize(
    "how",
    [
        "tuntap add tap7 mode tap",
        "link add tap7 type veth peer name tap7-peer",
        "link add tap7 mtu 9000 up type veth peer name tap7-peer",
    ],
)
def test_a_link_that_appears_is_plugged_in_and_nothing_else(made: Box, how: str) -> None:
    box, wanted = made.namespace, state(rule("tap?", isolated=True, learning=False))
    made.settle(wanted)
    box.ip(how)
    before = alone(box, "tap7")
    assert made.settle(wanted) == ["create port tap7 in br1"]
    link = box.link("tap7")
    assert link["master"] == "br1"
    port = link["linkinfo"]["info_slave_data"]
    assert (port["isolated"], port["learning"], port["neigh_suppress"]) == (True, False, False)
    assert alone(box, "tap7") == before
    assert box.link("br1")["mtu"] == 1400
    changed = state(rule("tap?", neighbor_suppression=True))
    assert made.settle(changed) == ["update port tap7 in br1"]
    port = box.link("tap7")["linkinfo"]["info_slave_data"]
    assert (port["isolated"], port["learning"], port["neigh_suppress"]) == (False, True, True)
    assert made.settle(state()) == ["delete port tap7 in br1"]
    assert "master" not in box.link("tap7")
    assert alone(box, "tap7") == before
    assert made.inventory.owned() == state().objects()


def test_teardown_leaves_the_links_of_others(made: Box) -> None:
    box = made.namespace
    box.batch(["tuntap add tap1 mode tap", "link set tap1 up mtu 1300"])
    before = alone(box, "tap1")
    made.settle(state(rule("tap*")))
    made.settle(KernelState())
    assert made.inventory.owned() == frozenset()
    assert {link["ifname"] for link in box.json("link")} == {"lo", "wan", "wan-peer", "tap1"}
    assert alone(box, "tap1") == before
    assert "master" not in box.link("tap1")


def test_a_link_that_vanishes_and_comes_back_is_plugged_in_again(made: Box) -> None:
    box, wanted = made.namespace, state(rule("tap*"))
    box.ip("tuntap add tap1 mode tap")
    made.settle(wanted)
    box.ip("link del tap1")
    assert made.settle(wanted) == []
    assert made.inventory.owned() == wanted.objects()
    box.ip("tuntap add tap1 mode tap")
    assert made.settle(wanted) == ["create port tap1 in br1"]
    box.ip("link set tap1 nomaster")
    assert made.settle(wanted) == ["create port tap1 in br1"]


def test_a_port_moves_when_its_rule_does(made: Box) -> None:
    box = made.namespace
    box.ip("tuntap add tap1 mode tap")
    made.settle(state(rule("tap*")))
    assert made.settle(state(rule("tap*", bridge="br2", isolated=True))) == ["update port tap1 in br2"]
    link = box.link("tap1")
    assert link["master"] == "br2"
    assert link["linkinfo"]["info_slave_data"]["isolated"]
    assert OwnedObject("kernel", "port tap1 in br1", OWNER) not in made.inventory.owned()


def test_a_port_of_a_bridge_that_is_made_anew_is_plugged_in_again(made: Box) -> None:
    box, wanted = made.namespace, state(rule("tap*", isolated=True))
    box.ip("tuntap add tap1 mode tap")
    made.settle(wanted)
    box.ip("link del br1")
    assert made.settle(wanted) == ["create link br1", "create port tap1 in br1"]
    assert box.link("tap1")["linkinfo"]["info_slave_data"]["isolated"]


def test_only_the_veth_of_the_right_namespace_is_plugged_in(
    made: Box, namespace: Callable[[], Namespace]
) -> None:
    box, right, wrong = made.namespace, namespace(), namespace()
    wanted = state(rule("to-*", namespace=right.name))
    made.settle(wanted)
    box.batch(
        [
            f"link add to-right type veth peer name eth0 netns {right.name}",
            f"link add to-wrong type veth peer name eth0 netns {wrong.name}",
            "link add to-here type veth peer name eth0",
            "tuntap add to-tap mode tap",
        ]
    )
    assert made.settle(wanted) == ["create port to-right in br1"]
    before = alone(box, "to-right")
    right.ip("link set eth0 up")
    # Its other end moves: the one is no longer of the rule, the other one is.
    right.ip(f"link set eth0 name eth9 netns {wrong.name}")
    wrong.ip(f"link set eth0 netns {right.name}")
    steps = set(made.settle(wanted))
    assert steps == {"delete port to-right in br1", "create port to-wrong in br1"}
    assert "master" not in box.link("to-right")
    assert box.link("to-wrong")["master"] == "br1"
    assert alone(box, "to-right")["mtu"] == before["mtu"]


def test_what_others_have_plugged_in_elsewhere_stays_there(made: Box) -> None:
    box = made.namespace
    box.batch(["link add docker0 type bridge", "tuntap add tap1 mode tap", "link set tap1 master docker0"])
    before = box.link("tap1")
    found = made.converge(state(rule("tap*")))
    (problem,) = problems(found)
    assert problem.reason == "ForeignObject"
    assert "docker0" in problem.message
    assert box.link("tap1") == before
    made.settle(KernelState())
    assert box.link("tap1") == before


def test_a_port_in_a_bridge_of_others(made: Box) -> None:
    box = made.namespace
    box.batch(["link add ovs type bridge", "tuntap add tap1 mode tap"])

    def shown() -> list[dict[str, Any]]:
        kept = ("ifname", "flags", "mtu", "group", "ifalias", "qdisc", "master", "inet6_addr_gen_mode")
        return [{key: link.get(key) for key in kept} for link in box.links()]

    before = shown()
    wanted = KernelState(ports=(rule("tap*", bridge="ovs"),))
    assert made.settle(wanted) == ["create port tap1 in ovs"]
    assert box.link("tap1")["master"] == "ovs"
    assert made.settle(KernelState()) == ["delete port tap1 in ovs"]
    assert shown() == before
    box.ip("link del ovs")
    found = made.converge(wanted)
    assert [p.reason for p in problems(found)] == ["MissingLink"]
