"""The broadcast domain of each link, and the ways of a box, as the specs tell them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from smartxd.spec.fleet import Fleet
from smartxd.spec.load import judge
from smartxd.spec.ways import ways

HEAD = "apiVersion: smartx.io/v1alpha1\n"


def doc(kind: str, name: str, spec: str) -> str:
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def fleet(*documents: str) -> Fleet:
    boxes = [
        doc("Box", box, f"underlay: {{interface: wan0, address: 192.0.2.{i}/24}}, asn: 6500{i}")
        for i, box in enumerate("abc", 1)
    ]
    verdict = judge({"a.yaml": "---\n".join((*boxes, *documents)).encode()}, ignore=("SX316",))
    assert verdict.fleet is not None, verdict.findings
    return verdict.fleet


def tunnel(name: str, vni: int, more: str, boxes: str = "[a, b]") -> str:
    return doc("Tunnel", name, f"boxes: {{names: {boxes}}}, vni: {vni}, flood: {{mode: static}}, {more}")


def bridge(more: str) -> str:
    return doc("Bridge", "campus", f"boxes: {{names: [a, b, c]}}, interface: br-campus, {more}")


def segments(found: Fleet) -> dict[str, str]:
    links = [link for box in found.boxes for link in found.links_of(box) if link.overlay]
    return {f"{link.box} {link.interface} {link.address.ip}": link.segment for link in links}


ADDRESSES = "addresses: {a: 10.0.0.1/24, b: 10.0.0.2/24, c: 10.0.0.3/24}"


def test_a_bridge_is_of_the_tunnel_that_plugs_into_it_where_it_does() -> None:
    assert segments(fleet(bridge(ADDRESSES), tunnel("t", 100, "bridgeRef: campus"))) == {
        "a br-campus 10.0.0.1": "Tunnel/t",
        "b br-campus 10.0.0.2": "Tunnel/t",
        "c br-campus 10.0.0.3": "Bridge/campus on c",
    }


@pytest.mark.parametrize(
    ("vlan", "interface", "segment"),
    [(1, "br-campus", "Tunnel/t"), (20, "br-campus.20", "Bridge/campus on a")],
)
def test_the_address_of_a_vlan_aware_bridge_is_in_its_native_vlan(
    vlan: int, interface: str, segment: str
) -> None:
    more = f"bridgeRef: campus, vlan: {vlan}, gateways: {{b: 10.0.0.9/24}}"
    found = fleet(bridge("vlanAware: true, addresses: {a: 10.0.0.1/24}"), tunnel("t", 100, more))
    assert segments(found) == {
        "a br-campus 10.0.0.1": segment,
        f"b {interface} 10.0.0.9": "Tunnel/t",
    }


def test_different_tunnels_may_plug_into_one_bridge_on_boxes_apart() -> None:
    found = fleet(
        bridge(ADDRESSES),
        tunnel("t", 100, "bridgeRef: campus"),
        tunnel("u", 101, "bridgeRef: campus", "[c]"),
    )
    assert set(segments(found).values()) == {"Tunnel/t", "Tunnel/u"}


def test_the_most_specific_way_wins_and_of_one_prefix_that_with_the_lowest_metric() -> None:
    found = ways(
        fleet(
            tunnel("t", 100, "gateways: {a: 10.0.0.1/24}"),
            doc("Route", "far", "boxes: {names: [a]}, destination: 10.0.0.0/8, via: [{address: 10.0.0.2}]"),
            doc("Route", "spare", "boxes: {names: [a]}, destination: 10.0.0.0/8, blackhole: true, metric: 9"),
        ),
        "a",
    )
    near, far = next(found.holding(ip_address("10.0.0.77"))), next(found.holding(ip_network("10.1.0.0/16")))
    assert (str(near.by.ref), str(far.by.ref)) == ("Tunnel/t", "Route/far")
    assert (far.out, far.overlay) == (frozenset({"br100"}), True)
    assert not found.hold(ip_address("198.51.100.1"))
