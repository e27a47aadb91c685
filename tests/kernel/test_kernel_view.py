from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from smartxd.errors import PlaneError
from smartxd.planes.kernel import observe
from smartxd.planes.kernel.multicast import BUFFER_BYTES, Changes, Multicast
from smartxd.planes.kernel.observed import KernelObserved, ObservedLink
from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.view import View

pytestmark = pytest.mark.kernel

ZERO = "00:00:00:00:00:00"


class Sight:
    """A view of a box, and fresh ones to compare it with."""

    def __init__(self, box: Any, buffer_bytes: int) -> None:
        self._box = box
        with box.inside():
            self.rtnl = Rtnl()
            self.view = View(self.rtnl, buffer_bytes)

    def close(self) -> None:
        self.view.close()
        self.rtnl.close()

    def fresh(self) -> KernelObserved:
        with self._box.inside():
            view = View(self.rtnl)
        try:
            return view.observed()
        finally:
            view.close()

    def check(self, what: object = "") -> KernelObserved:
        """The view is what a fresh look shows, as soon as the box rests."""
        for _ in range(100):
            kept = self.view.observed()
            fresh = self.fresh()
            found = differences(kept, fresh)
            # The kernel tells of an IPv6 address later than it shows it.
            late = all(line.startswith("('") and "::" in line for line in found) and found
            if self.view.observed() is kept and not late:
                assert not found, f"{found} after {what}"
                assert kept == fresh
                return kept
            time.sleep(0.02)
        raise AssertionError(f"the box does not rest after {what}")


def differences(kept: KernelObserved, fresh: KernelObserved) -> list[str]:
    found = []
    for table in ("links", "addresses", "routes"):
        old, new = getattr(kept, table), getattr(fresh, table)
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                found.append(f"{key}: kept {old.get(key)}, fresh {new.get(key)}")
    return found


@contextmanager
def sight(box: Any, buffer_bytes: int = BUFFER_BYTES) -> Iterator[Sight]:
    made = Sight(box, buffer_bytes)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def looked(box: Any) -> Iterator[Sight]:
    with sight(box) as made:
        yield made


def test_without_a_change_it_is_the_same_object(box: Any, looked: Sight) -> None:
    first = looked.check()
    box.ip("link set wan mtu 1400")
    box.ip("link set wan mtu 1500")
    assert looked.view.observed() is first
    looked.view.resync()
    assert looked.view.observed() is first
    box.ip("link set wan mtu 1400")
    second = looked.view.observed()
    assert second is not first
    assert second.links["wan"].mtu == 1400
    assert second.links["wan-peer"] is first.links["wan-peer"]


def test_routes_that_vanish_without_a_word(box: Any, looked: Sight) -> None:
    for lines in (
        ["link set wan down", "link set wan up"],
        ["address del 192.0.2.1/24 dev wan", "address add 192.0.2.1/24 dev wan"],
        ["link del wan"],
    ):
        box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
        assert looked.check().routes
        box.batch(lines)
        assert not looked.check(lines).routes


def test_a_link_that_is_seen_down_is_seen_without_its_routes(box: Any, looked: Sight) -> None:
    """The kernel tells that the link goes down before it drops the routes, and does not tell that."""
    box.batch([f"link add b{n} up type bridge" for n in range(20)])
    for _ in range(50):
        box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
        assert looked.view.observed().routes
        hand = threading.Thread(target=box.ip, args=["link set wan down"])
        hand.start()
        while (observed := looked.view.observed()).links["wan"].up:
            pass
        hand.join()
        assert not observed.routes
        box.ip("link set wan up")


