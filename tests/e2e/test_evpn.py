"""EVPN between three boxes: what BGP tells of MACs and addresses, a machine that moves, a bgpd that dies."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

import pytest

from tests.e2e.campus import BOXES, CLOUD, Campus, campus_of
from tests.e2e.conftest import PATIENCE_S
from tests.e2e.transfer import transfer

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

VTEPS = {"gwangju": "203.0.113.1", "seoul": "203.0.113.2", "daejeon": "203.0.113.3"}
MOVING_MAC, MOVING_ADDRESS = "02:00:00:01:70:99", "10.170.0.99"

BY_HAND = (
    "configure terminal",
    "ip prefix-list THEIRS seq 5 permit 192.0.2.0/24",
    "router bgp 65000",
    "neighbor 203.0.113.99 remote-as 64999",
    "neighbor 203.0.113.99 description a neighbour of others",
    "end",
    "write memory",
)
"""What somebody else has in FRR, and has saved."""

LISTEN = """
import socket, sys
own = socket.inet_aton(sys.argv[1])
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as packets:
    packets.settimeout(60)
    packets.bind(("eth0", 3))
    print("ready", flush=True)
    asked = 0
    while True:
        frame = packets.recv(2048)
        kind = frame[12:14]
        asked += kind == b"\\x08\\x06" and frame[20:22] == b"\\0\\1" and frame[38:42] == own
        if kind == b"\\x08\\0" and frame[23] == 1 and frame[34] == 8 and frame[30:34] == own:
            break
print(asked, flush=True)
"""
"""Counts the ARP requests for an address until a ping comes for it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    """The campus with machines of its cloud alone."""
    yield from campus_of("evpn", tmp_path_factory.mktemp("campus"), (CLOUD,))


def frr(site: Campus, box: str, command: str) -> Any:
    """What a box's FRR says as JSON."""
    return site.json(box, "vtysh", "-N", site.lab.layout.namespace(box), "-c", command)


def running(site: Campus, box: str) -> str:
    """The running configuration."""
    pathspace = site.lab.layout.namespace(box)
    return site.run(box, "vtysh", "-N", pathspace, "-c", "show running-config").stdout


def mac_of(site: Campus, node: str) -> str:
    """The MAC address of a node."""
    (link,) = site.json(node, "ip", "-j", "link", "show", "eth0")
    return str(link["address"])


def place_of(site: Campus, box: str, mac: str) -> str:
    """The VTEP behind which a box's kernel has a MAC by EVPN; empty where it has none there."""
    found = site.json(box, "bridge", "-j", "fdb", "show", "dev", CLOUD.vxlan)
    told = (e for e in found if e["mac"] == mac and "dst" in e and "extern_learn" in e["flags"])
    return str(next(told, {"dst": ""})["dst"])


def neighbors_told(site: Campus, box: str) -> set[str]:
    """The addresses that a box can answer for, because EVPN has told it."""
    found = site.json(box, "ip", "-j", "neigh", "show", "dev", CLOUD.bridge)
    return {entry["dst"] for entry in found if "extern_learn" in entry}


def test_evpn_tells_the_boxes_of_its_own_tunnels_alone(site: Campus) -> None:
    def vteps() -> dict[str, int]:
        """How many VTEPs FRR has heard of, by VNI."""
        found = frr(site, "seoul", "show evpn vni json")
        return {vni: one["numRemoteVteps"] for vni, one in found.items() if vni in ("110", "130", "170")}

    def flooded() -> set[str]:
        """The VTEPs to which the kernel floods."""
        found = site.json("seoul", "bridge", "-j", "fdb", "show", "dev", CLOUD.vxlan)
        return {entry["dst"] for entry in found if entry["mac"] == "00:00:00:00:00:00"}

    site.wait("the VTEPs of EVPN", lambda: flooded() == {"203.0.113.1", "203.0.113.3"})
    assert vteps() == {"110": 0, "130": 0, "170": 2}


def test_every_box_is_told_where_each_machine_is(site: Campus) -> None:
    for i, node in enumerate(CLOUD.nodes):
        for j in range(3):
            site.wait_reaches(node, CLOUD.address(j))
            site.wait_reaches(node, CLOUD.address6(j))
        site.wait_reaches(node, "10.170.0.1")
        mac, home = mac_of(site, node), BOXES[i]
        for box in (box for box in BOXES if box != home):
            place = VTEPS[home]
            site.wait(f"{box} knows {node}", lambda b=box, m=mac, p=place: place_of(site, b, m) == p)
            address = CLOUD.address(i)
            site.wait(f"{box} knows {address}", lambda b=box, a=address: a in neighbors_told(site, b))
    routes = str(frr(site, "gwangju", "show bgp l2vpn evpn route type macip json"))
    for i, node in enumerate(CLOUD.nodes):
        assert f"[48]:[{mac_of(site, node)}]:[32]:[{CLOUD.address(i)}]" in routes


