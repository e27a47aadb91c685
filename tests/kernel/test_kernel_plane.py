from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kernel_box import Box, done, segment, state

from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.kernel import encode
from smartxd.planes.kernel.observe import observe
from smartxd.planes.kernel.observed import KernelObserved
from smartxd.planes.kernel.plane import KernelPlane
from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.state import NEWBORN_GROUP, Bridge, KernelState
from smartxd.reconcile.plan import Verb

pytestmark = pytest.mark.kernel

SEG = ObjectRef("Tunnel", "seg")


@pytest.fixture
def plane(box: Any) -> Iterator[Box]:
    made = Box(box)
    try:
        yield made
    finally:
        made.close()


def test_a_segment_is_made_as_the_specs_say_and_the_second_plan_is_empty(plane: Box) -> None:
    desired = state(segment())
    assert len(done(plane.converge(desired))) == 3
    vxlan = plane.namespace.link("vx100")
    data = vxlan["linkinfo"]["info_data"]
    assert vxlan["master"] == "br100"
    assert vxlan["mtu"] == 1450
    assert vxlan["ifalias"] == "smartxd:Tunnel/seg100"
    assert vxlan["group"] == "default"
    assert "UP" in vxlan["flags"]
    assert (data["id"], data["group"], data["local"], data["link"]) == (
        100,
        "239.1.1.100",
        "192.0.2.1",
        "wan",
    )
    assert (data["port"], data["ttl"], data["learning"]) == (4789, 5, True)
    assert plane.namespace.link("br100")["ifalias"] == "smartxd:Tunnel/seg100"
    (shown,) = plane.namespace.json("addr show dev br100")
    assert {"local": "10.0.100.1", "prefixlen": 24}.items() <= shown["addr_info"][0].items()
    plane.check(desired)


@pytest.mark.parametrize(
    ("damage", "repair"),
    [
        ("link del vx100", ["create link vx100"]),
        (
            "link del br100",
            ["create link br100", "update link vx100", "create address 10.0.100.1/24 dev br100"],
        ),
        ("link set vx100 mtu 1400", ["update link vx100"]),
        ("link set br100 mtu 1300", ["update link br100"]),
        ("link set vx100 type vxlan ttl 1", ["update link vx100"]),
        ("link set vx100 type vxlan nolearning", ["update link vx100"]),
        ("link set vx100 down", ["update link vx100"]),
        ("link set br100 down", ["update link br100"]),
        ("link set vx100 nomaster", ["update link vx100"]),
        ("addr del 10.0.100.1/24 dev br100", ["create address 10.0.100.1/24 dev br100"]),
    ],
)
def test_what_is_broken_by_hand_is_repaired(plane: Box, damage: str, repair: list[str]) -> None:
    desired = state(segment())
    done(plane.converge(desired))
    plane.namespace.ip(damage)
    assert done(plane.converge(desired)) == repair
    plane.check(desired)
    assert plane.namespace.link("vx100")["master"] == "br100"


@pytest.mark.parametrize(
    "change", [{"vni": 101}, {"group": "239.1.1.101"}, {"port": 4790}, {"local": "192.0.2.1", "ttl": 9}]
)
def test_a_changed_spec_reaches_the_vxlan(plane: Box, change: dict[str, object]) -> None:
    bridge, vxlan, address = segment()
    done(plane.converge(state((bridge, vxlan, address))))
    before = plane.namespace.link("vx100")["ifindex"]
    changed = state((bridge, replace(vxlan, **change), address))
    (result,) = plane.converge(changed).results
    assert result.problem is None
    again = plane.namespace.link("vx100")["ifindex"] != before
    assert again == (result.action.verb is Verb.RECREATE) == ("ttl" not in change)
    plane.check(changed)


def test_two_tunnels_exchange_their_vnis(plane: Box) -> None:
    (b1, v1, a1), (b2, v2, a2) = segment(100), segment(200)
    done(plane.converge(state((b1, v1, a1), (b2, v2, a2))))
    swapped = state((b1, replace(v1, vni=200), a1), (b2, replace(v2, vni=100), a2))
    assert done(plane.converge(swapped)) == ["recreate link vx100", "recreate link vx200"]
    plane.check(swapped)


def test_a_link_whose_making_was_interrupted_is_finished_or_removed(plane: Box) -> None:
    plane.namespace.ip(f"link add br100 group {NEWBORN_GROUP} type bridge")
    desired = state(segment())
    assert done(plane.converge(desired))[0] == "update link br100"
    shown = plane.namespace.link("br100")
    assert (shown["ifalias"], shown["group"]) == ("smartxd:Tunnel/seg100", "default")
    done(plane.converge(KernelState()))
    plane.namespace.ip(f"link add br100 group {NEWBORN_GROUP} type bridge")
    plane.inventory.claim([OwnedObject("kernel", "link br100", SEG)])
    assert done(plane.converge(KernelState())) == ["delete link br100"]