def test_a_hand_that_never_rests(box: Any, looked: Sight) -> None:
    lines = []
    for n in range(40):
        lines += [
            f"link add c{n % 7} up type bridge",
            f"address add 10.{n % 7}.0.1/24 dev c{n % 7}",
            f"route add 10.10{n % 7}.0.0/16 via 10.{n % 7}.0.9 proto 83",
            f"link set wan-peer master c{n % 7}",
            f"link del c{(n + 3) % 7}",
        ]
    looked.check()
    hand = threading.Thread(target=box.batch, args=[lines], kwargs={"force": True})
    hand.start()
    looks = 0
    while hand.is_alive():
        with suppress(PlaneError):  # It is busy.
            looked.view.observed()
            looks += 1
    hand.join()
    assert looks > 5
    assert looked.check().routes


def test_a_route_of_ours_that_a_hand_replaces(box: Any, looked: Sight) -> None:
    box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
    assert looked.check().routes
    box.ip("route replace 10.0.0.0/8 via 192.0.2.8")
    assert not looked.check().routes


def test_names_are_swapped(box: Any, looked: Sight) -> None:
    box.ip("link add sw1 type bridge")
    box.ip("link add sw2 type bridge")
    box.ip("link set wan master sw1")
    box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
    looked.check()
    box.batch(
        [
            "link set sw1 name sw3",
            "link set sw2 name sw1",
            "link set sw3 name sw2",
            "link set wan-peer name end",
        ]
    )
    assert looked.check().links["wan"].master == "sw2"


def test_a_veth_whose_other_end_moves(box: Any, looked: Sight, namespace: Any) -> None:
    one, two = namespace(), namespace()
    looked.check()

    def peer() -> str | None:
        return looked.check().links["wan"].peer_namespace

    box.ip(f"link set wan-peer netns {one.name}")
    assert peer() == one.name
    one.ip("link set wan-peer up")
    assert peer() == one.name
    one.ip(f"link set wan-peer netns {two.name}")
    assert peer() == two.name
    two.ip(f"link set wan-peer netns {box.name}")
    assert peer() is None


def test_a_namespace_that_gets_its_name_late(box: Any, looked: Sight, namespace: Any) -> None:
    other = namespace()
    box.ip(f"link set wan-peer netns {other.name}")
    looked.check()
    late = f"{other.name}-x"
    other_path = f"/run/netns/{late}"
    with open(other_path, "w"):  # noqa: PTH123
        pass
    try:
        looked.check()
        box.run(f"mount --bind {other.path} {other_path}", check=False)
    finally:
        box.run(f"umount {other_path}", check=False)
        box.run(f"rm -f {other_path}")
    assert looked.check().links["wan"].peer_namespace == other.name


@pytest.mark.parametrize("buffer_bytes", [BUFFER_BYTES, 4096], ids=["roomy", "tiny"])
def test_a_burst(box: Any, buffer_bytes: int) -> None:
    with sight(box, buffer_bytes) as looked:
        looked.check()
        box.batch([f"link add b{n} type bridge" for n in range(50)])
        box.batch([f"link set b{n % 50} mtu {1300 + n % 90}" for n in range(5000)])
        before = time.monotonic()
        looked.view.observed()
        assert time.monotonic() - before < 2.0
        looked.check()
        box.batch([f"link del b{n}" for n in range(0, 50, 2)])
        looked.check()


