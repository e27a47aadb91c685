"""Switches and ports of the larger example as they come, change and go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

import pytest

from smartxd.errors import LabError
from smartxd.lab import namespace
from tests.e2e.campus import BOXES, EXPERIMENTS, GUESTS, STAFF, Campus, campus_of
from tests.e2e.network import network_of

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

EXTERNAL = """
apiVersion: smartx.io/v1alpha1
kind: Bridge
metadata: {name: theirs}
spec:
  boxes: {matchLabels: {network: koren}}
  interface: br-theirs
  mode: external
---
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {name: theirs}
spec:
  boxes: {matchLabels: {network: koren}}
  vni: 150
  flood: {mode: static}
  bridgeRef: theirs
---
apiVersion: smartx.io/v1alpha1
kind: Port
metadata: {name: theirs}
spec:
  boxes: {matchLabels: {network: koren}}
  interfaces: ['theirs-p*']
  bridge: theirs
"""

VLANS = """
apiVersion: smartx.io/v1alpha1
kind: Bridge
metadata: {name: vlans}
spec:
  boxes: {matchLabels: {network: koren}}
  interface: br-vlans
  vlanAware: true
---
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {name: red}
spec:
  boxes: {matchLabels: {network: koren}}
  vni: 160
  flood: {mode: static}
  bridgeRef: vlans
  vlan: 10
---
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {name: blue}
spec:
  boxes: {matchLabels: {network: koren}}
  vni: 161
  flood: {mode: static}
  bridgeRef: vlans
  vlan: 20
---
apiVersion: smartx.io/v1alpha1
kind: Port
metadata: {name: red}
spec:
  boxes: {matchLabels: {network: koren}}
  interfaces: ['red*']
  bridge: vlans
  access: 10
---
apiVersion: smartx.io/v1alpha1
kind: Port
metadata: {name: blue}
spec:
  boxes: {matchLabels: {network: koren}}
  interfaces: ['blue*']
  bridge: vlans
  access: 20
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    """One campus for all tests of this file."""
    yield from campus_of("switches", tmp_path_factory.mktemp("campus"))


def test_vlans_of_a_switch_are_apart(site: Campus) -> None:
    lab = site.lab
    try:
        if not knows_vlans(lab.layout.namespace("gwangju")):
            lab.commit({"vlans.yaml": VLANS}, "VLANs")
            reason = site.wait("why there are none", lambda: refusal(site, "Bridge/vlans"))
            assert reason.reason == "NotSupported"
            assert "modprobe 8021q" in reason.message
            assert site.condition("gwangju", "Tunnel/servers", "Ready").status
            return
        site.commit({"vlans.yaml": VLANS}, "VLANs")
        for i, box in enumerate(BOXES[:2], 1):
            for number, color in enumerate(("red", "blue")):
                address = IPv4Interface(f"10.160.0.{10 * number + i}/24")
                lab.plug(box, "br-vlans", f"{color}{i}", address, port=f"{color}0")
        site.wait_reaches("red1", "10.160.0.2")
        site.wait_reaches("blue1", "10.160.0.12")
        for address in ("10.160.0.11", "10.160.0.12"):
            assert not site.reaches("red1", address)
        vlans = {e["ifname"]: e["vlans"] for e in site.json("gwangju", "bridge", "-j", "vlan", "show")}
        for port, vid in (("red0", 10), ("vx160", 10), ("blue0", 20), ("vx161", 20)):
            assert vlans[port] == [{"vlan": vid, "flags": ["PVID", "Egress Untagged"]}]
    finally:
        for node in ("red1", "red2", "blue1", "blue2"):
            lab.unplug(node)
        site.commit({"vlans.yaml": None}, "no VLANs")


def knows_vlans(name: str) -> bool:
    """Whether this kernel's bridges filter VLANs."""
    with contextlib.suppress(LabError):
        namespace.batch(name, ["link add br-probe type bridge vlan_filtering 1", "link del br-probe"])
        return True
    return False


def refusal(site: Campus, ref: str) -> Any:
    """Why an object is not Ready; None while it is, or has not been looked at."""
    condition = site.condition("gwangju", ref, "Ready")
    return condition if condition is not None and not condition.status else None


