from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from smartxd.planes.kernel.observed import ObservedLink

ZERO = "00:00:00:00:00:00"


class Chaos:
    """Random changes by hand, of which the kernel may refuse any."""

    def __init__(self, box: Any, other: Any, seed: int) -> None:
        self._box, self._other = box, other
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.links: Mapping[str, ObservedLink] = {}

    def change(self) -> str:
        pick = self._random.choice
        made: Callable[[], str] = pick(
            [self.born] * 4
            + [self.link, self.plugging, self.address, self.fdb, self.host, self.route, self.port] * 3
            + [self.kind, self.sysctl] * 2
            + [self.dead, self.moved]
        )
        command = made()
        done = (
            self._other if made == self.moved and "netns " + self._box.name in command else self._box
        ).run(command, check=False)
        self.done[made.__name__] += done.returncode == 0
        return f"{command}: {done.stderr.strip()}"

    def name(self, kind: str = "") -> str:
        """Of a link that was there a moment ago; of a kind, if there was one."""
        names = [name for name, link in self.links.items() if kind in ("", link.kind) and name[0] in "nw"]
        return self._random.choice(sorted(names) or ["wan"])

    def plugged(self) -> str:
        return self._random.choice(sorted(n for n, link in self.links.items() if link.port) or ["wan"])

    def new(self) -> str:
        return f"n{self._random.randrange(12)}"

    def vtep(self) -> str:
        return f"192.0.2.{self._random.randrange(2, 6)}"

    def mac(self) -> str:
        return f"02:00:00:00:00:0{self._random.randrange(1, 5)}"

    def born(self) -> str:
        n = self._random.randrange(1, 50)
        return "ip link add " + self._random.choice(
            [
                f"{self.new()} type bridge stp_state {n % 2}",
                f"{self.new()} up type bridge",
                f"{self.new()} up type vxlan id {n} local 192.0.2.1 dstport 4789",
                f"{self.new()} type vxlan id {n} group 239.1.1.1 local 192.0.2.1 dev wan dstport 4789",
                f"{self.new()} up type vxlan id {n} remote 192.0.2.7 dstport 4789 ttl 9",
                f"{self.new()} type vxlan id {n} local 2001:db8::1 dstport 4790",
                f"{self.new()} up type veth peer name {self.new()}",
                f"{self.new()} type veth peer name {self.new()} netns {self._other.name}",
                f"{self.new()} link wan type macvlan",
            ]
        )

    def dead(self) -> str:
        # Not the underlay each time, or soon nothing is left to change.
        name = self.name()
        return f"ip link del {name if name != 'wan' or self._random.random() < 0.1 else self.new()}"

    def link(self) -> str:
        return f"ip link set {self.name()} " + self._random.choice(
            [
                *("up", "up", "down", "nomaster", "addrgenmode none", "addrgenmode eui64"),
                *(f"name {self.new()}", f"mtu {self._random.randrange(1200, 1500)}", f"address {self.mac()}"),
                *(f"alias {self.new()}", f"group {self._random.randrange(9)}"),
            ]
        )

    def plugging(self) -> str:
        port = self.name(self._random.choice(["vxlan", "veth", "macvlan"]))
        return f"ip link set {port} master {self.name('bridge')}"

    def kind(self) -> str:
        if self._random.random() < 0.5:
            option = self._random.choice(["stp_state 1", "stp_state 0", "mcast_snooping 0"])
            return f"ip link set {self.name('bridge')} type bridge {option}"
        name = self.name("vxlan")
        vxlan = self.links[name].vxlan if name in self.links else None
        option = self._random.choice(["group 239.1.1.2 dev wan", "remote 192.0.2.8", "local 192.0.2.3"])
        return f"ip link set {name} type vxlan id {vxlan.vni if vxlan else 1} {option}"

    def port(self) -> str:
        flag = self._random.choice(["learning", "isolated", "neigh_suppress"])
        return f"bridge link set dev {self.plugged()} {flag} {self._random.choice(['on', 'off'])}"

    def moved(self) -> str:
        if self._random.random() < 0.5:
            return f"ip link set {self.name()} netns {self._other.name}"
        there = [link["ifname"] for link in self._other.json("link") if link["ifname"] != "lo"]
        return f"ip link set {self._random.choice(there or ['none'])} netns {self._box.name}"

    def address(self) -> str:
        n = self._random.randrange(4)
        verb = self._random.choice(["add", "add", "del", "flush"])
        if verb == "flush":
            return f"ip address flush dev {self.name()}"
        address = self._random.choice([f"192.0.{n + 1}.1/24", f"10.{n}.0.{n + 1}/16", f"2001:db8:{n}::1/64"])
        return f"ip address {verb} {address} dev {self.name()}"

    def fdb(self) -> str:
        entry = self._random.choice(
            [f"{ZERO} dev {self.name('vxlan')} dst {self.vtep()} self permanent"] * 2
            + [f"{self.mac()} dev {self.name('vxlan')} dst {self.vtep()} self permanent"] * 2
            + [f"{self.mac()} dev {self.name('vxlan')} dst {self.vtep()} self static"]
            + [f"{self.mac()} dev {self.plugged()} master static"]
        )
        return f"bridge fdb {self._random.choice(['append', 'add', 'del'])} {entry}"

    def host(self) -> str:
        n = self._random.randrange(4)
        address = self._random.choice([f"192.0.2.10{n}", f"2001:db8::10{n}"])
        if self._random.random() < 0.3:
            return f"ip neigh del {address} dev {self.name()}"
        kind = self._random.choice(["permanent", "permanent", "permanent", "reachable", "noarp"])
        # That only the protocol changes is told by nothing: each has its own MAC addresses.
        mac, proto = self._random.choice(
            [("1", "protocol 83"), ("2", "protocol 83"), ("3", "protocol 83"), ("4", "protocol 4"), ("5", "")]
        )
        lladdr = f"02:00:00:00:00:1{mac}"
        return f"ip neigh replace {address} lladdr {lladdr} dev {self.name()} nud {kind} {proto}"

    def route(self) -> str:
        n, name = self._random.randrange(3), self.name()
        several = f"nexthop via 192.0.2.9 weight 3 nexthop via 192.0.{n + 2}.9"
        way = self._random.choice(
            [f"dev {name}", "via 192.0.2.9", f"via 192.0.2.9 dev {name} onlink", several]
        )
        six = f"2001:db8:{n}00::/48 " + self._random.choice([f"dev {name}", f"via 2001:db8:{n}::9"])
        route = self._random.choice([f"10.10{n}.0.0/16 {way}"] * 3 + [f"blackhole 10.10{n}.0.0/16", six])
        proto = self._random.choice(["proto 83"] * 4 + ["", "proto static"])
        verb = self._random.choice(["add", "add", "replace", "append", "del"])
        words = route.split()
        where = 2 if words[0] == "blackhole" else 1
        return " ".join(["ip route", verb, *words[:where], proto, f"metric {n % 2 + 1}", *words[where:]])

    def sysctl(self) -> str:
        family = self._random.choice(["ipv4", "ipv6"])
        where = self._random.choice([self.name(), self.name(), self.name(), "all", "default"])
        return f"sysctl -qw net/{family}/conf/{where}/forwarding={self._random.randrange(2)}"
