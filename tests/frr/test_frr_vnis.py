"""What EVPN is told of a VNI that the box has, on real FRR."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from smartxd.objects import ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import VNI, FRRState
from tests.frr.conftest import Book, Instance, run, until
from tests.frr.frr_states import ROUTER, speaker

pytestmark = pytest.mark.kernel


def state(**distinguishers: str) -> FRRState:
    """A speaker that knows the VNIs, each with this route distinguisher, as ``vni100='65001:1'``."""
    vnis = (
        VNI(ObjectRef("Tunnel", name), int(name[3:]), 65001, (), given)
        for name, given in distinguishers.items()
    )
    made = speaker(65001, "10.255.0.1", *vnis, owner=ROUTER)
    assert made.router is not None
    router = replace(made.router, families=("ipv4", "evpn"), advertise_all_vni=True)
    return replace(made, parts=(router, *made.parts[1:]))


def vnis(box: Instance) -> dict[str, str]:
    """The route distinguisher of each VNI, as bgpd has it."""
    told = json.loads(box.vtysh("show bgp l2vpn evpn vni json"))
    return {number: vni["rd"] for number, vni in told.items() if isinstance(vni, dict)}


def test_a_vni_has_the_route_distinguisher_that_is_given_until_it_is_not(lone: Instance) -> None:
    inside = ("nsenter", f"--net=/run/netns/{lone.name}", "ip", "link")
    run(*inside, "add", "br0", "type", "bridge")
    for vni in ("100", "200"):
        link = f"vx{vni}"
        run(*inside, "add", link, "type", "vxlan", "id", vni, "dstport", "4789", "local", "10.255.0.1")
        run(*inside, "set", link, "master", "br0", "up")
    book = Book(FRRPlane(lone.config))

    def has(desired: FRRState, **wanted: str) -> None:
        assert [result.problem for result in book.converge(desired) if result.problem] == []
        again = book.plan(desired)
        assert (again.actions, again.problems) == ((), ())
        assert {f"vni{number}": rd for number, rd in vnis(lone).items() if f"vni{number}" in wanted} == wanted

    has(state())
    until(lambda: len(vnis(lone)) == 2)  # zebra tells bgpd of the links
    derived = vnis(lone)
    assert sorted(derived.values()) == ["10.255.0.1:2", "10.255.0.1:3"]
    both = {"vni100": "10.255.0.1:100", "vni200": "65536:65535"}
    has(state(**both), **both)
    swapped = {"vni100": "65536:65535", "vni200": "10.255.0.1:100"}
    has(state(**swapped), **swapped)
    has(state(vni200="65001:4294967295"), vni100=derived["100"], vni200="65001:4294967295")
    has(state(), vni100=derived["100"], vni200=derived["200"])

    # SX324 refuses these: FRR takes no notice of what it has derived itself, and that is said.
    (problem,) = (r.problem for r in book.converge(state(vni100=derived["100"])) if r.problem)
    assert (problem.reason, problem.owner) == ("NotConverged", ObjectRef("Tunnel", "vni100"))
    assert f"rd {derived['100']}" in problem.message
