"""Nodes of the larger example reach each other and their gateways; teardown leaves what is not smartxd's."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.campus import BOXES, EXPERIMENTS, SEGMENTS, SERVERS, Campus, Segment, campus_of
from tests.e2e.conftest import PATIENCE_S
from tests.e2e.network import network_of
from tests.e2e.transfer import transfer

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

each_segment = pytest.mark.parametrize("segment", SEGMENTS, ids=lambda s: s.tunnel)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    """One campus for all tests of this file."""
    yield from campus_of("campus", tmp_path_factory.mktemp("campus"))


@each_segment
def test_nodes_of_three_sites_reach_each_other(site: Campus, segment: Segment) -> None:
    for i, j in itertools.permutations(range(3), 2):
        for address in (segment.address(j), segment.address6(j)):
            site.wait_reaches(segment.nodes[i], address)


@each_segment
def test_a_transfer_arrives_whole(site: Campus, segment: Segment) -> None:
    site.wait_reaches(segment.nodes[0], segment.address(2))
    transfer(site, segment.nodes[0], segment.nodes[2], segment.address(2))


@each_segment
def test_nodes_keep_the_mtu_of_ethernet_where_the_underlay_has_room(site: Campus, segment: Segment) -> None:
    assert site.link("gwangju", segment.bridge)["mtu"] >= 1500
    site.wait_reaches(segment.nodes[0], segment.address(1), "-M", "do", "-s", "1472")


def test_a_static_tunnel_floods_to_the_other_boxes(site: Campus) -> None:
    found = site.json("seoul", "bridge", "-j", "fdb", "show", "dev", "vx120")
    flooded = {entry["dst"] for entry in found if entry["mac"] == "00:00:00:00:00:00"}
    assert flooded == {"2001:db8:113::1", "2001:db8:113::3"}


def test_an_anycast_gateway_answers_on_every_box(site: Campus) -> None:
    for node in SERVERS.nodes:
        for address in ("10.130.0.1", "2001:db8:130::1"):
            site.wait_reaches(node, address)
    macs = {site.link(box, "br-servers")["address"] for box in BOXES}
    assert macs == {"02:00:00:01:30:01"}


def test_the_gateway_of_each_box_answers_from_everywhere(site: Campus) -> None:
    for node, i in itertools.product(EXPERIMENTS.nodes, (1, 2, 3)):
        for address in (f"10.140.0.{i}", f"2001:db8:140::{i}"):
            site.wait_reaches(node, address)


def test_a_box_routes_between_its_segments(site: Campus) -> None:
    for address in (EXPERIMENTS.address(1), EXPERIMENTS.address6(1)):
        site.wait_reaches(SERVERS.nodes[1], address)


def test_a_host_with_a_fixed_place_is_known_before_it_speaks(site: Campus) -> None:
    neighbors = {n["dst"]: n for n in site.json("seoul", "ip", "-j", "neigh", "show", "dev", "br-servers")}
    assert neighbors["10.130.0.10"]["lladdr"] == "02:00:00:01:30:10"
    assert neighbors["10.130.0.10"]["state"] == ["PERMANENT"]
    found = site.json("seoul", "bridge", "-j", "fdb", "show", "dev", "vx130")
    assert {e["dst"] for e in found if e["mac"] == "02:00:00:01:30:10" and "dst" in e} == {"203.0.113.1"}


def test_static_routes_lead_where_they_say_and_bgp_tells_of_them(site: Campus) -> None:
    def route(box: str, destination: str, *family: str) -> Any:
        """FRR has what it is told before zebra has told the kernel."""
        command = ("ip", *family, "-j", "route", "show", destination)
        (found,) = site.wait(f"a route of {box} to {destination}", lambda: site.json(box, *command))
        return found

    to_node = route("gwangju", "198.51.100.0/24")
    assert (to_node["gateway"], to_node["dev"]) == ("10.130.0.10", "br-servers")
    assert route("seoul", "172.16.0.0/12")["type"] == "blackhole"
    to_node6 = route("gwangju", "2001:db8:100::/48", "-6")
    assert (to_node6["gateway"], to_node6["metric"]) == ("2001:db8:130::10", 20)  # zebra's metric
    site.run("v1", "ip", "addr", "add", "198.51.100.7/32", "dev", "lo")
    route("seoul", "198.51.100.0/24")
    site.wait_reaches("seoul", "198.51.100.7", "-I", "10.255.0.2")


def test_teardown_leaves_what_others_made_as_it_was(site: Campus) -> None:
    lab = site.lab
    for node in [node for segment in SEGMENTS for node in segment.nodes]:
        lab.unplug(node)
    for box in BOXES:
        layout = lab.layout.box(box)
        site.end(f"{box}/smartxd", signal.SIGTERM)
        done = site.run(box, sys.executable, "-m", "smartxd", "teardown", "--config", str(layout.config))
        assert "removed: kernel link vx130 (Tunnel/servers)" in done.stderr

        def as_before(box: str = box) -> bool:
            return network_of(site, box) == site.before[box]

        # Routes of BGP go once zebra has noticed.
        with contextlib.suppress(AssertionError):
            site.wait("the box as it was", as_before, PATIENCE_S)
        left, right = (set(text.split("\n")) for text in (site.before[box], network_of(site, box)))
        assert (sorted(left - right), sorted(right - left)) == ([], [])