def test_a_reading_that_fails_is_made_up_for(
    box: Any, looked: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked.check()
    box.ip("link add sw1 type bridge")
    box.ip("address add 10.0.0.1/24 dev sw1")

    def fails(*_: object) -> Any:
        raise OSError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(observe, "addresses", fails)
        with pytest.raises(PlaneError, match="no memory"):
            looked.view.observed()
    assert ("sw1", "10.0.0.1/24") in looked.check().addresses


def test_what_is_doubted_is_read(box: Any, looked: Sight) -> None:
    looked.check()
    box.ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev wan nud permanent")
    looked.check()
    box.ip("neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev wan nud permanent protocol 83")
    box.ip("link add br0 up type bridge")
    box.ip("link set wan-peer master br0")
    box.ip("address add 2001:db8::1/64 dev br0")
    looked.view.doubt(["wan", "br0"])
    observed = looked.view.observed()
    assert observed.links["wan"].hosts
    assert ("br0", "2001:db8::1/64") in observed.addresses


def test_what_does_not_matter_is_dropped_by_the_kernel(box: Any) -> None:
    for where in ("all", "default"):  # Else link-local addresses come whenever they are ready.
        box.run(f"sysctl -qw net/ipv6/conf/{where}/disable_ipv6=1")
    with box.inside():
        heard = Multicast()
    try:
        box.batch(["link add br0 type bridge", "link set wan master br0", "link set br0 up"])
        box.ip("link add vx0 up type vxlan id 7 dstport 4789 local 192.0.2.1")
        time.sleep(0.5)  # Whatever follows by itself: the state of links and ports.
        heard.drain(Changes())

        def told(program: str, lines: list[str]) -> int:
            for line in lines:
                box.run(f"{program} {line}")
            return heard.drain(Changes())

        foreign = [f"10.0.{n}.0/24 via 192.0.2.9" for n in range(5)]
        assert told("ip", [f"route add {route} proto bgp" for route in foreign]) == 0
        assert told("ip", [f"route replace {route} proto bgp" for route in foreign]) == 0
        assert told("ip", [f"route del {route} proto bgp" for route in foreign]) == 0
        assert told("ip", [f"route add {route} proto 83" for route in foreign]) == 5
        assert told("ip", [f"route replace {route}" for route in foreign]) == 5
        mac = "02:00:00:00:00"
        assert told("bridge", [f"fdb add {mac}:0{n} dev wan master dynamic" for n in range(5)]) == 0
        evpn = [f"fdb append {mac}:0{n} dev vx0 dst 192.0.2.2 self extern_learn" for n in range(5)]
        assert told("bridge", evpn) == 0
        assert told("bridge", [f"fdb append {mac}:1{n} dev vx0 dst 192.0.2.2 self" for n in range(5)]) == 5
        hosts = [f"192.0.2.{n} lladdr {mac}:01 dev br0" for n in range(100, 105)]
        assert told("ip", [f"neigh replace {host} nud reachable" for host in hosts]) == 0
        assert told("ip", [f"neigh replace {host} nud permanent protocol 83" for host in hosts]) == 5
        assert told("ip", [f"neigh del {host}" for host in hosts]) >= 5
    finally:
        heard.close()


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


@pytest.mark.parametrize(
    ("seed", "changes", "buffer_bytes", "idle"),
    [(1, 300, BUFFER_BYTES, 60), (2, 150, BUFFER_BYTES, 0), (3, 150, 4096, 60)],
    ids=["one-by-one", "all-at-once", "lost"],
)
def test_after_any_change_the_view_is_what_a_fresh_look_shows(
    box: Any, namespace: Any, seed: int, changes: int, buffer_bytes: int, idle: int
) -> None:
    # Among many links what changes is read one by one, among few all at once.
    box.batch([f"link add idle{n} up type bridge" for n in range(idle)])
    for where in ("all", "default", "wan", "wan-peer"):  # Addresses are told of at once, or nearly so.
        box.run(f"sysctl -qw net/ipv6/conf/{where}/accept_dad=0")
    chaos = Chaos(box, namespace(), seed)
    past: list[str] = []
    with sight(box, buffer_bytes) as looked:
        looked.check()
        for step in range(changes):
            if "wan" not in looked.view.observed().links:
                box.batch(
                    [
                        f"link add wan type veth peer name n{step}end",
                        "address add 192.0.2.1/24 dev wan",
                        "link set wan up",
                    ]
                )
            chaos.links = looked.view.observed().links
            past += [chaos.change() for _ in range(1 + (step % 10 == 9) * 5)]
            looked.check(past[-8:])
    assert sum(chaos.done.values()) > changes / 2, chaos.done
    assert min(chaos.done.values()) > 0, chaos.done