def test_teardown_removes_exactly_what_is_ours(plane: Box) -> None:
    box = plane.namespace
    box.batch(
        [
            "link add docker0 type bridge",
            "link add vxf type vxlan id 7 group 239.9.9.9 dev wan dstport 4789",
            "link set vxf alias smartxd:Tunnel/unknown",
            "link set vxf master docker0",
            "link set vxf up",
            "link add plug type veth peer name inside",
            "link set docker0 up",
            "address add 172.17.0.1/16 dev docker0",
            "address add 10.0.100.7/24 dev wan",
        ]
    )
    before = box.snapshot()
    desired = state(segment(100), segment(200))
    done(plane.converge(desired))
    box.ip("link set plug master br100")
    plane.check(desired)
    assert len(done(plane.converge(KernelState()))) == 6
    assert plane.inventory.owned() == frozenset()
    assert box.snapshot() == before


def test_foreign_addresses_survive_every_change_of_ours_in_their_subnet(plane: Box) -> None:
    box = plane.namespace
    box.batch(["link add marked type bridge", "link set marked alias smartxd:Tunnel/seg100"])
    for conf in ("all", "default", "marked"):
        box.set_conf("ipv4", conf, "promote_secondaries", 0)
    bridge, vxlan, address = segment()
    # Both a bridge that is made and one that is taken over.
    taken = replace(bridge, name="marked")
    places = [replace(address, link=name) for name in ("br100", "marked")]
    done(plane.converge(KernelState((bridge, taken, vxlan), addresses=tuple(places))))
    for name in ("br100", "marked"):
        box.ip(f"address add 10.0.100.50/24 dev {name}")

    def held(name: str) -> set[str]:
        (shown,) = box.json(f"-4 addr show dev {name}")
        return {f"{a['local']}/{a['prefixlen']}" for a in shown["addr_info"]}

    other = replace(vxlan, vni=101, mtu=1400)
    for ours in ("10.0.100.2/24", "10.0.100.2/16", "10.0.100.3/24"):
        moved = KernelState((bridge, taken, other), addresses=tuple(replace(a, address=ours) for a in places))
        done(plane.converge(moved))
        plane.check(moved)
        assert held("br100") == held("marked") == {ours, "10.0.100.50/24"}
    done(plane.converge(KernelState((bridge, taken, other))))
    assert held("br100") == held("marked") == {"10.0.100.50/24"}


def test_an_address_goes_when_its_successor_is_there(plane: Box) -> None:
    bridge, vxlan, address = segment()
    done(plane.converge(state((bridge, vxlan, address))))
    moved = state((bridge, vxlan, replace(address, address="10.0.100.2/24")))
    assert done(plane.converge(moved)) == [
        "create address 10.0.100.2/24 dev br100",
        "delete address 10.0.100.1/24 dev br100",
    ]
    bridge = replace(bridge, link_local=True)
    six = replace(address, address="fd00:1::1/64")
    done(plane.converge(state((bridge, vxlan, six))))
    longer = state((bridge, vxlan, replace(six, address="fd00:1::1/80")))
    assert done(plane.converge(longer)) == [
        "delete address fd00:1::1/64 dev br100",
        "create address fd00:1::1/80 dev br100",
    ]


