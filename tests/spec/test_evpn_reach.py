"""How far EVPN routes come, by sets of boxes at once as by following them box by box."""

from __future__ import annotations

import random

import pytest

from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgppeer import BoxEnd
from smartxd.spec.load import judge
from smartxd.spec.rules.evpn import evpn_routes_reach_all

FAMILIES = "families: [l2vpnEvpn]"


def doc(kind: str, name: str, spec: str) -> str:
    return (
        f"---\napiVersion: smartx.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )


def fleet_of(rng: random.Random) -> Fleet:
    """Up to nine boxes in a few ASes, joined by chance."""
    count = rng.randint(2, 9)
    asns = rng.choice((1, 2, 3, count))
    text = ""
    for i in range(count):
        underlay = f"underlay: {{interface: wan0, address: 192.0.2.{i + 1}/24}}"
        text += doc(
            "Box", f"b{i}", f"{underlay}, loopback: 10.0.0.{i + 1}, asn: {65001 + rng.randrange(asns)}"
        )
        text += doc("BGPRouter", f"r{i}", f"box: b{i}, {FAMILIES}")
        for j in range(i):
            if rng.random() < 0.4:
                text += doc("BGPPeer", f"p{i}-{j}", f"between: [{end(i, rng)}, {end(j, rng)}], {FAMILIES}")
    for k in range(4):
        members = ", ".join(f"b{i}" for i in rng.sample(range(count), rng.randint(2, count)))
        text += doc("Tunnel", f"t{k}", f"boxes: {{names: [{members}]}}, vni: {k + 1}, flood: {{mode: evpn}}")
    return judge({"a.yaml": text.encode()}).fleet


def end(box: int, rng: random.Random) -> str:
    reflects = ", routeReflectorClient: true" * (rng.random() < 0.4)
    return f"{{box: b{box}{reflects}{', allowAsIn: 1' * (rng.random() < 0.2)}}}"


def reached(fleet: Fleet, origin: str) -> set[str]:
    """The boxes to which the routes of a box come, one session at a time."""
    told = {(origin, True)}
    waiting = list(told)
    while waiting:
        box, to_all = waiting.pop()
        new = set(heard(fleet, origin, box, to_all=to_all)) - told
        told |= new
        waiting += new
    return {box for box, _ in told}


def heard(fleet: Fleet, origin: str, box: str, *, to_all: bool) -> list[tuple[str, bool]]:
    """Whom a box tells, and whether they may tell all: not what a non-client told them by iBGP."""
    found = []
    asn = {router.spec.box: fleet.asn_of(router) for router in fleet.routers.values()}
    for peer in fleet.peers_of(box):
        here, there = sorted(peer.spec.box_ends, key=lambda e: e.box != box)
        assert isinstance(here, BoxEnd)
        if asn[here.box] != asn[there.box]:
            if asn[there.box] != asn[origin] or there.allow_as_in is not None:
                found.append((there.box, True))
        elif to_all or here.route_reflector_client:
            found.append((there.box, there.route_reflector_client))
    return found


@pytest.mark.parametrize("part", range(4))
def test_the_tunnels_that_routes_do_not_span_are_told(part: int) -> None:
    spanned = 0
    for seed in range(part * 60, part * 60 + 60):
        fleet = fleet_of(random.Random(seed))
        broken = {finding.object for finding in evpn_routes_reach_all(fleet)}
        for tunnel in fleet.tunnels.values():
            members = fleet.member_set(tunnel)
            whole = all(members <= reached(fleet, box) for box in members)
            assert (str(tunnel.ref) not in broken) == whole, seed
            spanned += whole
    assert 20 < spanned < 220  # both happen
