"""Whatever is changed by hand, all ends as wanted, and what is not smartxd's stays as it is to the byte."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import Namespace, _steady
from kernel_box import Box, problems
from test_kernel_apply import STATE, bridge_facts, bridged, gateways, hosts, routes, vxlan_facts

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import Address, Bridge, KernelState, PortRule, PortSettings, Vxlan, mark

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

GUEST = ObjectRef("Tunnel", "guest")
"""Its bridge has guests on it: it is not deleted, taken down or given another MAC."""
WANTED = replace(
    STATE,
    links=(
        *(link for link in STATE.links if isinstance(link, Bridge)),
        Bridge(GUEST, "br9", 1400),
        *(link for link in STATE.links if isinstance(link, Vxlan)),
        Vxlan(GUEST, "vx9", 9, "192.0.2.1", "br9", 1400, remotes=frozenset({"192.0.2.9"})),
    ),
    addresses=(*STATE.addresses, Address(GUEST, "br9", "10.0.9.1/24")),
    ports=(PortRule(GUEST, ("tap*",), "br9", settings=PortSettings(isolated=True)),),
)
OURS = {link.name: link for link in WANTED.links}
BRIDGES = [name for name, link in OURS.items() if isinstance(link, Bridge)]
VXLANS = [name for name, link in OURS.items() if isinstance(link, Vxlan)]
ZERO = "00:00:00:00:00:00"
MAC = "02:00:00:00:00"

WITNESS = [
    "link add docker0 type bridge",
    "link add plug type veth peer name inside",
    "link add vxf type vxlan id 77 group 239.9.9.9 dev wan dstport 4789",
    "link set vxf alias smartxd:Tunnel/unknown",
    "link set vxf master docker0",
    "link set plug master docker0 mtu 1400 group 5",
    "link set inside up",
    "link set plug up",
    "link set vxf up",
    "link set docker0 up",
    "address add 172.17.0.1/16 dev docker0",
    "address add fd00:17::1/64 dev docker0 nodad",
    "address add 10.0.0.1/24 dev docker0",
    "address add 10.77.0.1/24 dev wan",
    "route add 10.50.0.0/16 via 172.17.0.9 proto static",
    "route add blackhole 10.51.0.0/16 proto bgp table 100",
    "route add 10.9.0.0/16 via 172.17.0.9 metric 900 proto bird",
    "route add fd00:18::/48 via fd00:17::9 proto static",
    "neigh add 172.17.0.9 lladdr 02:00:00:00:09:09 dev docker0 nud permanent",
    "neigh add 172.17.0.8 lladdr 02:00:00:00:09:08 dev docker0 nud permanent protocol 83",
]
FDB = [
    f"fdb append {ZERO} dev vxf dst 192.0.2.99 self permanent",
    f"fdb add {MAC}:99 dev vxf dst 192.0.2.98 self permanent",
    f"fdb add {MAC}:98 dev plug master static",
]
LISTENS = [("wan", "01:00"), ("wan", "33:33")]
FOREIGN = ("lo", "wan", "wan-peer", "docker0", "plug", "inside", "vxf")


def witness(box: Namespace) -> str:
    """All of the objects of others, as `ip` and `bridge` tell of them, less timers."""
    found: list[Any] = []
    for what in ("link", "addr", "neigh show nud permanent"):
        found.append([o for o in box.json(what) if (o.get("ifname") or o.get("dev")) in FOREIGN])
    for what in ("fdb", "vlan", "link"):
        shown = [o for o in box.bridge(f"{what} show") if (o.get("ifname") or o.get("dev")) in FOREIGN]
        # Which groups the underlay listens to is of the tunnels, and of routing, that use it.
        found.append([o for o in shown if (o["ifname"], o.get("mac", "")[:5]) not in LISTENS])
    every = box.json("route show table all") + box.json("-6 route show table all")
    foreign = [r for r in every if r.get("protocol") not in ("83", "kernel", "boot")]
    found.append([r for r in foreign if r.get("dev") not in OURS])
    return json.dumps(_steady(found), indent=1, sort_keys=True)


def guests(box: Namespace) -> str:
    """What others have put on a bridge of smartxd's."""
    (shown,) = box.json("addr show dev br9")
    addresses = [a for a in shown["addr_info"] if a["local"].startswith("10.78.")]
    neighbors = [n for n in box.json("neigh show dev br9 nud permanent") if n["dst"].startswith("10.78.")]
    return json.dumps([addresses, neighbors, box.json("route show 10.52.0.0/16")], indent=1)