class Restless(Rtnl):
    """A socket in whose namespace a link comes between any two parts of an answer, a number of times."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.changes = changes
        self.hand = Rtnl()

    def _receive(self) -> bytes:
        data = super()._receive()
        if self.changes:
            self.changes -= 1
            hasty = encode.new_link(Bridge(SEG, f"hasty{self.changes}", 1500), {})
            self.hand.batch([hasty[:3]])
        return data

    def close(self) -> None:
        super().close()
        self.hand.close()


@pytest.mark.parametrize("changes", [1, 1000])
def test_a_look_at_a_network_that_does_not_rest_is_not_taken_for_the_truth(box: Any, changes: int) -> None:
    # More links than one part of an answer has room for.
    box.batch([f"link add b{n} type bridge" for n in range(100)])
    with box.inside():
        rtnl = Restless(changes)
    try:
        if changes == 1:
            assert {"hasty0", *(f"b{n}" for n in range(100))} < observe(rtnl).links.keys()
            return
        with pytest.raises(PlaneError) as caught:
            observe(rtnl)
        assert caught.value.reason == "KernelBusy"
    finally:
        rtnl.close()


def test_a_kernel_that_does_not_tell_is_an_error_of_the_plane(box: Any) -> None:
    with box.inside():
        plane = KernelPlane()
    plane.close()
    for look in (plane.observe, lambda: plane.forwarding(KernelState(), KernelObserved())):
        with pytest.raises(PlaneError) as caught:
            look()
        assert caught.value.reason == "KernelRefused"


def test_a_lost_inventory_is_regained_and_then_used(plane: Box) -> None:
    desired = state(segment())
    done(plane.converge(desired))
    plane.inventory.by_id.clear()
    plane.check(KernelState())
    assert len(done(plane.converge(desired))) == 3
    plane.check(desired)
    assert len(done(plane.converge(KernelState()))) == 3


def test_ipv6_addresses_and_an_ipv6_underlay_are_made_as_well(plane: Box) -> None:
    plane.namespace.ip("address add 2001:db8::1/64 dev wan nodad")
    bridge, vxlan, address = segment()
    six = replace(vxlan, group="ff05::100", local="2001:db8::1", mtu=1430)
    desired = state((replace(bridge, link_local=True), six, replace(address, address="fd00:1::1/64")))
    assert len(done(plane.converge(desired))) == 3
    plane.check(desired)
    assert plane.namespace.link("vx100")["linkinfo"]["info_data"]["local6"] == "2001:db8::1"


def test_without_privileges_one_line_says_so(box: Any) -> None:
    program = textwrap.dedent("""
        import os
        from smartxd.errors import PlaneError
        from smartxd.objects import ObjectRef
        from smartxd.planes.kernel.plane import KernelPlane
        from smartxd.planes.kernel.state import Bridge, KernelState
        from smartxd.reconcile.plan import Ownership
        os.setuid(65534)
        plane = KernelPlane()
        observed = plane.observe()
        desired = KernelState((Bridge(ObjectRef("Tunnel", "a"), "br0", 1500),))
        plan = plane.plan(desired, observed, Ownership())
        try:
            list(plane.apply(plan, observed))
        except PlaneError as err:
            print(err.reason, "|", err.message, "|", err.hint)
        plane.close()
    """)
    argv = ["nsenter", f"--net={box.path}", sys.executable, "-c", program]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=Path.cwd())
    assert ran.stdout.startswith("NotPermitted | "), ran.stderr
    assert "CAP_NET_ADMIN" in ran.stdout


def test_vteps_find_each_other_by_multicast_and_ping_crosses(namespace: Callable[[], Any]) -> None:
    area = namespace()
    area.batch(["link add core type bridge", "link set core up"])
    boxes = []
    for host in (1, 2):
        made = namespace()
        area.ip(f"link add to{host} type veth peer name wan netns {made.name}")
        area.batch([f"link set to{host} master core", f"link set to{host} up"])
        made.batch([f"address add 192.0.2.{host}/24 dev wan", "link set wan up", "link set lo up"])
        boxes.append(Box(made))
    try:
        for host, one in enumerate(boxes, start=1):
            done(one.converge(state(segment(100, host))))
        one, two = boxes
        # A container plugs into the second box's bridge.
        container = namespace()
        two.namespace.ip(f"link add plug type veth peer name eth0 netns {container.name}")
        two.namespace.batch(["link set plug master br100", "link set plug up"])
        container.batch(["address add 10.0.100.9/24 dev eth0", "link set eth0 mtu 1450 up"])
        for target in ("10.0.100.2", "10.0.100.9"):
            one.namespace.run(f"ping -c 2 -i 0.2 -w 10 -M do -s 1422 {target}")

        desired = state(segment(100, 1))
        (tunnel,), (bridge,) = one.plane.forwarding(desired, one.plane.observe())
        assert bridge.bridge == "br100"
        assert (tunnel.link, tunnel.vni, tunnel.up) == ("vx100", 100, True)
        ((address, macs),) = [(v.address, v.macs) for v in tunnel.vteps]
        assert address == "192.0.2.2"
        assert macs >= 2
        desired = state(segment(100, 2))
        two.check(desired)
        _, (bridge,) = two.plane.forwarding(desired, two.plane.observe())
        assert "10.0.100.2/24" in bridge.addresses
        ports = {p.port: p for p in bridge.ports}
        assert set(ports) == {"plug", "vx100"}
        assert {p.state for p in bridge.ports} == {"forwarding"}
        assert ports["plug"].macs == 1
        assert ports["vx100"].macs >= 1
    finally:
        for one in boxes:
            one.close()