def test_isolated_ports_of_a_box_are_apart(site: Campus) -> None:
    site.lab.plug("gwangju", "br-guests", "g4", IPv4Interface("10.120.0.40/24"), port="guest4")
    try:
        site.wait_reaches("g4", GUESTS.address(1))
        assert not site.reaches("g4", GUESTS.address(0))
    finally:
        site.lab.unplug("g4")


def test_a_port_that_appears_is_attached_at_once(site: Campus) -> None:
    for _ in range(2):  # how soon is measured by the benchmark ``repair``
        site.lab.plug("daejeon", "br-campus", "s9", IPv4Interface("10.110.0.90/24"), port="staff9")
        site.wait_reaches("s9", STAFF.address(0))
        assert site.link("daejeon", "staff9")["master"] == "br-campus"
        site.lab.unplug("s9")
        site.wait("the end of the port", lambda: not site.link("daejeon", "staff9"))


def test_a_port_without_a_spec_is_let_go_and_stays_what_it_was(site: Campus) -> None:
    def of_the_port() -> tuple[object, ...]:
        link = site.link("seoul", "exp1")
        return link["ifindex"], link["mtu"], link["flags"], link.get("ifalias")

    text = (site.lab.repo.path / "servers.yaml").read_text()
    fewer = text[: text.rindex("---\n")]
    assert "interfaces: ['exp*']" not in fewer
    before = of_the_port()
    site.commit({"servers.yaml": fewer}, "no experiments")
    try:
        site.wait("the port is free", lambda: "master" not in site.link("seoul", "exp1"))
        assert of_the_port() == before
    finally:
        site.commit({"servers.yaml": text}, "experiments again")
    site.wait("the port is back", lambda: site.link("seoul", "exp1").get("master") == "br-exp")
    site.wait_reaches("e2", EXPERIMENTS.address(0))


def test_an_external_bridge_is_left_as_it_is(site: Campus) -> None:
    made = (
        "link add br-theirs address 02:00:00:00:77:01 type bridge ageing_time 12300 priority 4096",
        "link set br-theirs mtu 1400 up",
    )
    lab = site.lab
    for box in BOXES:
        namespace.batch(lab.layout.namespace(box), made)
    try:
        before = {box: network_of(site, box, "br-theirs") for box in BOXES}
        site.commit({"theirs.yaml": EXTERNAL}, "into a bridge of others")
        for i, box in enumerate(BOXES[:2]):
            address = IPv4Interface(f"10.150.0.{i + 1}/24")
            lab.plug(box, "br-theirs", f"t{i + 1}", address, port=f"theirs-p{i + 1}")
        site.wait("the port", lambda: site.link("gwangju", "theirs-p1").get("master") == "br-theirs")
        site.wait_reaches("t1", "10.150.0.2")
        assert {box: network_of(site, box, "br-theirs") for box in BOXES} == before
        for node in ("t1", "t2"):
            lab.unplug(node)
        site.commit({"theirs.yaml": None}, "out of it")
        assert {box: network_of(site, box, "br-theirs") for box in BOXES} == before
    finally:
        for node in ("t1", "t2"):
            lab.unplug(node)
        site.commit({"theirs.yaml": None}, "out of it for sure")
        for box in BOXES:
            namespace.batch(lab.layout.namespace(box), ["link del br-theirs"])


def test_an_overlay_is_smaller_where_the_underlay_has_no_room(site: Campus) -> None:
    roomy = (site.lab.repo.path / "boxes.yaml").read_text()
    full = {name: (site.lab.repo.path / name).read_text() for name in ("servers.yaml", "evpn.yaml")}
    files: dict[str, str | None] = {
        "boxes.yaml": roomy.replace("mtu: 1570", "mtu: 1500"),
        **{name: text.replace("  mtu: 1500\n", "") for name, text in full.items()},
    }
    site.commit(files, "a narrow underlay")
    try:
        names = ("vx110", "br-campus", "vx120", "br-guests", "vx130", "vx140")
        mtus = [site.link("gwangju", name)["mtu"] for name in names]
        assert mtus == [1450, 1450, 1430, 1430, 1450, 1430]
        site.wait_reaches("e1", EXPERIMENTS.address(1), "-M", "do", "-s", str(1430 - 28))
    finally:
        site.commit({"boxes.yaml": roomy, **full}, "a roomy underlay")
    assert site.link("gwangju", "br-guests")["mtu"] == 1500