def is_whole(box: Namespace) -> None:
    """What `ip` and `bridge` say of some of the objects."""
    facts = bridge_facts(box)
    facts.pop("mac")
    want = OURS["br1"]
    assert facts == {name: getattr(want, name) for name in facts}
    vxlan = vxlan_facts(box)
    assert vxlan == {name: getattr(OURS["vx2"], name) for name in vxlan}
    assert bridged(box, "vx2") == {f"{MAC}:05"}
    assert hosts(box, "br1") >= {("10.0.0.9", f"{MAC}:09")}
    found = routes(box)
    for route in STATE.routes:
        if route.hops:
            shown = gateways(found[route.destination])
            assert shown == {(h.address, h.link, h.weight) for h in route.hops}
    assert box.link("tap1")["master"] == "br9"
    assert box.link("tap1")["linkinfo"]["info_slave_data"]["isolated"]


class Hand:
    """Somebody who changes things by `ip`, `bridge` and `sysctl`."""

    def __init__(self, box: Namespace, seed: int) -> None:
        self._box = box
        self._random = random.Random(seed)

    def change(self) -> str:
        """Change something in some way that the kernel takes; what was done."""
        while True:
            kind = self._random.choice([self.link, self.link, self.bridge, self.vxlan, self.fdb, self.layer3])
            lines = kind()
            done = [line for line in lines if self._do(line)]
            if done:
                return "; ".join(done)

    def _do(self, line: str) -> bool:
        program, _, rest = line.partition(" ")
        if program == "sysctl":
            family, link, name, value = rest.split()
            try:
                self._box.set_conf(family, link, name, int(value))
            except OSError:
                return False
            return True
        if 'alias ""' in line:
            self._box.batch([rest], force=True)
            return True
        return self._box.run(line, check=False).returncode == 0

    def link(self) -> list[str]:
        pick = self._random.choice
        name = pick(list(OURS))
        fragile = name == "br9"
        other = f"{MAC}:{self._random.randrange(16, 99)}"
        ways = [
            [f"ip link set {name} mtu {pick([1300, 1350, 1400])}"],
            [f'ip link set {name} alias ""'],
            [f"ip link set {name} alias mine"],
            [f"ip link set {name} alias smartxd:Tunnel/another"],
            [f"ip link set {name} group 77"],
            [f"sysctl ipv4 {name} forwarding {pick([0, 1])}"],
            [f"sysctl ipv6 {name} disable_ipv6 {pick([0, 1])}"],
            [f"sysctl ipv6 {name} forwarding {pick([0, 1])}"],
            [f"sysctl {pick(['ipv4', 'ipv6'])} wan forwarding 0"],
        ]
        if not fragile:
            ways += [
                [f"ip link del {name}"],
                [f"ip link set {name} down"],
                [f"ip link set {name} mtu 1000"],
                [f"ip link set {name} address {other}"],
                [f"ip link set {name} down", f"ip link set {name} name renamed"],
                [f"ip link set {name} down", f"ip link set {name} name renamed", "ip link set renamed up"],
                [f"ip link del {name}", f"ip link add {name} type veth peer name other-end"],
                [f"ip link del {name}", f"ip link add {name} type bridge"],
            ]
        return pick(ways)

    def bridge(self) -> list[str]:
        pick = self._random.choice
        name = pick(BRIDGES)
        port = pick([*VXLANS, "tap1"])
        ways = [
            [f"ip link set {name} type bridge stp_state {pick([0, 1])}"],
            [f"ip link set {name} type bridge mcast_snooping {pick([0, 1])}"],
            [f"ip link set {port} nomaster"],
            [f"ip link set {port} master {name}"],
            [f"bridge link set dev {port} isolated {pick(['on', 'off'])}"],
            [f"bridge link set dev {port} learning {pick(['on', 'off'])}"],
            [f"bridge link set dev {port} neigh_suppress {pick(['on', 'off'])}"],
            ["ip link del tap1", "ip tuntap add tap1 mode tap"],
        ]
        return pick(ways)

    def vxlan(self) -> list[str]:
        pick = self._random.choice
        name = pick(VXLANS)
        learning = pick(["learning", "nolearning"])
        vni = pick([1, 2, 55])
        ways = [
            [f"ip link set {name} type vxlan ttl {pick([1, 32])}"],
            [f"ip link set {name} type vxlan {learning}"],
            [f"ip link del {name}", f"ip link add {name} type vxlan id {vni} dstport 4789 local 192.0.2.1"],
            [f"ip link set {name} nomaster", f"ip link set {name} down"],
        ]
        return pick(ways)

    def fdb(self) -> list[str]:
        pick = self._random.choice
        name = pick(["vx2", "vx9", "vx5", "vx1"])
        vtep = pick(["192.0.2.2", "192.0.2.3", "192.0.2.9", "192.0.2.44"])
        station = f"{MAC}:{pick(['05', '06', '07'])}"
        ways = [
            [f"bridge fdb append {ZERO} dev {name} dst {vtep} self permanent"],
            [f"bridge fdb del {ZERO} dev {name} dst {vtep} self"],
            [f"bridge fdb replace {station} dev {name} dst {vtep} self permanent"],
            [f"bridge fdb del {MAC}:05 dev vx2 dst 192.0.2.2 self"],
            [f"bridge fdb add {station} dev {name} dst {vtep} self extern_learn"],
            [f"ip neigh del 10.0.0.9 dev {'br1'}"],
            [f"ip neigh replace 10.0.0.9 lladdr {station} dev br1 nud permanent protocol 83"],
            [f"ip neigh replace 10.0.0.{pick([40, 41])} lladdr {station} dev br1 nud permanent protocol 83"],
        ]
        return pick(ways)

    def layer3(self) -> list[str]:
        pick = self._random.choice
        route = pick(STATE.routes)
        place = f"{route.destination} metric {route.metric} table {route.table}"
        family = "-6 " * (":" in route.destination)
        kind = "blackhole " * (not route.hops)
        name = pick(BRIDGES)
        address = pick(WANTED.addresses)
        ways = [
            [f"ip {family}route del {kind}{place}"],
            [f"ip {family}route replace blackhole {place} proto 83"],
            [f"ip {family}route replace blackhole {place}"],
            [f"ip {family}route replace unreachable {place} proto static"],
            [f"ip address del {address.address} dev {address.link}"],
            [f"ip address add 10.66.{self._random.randrange(250)}.1/24 dev {name}"],
            [f"ip address add 10.0.0.{self._random.randrange(60, 250)}/24 dev br1"],
            [f"ip address flush dev {pick(['br1', 'br3'])} scope global"],
        ]
        return pick(ways)

    def hand_back(self) -> None:
        """Undo what smartxd leaves alone by design: what lost its mark, or was put in smartxd's place."""
        box = self._box
        lines = ["link del renamed", "link del other-end"]
        shown = {link["ifname"]: link for link in box.json("link")}
        for name, want in OURS.items():
            alias = shown.get(name, {}).get("ifalias")
            kind = shown.get(name, {}).get("linkinfo", {}).get("info_kind")
            if name in shown and kind != type(want).__name__.lower():
                lines.append(f"link del {name}")
            elif name in shown and alias != mark(want.owner):
                lines.append(f"link set {name} alias {mark(want.owner)}")
        if shown["tap1"].get("master") != "br9":
            lines.append("link set tap1 nomaster")
        for route in STATE.routes:
            for kind in ("blackhole", "unreachable"):
                place = f"{route.destination} metric {route.metric} table {route.table}"
                lines += [f"route del {kind} {place} proto {p}" for p in ("boot", "static")]
        box.batch(lines, force=True)