def arp_requests(site: Campus, asker: str, asked: str, address: str) -> int:
    """How many of the asker's ARP requests reach a node before its ping does."""
    site.run(asker, "ip", "neigh", "flush", "all")  # or it asks by itself whether what it knew still holds
    argv = site.lab.command_in(asked, [sys.executable, "-c", LISTEN, address])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listening:
        try:
            assert listening.stdout is not None
            assert listening.stdout.readline() == "ready\n"
            site.run(asker, "ip", "neigh", "flush", "all")  # again: it may have been asked meanwhile
            site.wait_reaches(asker, address)
            return int(listening.stdout.readline())
        finally:
            listening.kill()


def test_a_box_answers_arp_for_machines_elsewhere_unless_told_not_to(site: Campus) -> None:
    address = CLOUD.address(1)
    site.wait_reaches("c2", "10.170.0.1")  # its own box has heard of it
    site.wait("the address is told", lambda: address in neighbors_told(site, "gwangju"))
    assert arp_requests(site, "c1", "c2", address) == 0
    specs = (site.lab.repo.path / "evpn.yaml").read_text()
    asking = specs.replace("    mode: evpn\n", "    mode: evpn\n    suppressNeighbors: false\n")
    site.commit({"evpn.yaml": asking}, "machines ask each other")
    try:
        assert arp_requests(site, "c1", "c2", address) > 0
    finally:
        site.commit({"evpn.yaml": specs}, "boxes answer again")


def test_a_machine_that_moves_is_found_at_its_new_place(site: Campus) -> None:
    def come(box: str, node: str, port: str) -> None:
        site.lab.plug(box, CLOUD.bridge, node, IPv4Interface(f"{MOVING_ADDRESS}/24"), port=port)
        # IPv6 speaks whenever it likes.
        site.python(node, "open('/proc/sys/net/ipv6/conf/eth0/disable_ipv6', 'w').write('1')")
        site.run(node, "ip", "link", "set", "eth0", "address", MOVING_MAC)
        site.wait_reaches(node, CLOUD.address(0))

    def known(box: str, home: str) -> None:
        site.wait(f"{box} has it in {home}", lambda: place_of(site, box, MOVING_MAC) == VTEPS[home])

    try:
        come("daejeon", "m1", "cloud8")
        known("gwangju", "daejeon")
        known("seoul", "daejeon")
        # It comes up in Seoul while its old port is still there, and silent: it has no address any more.
        site.run("m1", "ip", "addr", "flush", "dev", "eth0")
        come("seoul", "m2", "cloud9")
        known("gwangju", "seoul")
        known("daejeon", "seoul")
        site.wait_reaches("c3", MOVING_ADDRESS)
        site.lab.unplug("m2")
        site.run("m1", "ip", "addr", "add", f"{MOVING_ADDRESS}/24", "dev", "eth0")
        site.wait_reaches("m1", CLOUD.address(0))  # and back again
        known("gwangju", "daejeon")
        known("seoul", "daejeon")
        site.wait_reaches("c2", MOVING_ADDRESS)
    finally:
        for node in ("m1", "m2"):
            site.lab.unplug(node)


def test_bgpd_is_killed_under_traffic_and_all_is_as_before(site: Campus) -> None:
    lab, pathspace = site.lab, site.lab.layout.namespace("daejeon")
    saved = lab.layout.box("daejeon").frr_config / "frr.conf"
    site.run("daejeon", "vtysh", "-N", pathspace, *(word for c in BY_HAND for word in ("-c", c)))
    before, in_file = running(site, "daejeon"), saved.read_text()
    ping = lab.command_in("c1", ["ping", "-q", "-i", "0.01", CLOUD.address(2)])
    with subprocess.Popen(ping, stdout=subprocess.DEVNULL) as traffic:
        try:
            site.end("daejeon/bgpd", signal.SIGKILL)
            down = site.wait(
                "FRRDaemonDown",
                lambda: (
                    (c := site.condition("daejeon", "BGPRouter/daejeon", "Ready"))
                    and c.reason == "FRRDaemonDown"
                ),
            )
            assert down
            assert saved.read_text() == in_file
            # As watchfrr does: a daemon that was started again gets what is saved.
            answers = f"vtysh -N {pathspace} -d bgpd -c 'show version'"
            script = f"until {answers}; do sleep 0.02; done; exec vtysh -N {pathspace} -b"
            argv = lab.command_in("daejeon", ["sh", "-c", script])
            with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as restored:
                site.heal()
                assert restored.wait(PATIENCE_S) == 0
            assert traffic.poll() is None
        finally:
            traffic.kill()
    site.wait("the configuration as it was", lambda: running(site, "daejeon") == before)
    assert saved.read_text() == in_file
    for i, box in enumerate(BOXES[:2]):
        mac = mac_of(site, CLOUD.nodes[i])
        site.wait(f"daejeon knows {box}", lambda m=mac, b=box: place_of(site, "daejeon", m) == VTEPS[b])
        site.wait_reaches("c3", CLOUD.address(i))
    config = str(lab.layout.box("daejeon").config)
    done = site.ctl("plan", "--config", config, "--detailed-exitcode", check=False)
    assert done.returncode == 0, done.stdout  # nothing to do
    transfer(site, "c1", "c3", CLOUD.address(2))
