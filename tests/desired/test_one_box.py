"""What one box should be, from the specs of all."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from smartxd.desired import desire
from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import Address, Bridge, Vxlan
from smartxd.source import folder
from smartxd.spec.load import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "koren-two-site"
FILES = folder.read(EXAMPLE)
TUNNEL = ObjectRef("Tunnel", "koren-l2")


def test_a_tunnel_becomes_a_bridge_a_vtep_and_a_gateway() -> None:
    kernel = desire(load(FILES), "gist1").kernel
    bridge, vtep = kernel.links
    assert isinstance(bridge, Bridge)
    assert (replace(bridge, mac=""), vtep) == (
        Bridge(TUNNEL, "br-koren", 1450, forwarding4=True),
        Vxlan(TUNNEL, "vx100", 100, "203.0.113.1", "br-koren", 1450, "239.1.1.100", "wan0"),
    )
    assert Address(TUNNEL, "br-koren", "10.10.0.1/24") in kernel.addresses
    assert Address(ObjectRef("Box", "gist1"), "lo", "10.255.0.1/32") in kernel.addresses


def test_the_two_ends_of_a_session_agree() -> None:
    fleet = load(FILES)
    one, other = desire(fleet, "gist1").frr, desire(fleet, "gist2").frr
    assert one.router is not None
    assert other.router is not None
    (to_other,), (to_one,) = one.neighbors, other.neighbors
    assert (to_other.name, to_other.remote_as) == ("203.0.113.2", other.router.asn)
    assert (to_one.name, to_one.remote_as) == ("203.0.113.1", one.router.asn)
    assert to_other.owner == to_one.owner == ObjectRef("BGPPeer", "koren-wan")


def test_a_traced_tunnel_means_both_its_sides() -> None:
    (tracer,) = desire(load(FILES), "gist2").trace.tracers
    assert tracer.interfaces == ("vx100", "wan0")


def test_the_objects_of_a_box_are_those_that_concern_it() -> None:
    names = [str(ref) for ref in desire(load(FILES), "gist1").objects]
    assert names == [
        "Box/gist1",
        "Tunnel/koren-l2",
        "BGPRouter/gist1",
        "BGPPeer/koren-wan",
        "TracePolicy/koren",
    ]


def test_an_overlay_fits_into_its_underlay() -> None:
    files = {name: text.replace(b"mtu: 1500", b"mtu: 9000") for name, text in FILES.items()}
    assert {link.mtu for link in desire(load(files), "gist1").kernel.links} == {8950}


def test_neither_the_order_of_files_nor_of_documents_matters() -> None:
    expected = desire(load(FILES), "gist1")
    documents = [d for text in FILES.values() for d in text.decode().split("\n---\n")]
    for seed in range(10):
        random.Random(seed).shuffle(documents)
        files = {f"{i}.yaml": d.encode() for i, d in enumerate(documents)}
        assert desire(load(files), "gist1") == expected


def test_a_box_that_is_not_in_the_fleet_has_no_desired_state() -> None:
    with pytest.raises(KeyError):
        desire(load(FILES), "gist9")
