"""The larger example for real: three boxes, with something of others on each, and a node in each segment."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from smartxd.lab import namespace
from smartxd.lab.lab import Lab
from tests.e2e.conftest import Site
from tests.e2e.network import network_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "koren-campus"
BOXES = ("gwangju", "seoul", "daejeon")

WITNESS = """
link add theirs0 type veth peer name theirs1
link set theirs0 up alias "not smartxd's"
addr add 10.98.0.1/24 dev theirs0
link add vx999 type vxlan id 999 dev wan0 dstport 4789
link add br999 type bridge vlan_default_pvid 7 ageing_time 12000 priority 4096
link set vx999 master br999 up
link set theirs1 master br999 up
link set br999 address 02:00:00:09:99:01 mtu 1400 up
addr add 10.99.0.1/32 dev lo
addr add 2001:db8:99::1/128 dev lo
neigh add 10.98.0.9 lladdr 02:00:00:09:99:09 dev theirs0
route add 10.97.0.0/16 via 10.98.0.9 proto static
route add blackhole 10.96.0.0/16 table 100
route add blackhole 2001:db8:96::/48 metric 5
"""
"""What somebody else has on a box, under names and numbers much like smartxd's."""


@dataclass(frozen=True)
class Segment:
    """The nodes of a tunnel, one on each box."""

    tunnel: str
    letter: str
    port: str
    bridge: str
    vxlan: str
    number: int

    @property
    def nodes(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(f"{self.letter}{i}" for i in (1, 2, 3))

    def address(self, i: int) -> str:
        """Of the node on a box, counted from 0."""
        return f"10.{self.number}.0.{10 * (i + 1)}"

    def address6(self, i: int) -> str:
        """The same in IPv6."""
        return f"2001:db8:{self.number}::{10 * (i + 1)}"


STAFF = Segment("staff", "s", "staff1", "br-campus", "vx110", 110)
GUESTS = Segment("guests", "g", "guest1", "br-guests", "vx120", 120)
SERVERS = Segment("servers", "v", "server1", "br-servers", "vx130", 130)
EXPERIMENTS = Segment("experiments", "e", "exp1", "br-exp", "vx140", 140)
CLOUD = Segment("cloud", "c", "cloud1", "br-cloud", "vx170", 170)
SEGMENTS = (STAFF, GUESTS, SERVERS, EXPERIMENTS, CLOUD)


class Campus(Site):
    """The lab, and what each box was before smartxd came."""

    before: dict[str, str]

    def plug(self, segment: Segment) -> None:
        """A node on each box, whose link a Port of the specs takes."""
        for i, (box, node) in enumerate(zip(BOXES, segment.nodes, strict=True)):
            gateway = None
            if segment.number >= SERVERS.number:
                own = i + 1 if segment is EXPERIMENTS else 1
                gateway = IPv4Address(f"10.{segment.number}.0.{own}")
            address = IPv4Interface(f"{segment.address(i)}/24")
            self.lab.plug(box, segment.bridge, node, address, gateway, port=segment.port)
            if segment is SERVERS and i < 2:  # the hosts with a fixed place
                self.run(node, "ip", "link", "set", "eth0", "address", f"02:00:00:01:30:{10 * (i + 1)}")
            self.run(node, "ip", "addr", "add", f"{segment.address6(i)}/64", "dev", "eth0", "nodad")
            if gateway is not None:
                self.run(
                    node, "ip", "-6", "route", "add", "default", "via", f"2001:db8:{segment.number}::{own}"
                )


def settled(site: Campus, box: str) -> str:
    """The network of a box once it has carriers, and link-local addresses that nobody else has."""

    def unchanged() -> str:
        before = network_of(site, box)
        time.sleep(2)  # longer than the search for duplicates takes, whose begin nothing tells of
        return before if network_of(site, box) == before and "tentative" not in before else ""

    found: str = site.wait("a box that is at rest", unchanged, 90)
    return found


def campus_of(name: str, specs: Path, segments: tuple[Segment, ...] = SEGMENTS) -> Iterator[Campus]:
    """The example without its tracers, up and Ready, with nodes in segments; taken down whatever happens."""
    shutil.copytree(EXAMPLE, specs, ignore=shutil.ignore_patterns("trace.yaml"), dirs_exist_ok=True)
    lab = Lab(specs, name=f"{name}-{os.getpid()}")
    try:
        lab.up(bare=True)
        campus = Campus(lab)
        for box in BOXES:
            namespace.batch(lab.layout.namespace(box), WITNESS.strip().split("\n"))
        campus.before = {box: settled(campus, box) for box in BOXES}
        lab.up()
        lab.wait_ready(90)
        for segment in segments:
            campus.plug(segment)
        yield campus
    finally:
        lab.down()
