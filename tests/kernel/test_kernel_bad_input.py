"""What cannot be had is said, with the next step; all else is applied, and nothing foreign is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from conftest import Namespace
from kernel_box import Box, problems, segment, state

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.rtnl import (
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    Rtnl,
)
from smartxd.planes.kernel.state import (
    Address,
    Bridge,
    Forwarding,
    Host,
    KernelState,
    NextHop,
    Route,
    Station,
)
from smartxd.reconcile.converge import Round

pytestmark = pytest.mark.kernel

SEG, OTHER = ObjectRef("Tunnel", "seg100"), segment(200)


@pytest.fixture
def plane(box: Namespace) -> Iterator[Box]:
    made = Box(box)
    try:
        yield made
    finally:
        made.close()


def one_problem(found: Round, reason: str, *words: str) -> None:
    """Each problem is of the first tunnel, with a reason, and says what to do next."""
    told = problems(found)
    assert told, "nothing was said"
    assert {p.owner for p in told} == {SEG}, [p.message for p in told]
    first = told[0]
    assert first.reason == reason, first.message
    assert ": " in first.message
    assert "\n" not in first.message
    for word in words:
        assert word in first.message, first.message


def other_is_there(plane: Box) -> None:
    """The second tunnel is whole."""
    box = plane.namespace
    assert box.link("vx200")["master"] == "br200"
    assert "UP" in box.link("vx200")["flags"]
    (shown,) = box.json("addr show dev br200")
    assert shown["addr_info"][0]["local"] == "10.0.200.1"


# What the look shows before anything is applied.


@pytest.mark.parametrize("name", ["vx100", "br100"])
@pytest.mark.parametrize(
    "how",
    [
        "link add {} type veth peer name elsewhere",
        "tuntap add {} mode tap",
        "link add {} type vxlan id 7 dstport 4789 local 192.0.2.1",
        "link add {} type bridge",
        "link add {} up alias smartxd:Tunnel/another type bridge",
    ],
)
def test_a_name_that_a_foreign_link_has(plane: Box, name: str, how: str) -> None:
    made, _, alias = how.format(name).partition(" up alias ")
    if alias:
        mark, _, kind = alias.partition(" ")
        plane.namespace.ip(f"{made} {kind}")
        plane.namespace.ip(f"link set {name} up alias {mark}")
    else:
        plane.namespace.ip(made)
    before = plane.namespace.link(name)
    wanted = state(segment(100), OTHER)
    found = plane.converge(wanted)
    one_problem(found, "ForeignObject", name, "rename or delete it")
    other_is_there(plane)
    plane.check(wanted)
    assert plane.namespace.link(name) == before
    plane.settle(KernelState())
    assert plane.namespace.link(name) == before
    plane.namespace.ip(f"link del {name}")
    plane.settle(wanted)


def test_a_vni_that_a_foreign_device_has(plane: Box) -> None:
    plane.namespace.ip("link add vxf type vxlan id 100 group 239.9.9.9 dev wan dstport 4789")
    before = plane.namespace.link("vxf")
    wanted = state(segment(100), OTHER)
    one_problem(plane.converge(wanted), "VNIInUse", "vxf", "delete vxf, or choose another VNI")
    other_is_there(plane)
    assert plane.namespace.link("vxf") == before
    plane.namespace.ip("link del vxf")
    plane.settle(wanted)


def test_a_missing_underlay_link(plane: Box) -> None:
    bridge, vxlan, address = segment(100)
    wanted = state((bridge, replace(vxlan, underlay="eth9"), address), OTHER)
    one_problem(plane.converge(wanted), "MissingUnderlay", "eth9", "attach it")
    other_is_there(plane)
    plane.namespace.ip("link add eth9 type veth peer name far9")
    plane.settle(wanted)


def test_an_underlay_link_that_goes_takes_tunnels_with_it_and_brings_them_back(plane: Box) -> None:
    plane.namespace.batch(["link add eth9 type veth peer name far9", "link set eth9 up"])
    bridge, vxlan, address = segment(100)
    wanted = state((bridge, replace(vxlan, underlay="eth9"), address), OTHER)
    plane.settle(wanted)
    plane.namespace.ip("link del eth9")
    one_problem(plane.converge(wanted), "MissingUnderlay", "eth9")
    other_is_there(plane)
    plane.namespace.batch(["link add eth9 type veth peer name far9", "link set eth9 up"])
    assert plane.settle(wanted) == ["create link vx100"]


def test_a_vtep_address_that_is_on_no_link_is_told(plane: Box) -> None:
    wanted = state(segment(100, host=77), OTHER)
    one_problem(plane.converge(wanted), "MissingUnderlayAddress", "192.0.2.77", "add it to wan")
    other_is_there(plane)


# What the kernel refuses.


@pytest.mark.parametrize(
    ("address", "ipv6", "words"),
    [("fd00:1::1/64", False, ("EACCES", "IPv6")), ("ff02::5/64", True, ("EADDRNOTAVAIL", "multicast"))],
)
def test_an_address_that_the_kernel_refuses(
    plane: Box, address: str, ipv6: bool, words: tuple[str, ...]
) -> None:
    bridge, vxlan, ours = segment(100)
    bridge = replace(bridge, link_local=ipv6)
    wanted = state((bridge, vxlan, replace(ours, address=address)), OTHER)
    found = plane.converge(wanted)
    one_problem(found, "KernelRefused", f"address {address} dev br100", "refused", *words)
    other_is_there(plane)
    assert plane.namespace.link("vx100")["master"] == "br100"


def test_an_mtu_that_the_underlay_cannot_carry(plane: Box) -> None:
    bridge, vxlan, address = segment(100)
    wanted = state((bridge, replace(vxlan, mtu=1600), address), OTHER)
    found = plane.converge(wanted)
    one_problem(found, "KernelRefused", "link vx100: the kernel refused to create it: ", "EINVAL", "MTU")
    other_is_there(plane)
    (shown,) = plane.namespace.json("addr show dev br100")
    assert shown["addr_info"][0]["local"] == "10.0.100.1"


def test_a_route_whose_next_hop_is_nowhere(plane: Box) -> None:
    wanted = state(segment(100), OTHER)
    nowhere = Route(SEG, "10.9.0.0/16", (NextHop("203.0.113.1", "br100"),))
    good = Route(OTHER[0].owner, "10.8.0.0/16", (NextHop("10.0.200.9", "br200"),))
    wanted = replace(wanted, routes=(good, nowhere))
    one_problem(plane.converge(wanted), "KernelRefused", "route 10.9.0.0/16", "ENETUNREACH", "subnet")
    other_is_there(plane)
    assert [r["dst"] for r in plane.namespace.json("route show proto 83")] == ["10.8.0.0/16"]


def test_a_route_that_somebody_else_has(plane: Box) -> None:
    plane.namespace.ip("route add blackhole 10.9.0.0/16 proto static")
    before = plane.namespace.json("route show 10.9.0.0/16")
    wanted = replace(state(segment(100), OTHER), routes=(Route(SEG, "10.9.0.0/16"),))
    one_problem(plane.converge(wanted), "ForeignObject", "`ip route show 10.9.0.0/16`")
    other_is_there(plane)
    plane.settle(KernelState())
    assert plane.namespace.json("route show 10.9.0.0/16") == before


def test_an_ipv6_address_that_is_there_with_another_prefix_length(plane: Box) -> None:
    bridge, vxlan, address = segment(100)
    bridge = replace(bridge, link_local=True)
    plane.settle(state((bridge, vxlan, address), OTHER))
    plane.namespace.ip("address add fd00:1::1/80 dev br100 nodad")
    wanted = state((bridge, vxlan, replace(address, address="fd00:1::1/64")), OTHER)
    one_problem(plane.converge(wanted), "ForeignObject", "ip address del fd00:1::1/80 dev br100")
    (shown,) = plane.namespace.json("-6 addr show dev br100 scope global")
    assert shown["addr_info"][0]["prefixlen"] == 80


def test_a_link_of_others_on_which_forwarding_is_wanted_and_that_is_not_there(plane: Box) -> None:
    wanted = replace(state(segment(100), OTHER), forwarding=(Forwarding(SEG, "eth9", "ipv4"),))
    one_problem(plane.converge(wanted), "MissingLink", "eth9")
    other_is_there(plane)


# What changes while it is applied.


class Meddled(Rtnl):
    """Somebody does something by hand just before the first message of a kind."""

    def __init__(self, before: int, meddle: Callable[[], Any]) -> None:
        super().__init__()
        self._before, self._meddle = before, meddle
        self.met = False

    def _now(self, types: Sequence[int]) -> None:
        if not self.met and self._before in types:
            self.met = True
            self._meddle()

    def batch(self, changes: Sequence[tuple[int, int, bytes]]) -> list[OSError | None]:
        self._now([type_ for type_, _, _ in changes])
        return super().batch(changes)

    def gets(self, type_: int, bodies: Sequence[bytes]) -> list[bytes | None]:
        self._now([type_])
        return super().gets(type_, bodies)


HOW = {
    "renamed": ["link set {} down", "link set {} name elsewhere"],
    "replaced": [
        "link set {} down",
        "link set {} name elsewhere",
        "link add {} type veth peer name other-end",
    ],
    "deleted": ["link del {}"],
    "moved": ["link set {} netns {elsewhere}"],
    "described": ["link set {} alias mine"],
}
RICH = replace(
    state(segment(100), OTHER),
    links=(
        replace(segment(100)[0], hosts=frozenset({Host("10.0.100.9", "02:00:00:00:00:09")})),
        OTHER[0],
        replace(
            segment(100)[1],
            group="",
            underlay="",
            remotes=frozenset({"192.0.2.9"}),
            stations=frozenset({Station("02:00:00:00:00:05", "192.0.2.9")}),
        ),
        OTHER[1],
    ),
    routes=(
        Route(SEG, "10.9.0.0/16", (NextHop("10.0.100.9", "br100"),)),
        Route(OTHER[0].owner, "10.8.0.0/16", (NextHop("10.0.200.9", "br200"),)),
    ),
    forwarding=(Forwarding(SEG, "wan", "ipv4"),),
)
WHEN = {
    "before it is made": RTM_NEWLINK,
    "before it is looked up": RTM_GETLINK,
    "before addresses": RTM_NEWADDR,
    "before neighbours": RTM_NEWNEIGH,
    "before routes": RTM_NEWROUTE,
}


@pytest.mark.parametrize("name", ["br100", "vx100"])
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", [how for how in HOW if how != "described"])
def test_a_link_that_changes_while_all_is_made(
    plane: Box, namespace: Callable[[], Namespace], name: str, when: str, how: str
) -> None:
    box, elsewhere, what = plane.namespace, namespace(), HOW[how]
    box.batch(["link add witness type bridge", "link set witness alias mine"])
    before = box.link("witness")

    def meddle() -> None:
        box.batch([line.format(name, elsewhere=elsewhere.name) for line in what], force=True)

    with plane.applying_with(Meddled, WHEN[when], meddle) as meddled:
        found = plane.converge(RICH)
    assert meddled.met
    assert {p.owner for p in problems(found)} <= {SEG}, problems(found)
    assert all(": " in p.message for p in problems(found))
    other_is_there(plane)
    assert box.link("witness") == before
    foreign = [link for link in box.json("link") if link["ifname"] in ("other-end", name)]
    if any(link["ifname"] == "other-end" for link in foreign):  # The veth has none of ours.
        (veth,) = (link for link in foreign if link["ifname"] == name)
        assert (veth.get("ifalias"), veth["group"], veth["mtu"]) == (None, "default", 1500)
        assert "master" not in veth
        assert "UP" not in veth["flags"]
        box.ip(f"link del {name}")
    # The next rounds mend it, but for a link that bears smartxd's mark under another name.
    box.batch(["link del elsewhere"], force=True)
    # A VXLAN link keeps its VNI here wherever it is moved to.
    elsewhere.batch([f"link del {name}"], force=True)
    for _ in range(2):
        plane.converge(RICH)
    plane.settle(RICH)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["br100", "vx100"])
def test_a_link_that_changes_while_all_is_removed(
    plane: Box, namespace: Callable[[], Namespace], name: str, how: str
) -> None:
    box, elsewhere, what = plane.namespace, namespace(), HOW[how]
    before = box.snapshot()
    plane.settle(RICH)

    def meddle() -> None:
        box.batch([line.format(name, elsewhere=elsewhere.name) for line in what], force=True)

    with plane.applying_with(Meddled, RTM_NEWLINK, meddle) as meddled:
        plane.converge(KernelState())
    assert meddled.met
    for _ in range(2):
        plane.converge(KernelState())
    left = {link["ifname"] for link in box.json("link")} - {"lo", "wan", "wan-peer"}
    expected = {
        "renamed": {"elsewhere"},
        "replaced": {"elsewhere", name, "other-end"},
        "described": {name},
    }
    assert left == expected.get(how, set())
    for link in left:
        box.ip(f"link del {link}") if link != "other-end" else None
    assert box.snapshot() == before
    assert plane.inventory.owned() == frozenset()


@pytest.mark.parametrize("kind", ["bridge", "veth peer name other-end"])
def test_a_link_that_appears_between_plan_and_apply_is_left_alone(plane: Box, kind: str) -> None:
    box = plane.namespace
    with plane.applying_with(Meddled, RTM_NEWLINK, lambda: box.ip(f"link add br100 type {kind}")):
        found = plane.converge(state(segment(100), OTHER))
    before = box.link("br100")
    one_problem(found, "ForeignObject", "br100", "left alone")
    other_is_there(plane)
    plane.converge(state(segment(100), OTHER))
    plane.settle(KernelState())
    assert box.link("br100") == before


def test_a_vni_that_is_taken_between_plan_and_apply(plane: Box) -> None:
    box = plane.namespace
    taker = "link add vxf type vxlan id 100 group 239.9.9.9 dev wan dstport 4789"
    with plane.applying_with(Meddled, RTM_NEWLINK, lambda: box.ip(taker)):
        found = plane.converge(state(segment(100), OTHER))
    one_problem(found, "KernelRefused", "vx100", "EEXIST", "the VNI")
    other_is_there(plane)
    one_problem(plane.converge(state(segment(100), OTHER)), "VNIInUse", "vxf")


def test_an_address_and_a_route_that_appear_in_between(plane: Box) -> None:
    box = plane.namespace
    wanted = RICH

    def meddle() -> None:
        box.batch(["address add 10.0.100.1/24 dev br100", "route add blackhole 10.9.0.0/16 proto static"])

    with plane.applying_with(Meddled, RTM_NEWADDR, meddle):
        found = plane.converge(wanted)
    one_problem(found, "ForeignObject", "route 10.9.0.0/16")
    other_is_there(plane)


@pytest.mark.parametrize("change", ["alias mine", "name other"])
def test_a_link_that_is_taken_over_between_plan_and_apply_is_not_deleted(plane: Box, change: str) -> None:
    plane.settle(state(segment()))
    observed, found = plane.plane.observe(), plane.plan(KernelState())
    plane.namespace.ip(f"link set vx100 down {change}")
    problem = next(r.problem for r in plane.plane.apply(found, observed) if r.action.id == "link vx100")
    assert problem is not None
    assert problem.reason == "ForeignObject"
    assert plane.namespace.link("other" if "other" in change else "vx100")


def test_what_vanishes_between_plan_and_apply_is_no_error(plane: Box) -> None:
    plane.settle(state(segment()))
    observed, found = plane.plane.observe(), plane.plan(KernelState())
    plane.namespace.ip("link del vx100")
    plane.namespace.ip("link del br100")
    assert [r.problem for r in plane.plane.apply(found, observed) if r.problem] == []


# Refusals that the kernel gives only at times.


class Refusing(Rtnl):
    """The kernel refuses some messages of a kind, as it does now and then."""

    def __init__(self, type_: int, code: int, nth: int) -> None:
        super().__init__()
        self._type, self._code, self._nth = type_, code, nth
        self._count = 0

    def batch(self, changes: Sequence[tuple[int, int, bytes]]) -> list[OSError | None]:
        outcomes = []
        for change in changes:
            self._count += change[0] == self._type
            if change[0] == self._type and self._count == self._nth:
                outcomes.append(OSError(self._code, "refused"))
            else:
                outcomes += super().batch([change])
        return outcomes


@pytest.mark.parametrize("code", ["EBUSY", "EEXIST", "ENODEV", "ENOMEM"])
@pytest.mark.parametrize("type_", [RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE])
@pytest.mark.parametrize("nth", [1, 2])
def test_one_refusal_in_the_middle_of_a_batch(plane: Box, code: str, type_: int, nth: int) -> None:
    import errno

    with plane.applying_with(Refusing, type_, getattr(errno, code), nth):
        found = plane.converge(RICH)
    told = [r.problem for r in found.results if r.problem]
    assert all(": " in p.message for p in told)
    assert len({p.owner for p in problems(found)}) <= 1, [p.message for p in problems(found)]
    plane.settle(RICH)


@pytest.mark.parametrize("code", ["EBUSY", "ENODEV"])
def test_a_group_whose_removal_is_refused_is_removed_link_by_link(plane: Box, code: str) -> None:
    import errno

    plane.settle(RICH)
    with plane.applying_with(Refusing, RTM_DELLINK, getattr(errno, code), 1):
        found = plane.converge(KernelState())
    assert [p.message for p in found.failures] == []
    assert plane.inventory.owned() == frozenset()
    assert Address not in {type(r.action.new) for r in found.results}
    assert Bridge in {type(r.action.old) for r in found.results}