@pytest.fixture
def made(box: Namespace) -> Iterator[Box]:
    box.batch(["address add 2001:db8::1/64 dev wan nodad", *WITNESS])
    for line in FDB:
        box.run(f"bridge {line}")
    box.ip("tuntap add tap1 mode tap")
    made = Box(box)
    try:
        yield made
    finally:
        made.close()


def mended(box: Box, hand: Hand, what: str) -> None:
    """A few rounds lead to what is wanted; where somebody has to, he first hands back what he took."""
    for handing in (False, True):
        if handing:
            hand.hand_back()
        for _ in range(4):
            found = box.converge(WANTED)
            box.plane.resync()  # A daemon does so every few minutes; not all is told.
            left = box.plan(WANTED)
            if not found.failures and not left.actions and not left.problems:
                return
    told = [p.message for p in (*problems(found), *left.problems)]
    raise AssertionError(f"after {what}: {[(a.id, a.changes) for a in left.actions]} {told}")


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_changed_by_hand_all_ends_as_wanted_and_what_is_foreign_stays(
    made: Box, namespace: Callable[[], Namespace], seed: int
) -> None:
    box, elsewhere = made.namespace, namespace()
    elsewhere.batch(["link add wan type veth peer name wan-peer", "link set wan up", *WITNESS])
    for line in FDB:
        elsewhere.run(f"bridge {line}")
    before, apart = witness(box), witness(elsewhere)
    made.settle(WANTED)
    assert witness(box) == before
    box.batch(
        [
            "address add 10.78.0.1/24 dev br9",
            "neigh add 10.78.0.9 lladdr 02:00:00:00:07:09 dev br9 nud permanent",
            "route add 10.52.0.0/16 via 10.78.0.9 proto static",
        ]
    )
    there = guests(box)
    hand, done = Hand(box, seed), list[str]()
    for number in range(50):
        what = hand.change()
        mended(made, hand, what)
        done.append(what)
        if number % 10 == 9:
            is_whole(box)
            assert witness(box) == before, done[-10:]
            assert guests(box) == there, done[-10:]
    made.plane.resync()
    made.settle(KernelState())
    assert made.inventory.owned() == frozenset()
    assert witness(box) == before
    assert witness(elsewhere) == apart
    assert {link["ifname"] for link in box.json("link")} == {*FOREIGN, "tap1"}
