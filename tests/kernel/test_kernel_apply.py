"""Every kind of object is made, changed and removed, as `ip` and `bridge` see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import Namespace
from kernel_box import Box, problems

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import (
    Address,
    Bridge,
    Forwarding,
    Host,
    KernelState,
    NextHop,
    PortSettings,
    Route,
    Station,
    Vxlan,
)

pytestmark = pytest.mark.kernel

A, B, SIX, EVPN = (ObjectRef("Tunnel", name) for name in ("a", "b", "six", "evpn"))
OWNER = ObjectRef("Route", "r")
BOX = ObjectRef("Box", "box")
ZERO = "00:00:00:00:00:00"

BRIDGES = (
    Bridge(A, "br1", 1450, hosts=frozenset({Host("10.0.0.9", "02:00:00:00:00:09")}), forwarding4=True),
    Bridge(B, "br2", 1400, mac="02:00:00:00:01:00", multicast_snooping=False, stp=True),
    Bridge(SIX, "br3", 1430, link_local=True, forwarding4=True, forwarding6=True),
)
VXLANS = (
    Vxlan(A, "vx1", 1, "192.0.2.1", "br1", 1450, group="239.1.1.1", underlay="wan"),
    Vxlan(
        B,
        "vx2",
        2,
        "192.0.2.1",
        "br2",
        1400,
        remotes=frozenset({"192.0.2.2", "192.0.2.3"}),
        stations=frozenset({Station("02:00:00:00:00:05", "192.0.2.2")}),
        settings=PortSettings(isolated=True),
    ),
    Vxlan(SIX, "vx3", 3, "2001:db8::1", "br3", 1430, remotes=frozenset({"2001:db8::2"}), port=4790, ttl=64),
    Vxlan(SIX, "vx5", 5, "2001:db8::1", "br3", 1430, group="ff05::5", underlay="wan"),
    Vxlan(
        EVPN,
        "vx4",
        4,
        "192.0.2.1",
        "br2",
        1400,
        remotes=None,
        learning=False,
        settings=PortSettings(learning=False, neighbor_suppression=True),
    ),
)
ADDRESSES = (Address(A, "br1", "10.0.0.1/24"), Address(SIX, "br3", "2001:db8:3::1/64"))
ROUTES = (
    Route(OWNER, "10.9.0.0/16", (NextHop("10.0.0.7", "br1"),), 5),
    Route(OWNER, "10.10.0.0/16"),
    Route(OWNER, "10.11.0.0/16", (NextHop("10.0.0.7", "br1", 2), NextHop("10.0.0.8", "br1")), table=100),
    Route(OWNER, "10.12.0.0/16", (NextHop("", "br1"),), table=1000),
    Route(OWNER, "2001:db8:9::/48", (NextHop("2001:db8:3::7", "br3"),), 1024),
    Route(OWNER, "2001:db8:a::/48", (), 1024),
    Route(OWNER, "2001:db8:b::/48", (NextHop("2001:db8:3::7", "br3"), NextHop("2001:db8:3::8", "br3")), 7),
)
FORWARDING = (Forwarding(BOX, "wan", "ipv4"), Forwarding(BOX, "wan", "ipv6"))
STATE = KernelState((*BRIDGES, *VXLANS), addresses=ADDRESSES, routes=ROUTES, forwarding=FORWARDING)


@pytest.fixture
def made(box: Namespace) -> Iterator[Box]:
    """A box with an IPv6 underlay as well, before anything is made."""
    box.ip("address add 2001:db8::1/64 dev wan nodad")
    made = Box(box)
    try:
        yield made
    finally:
        made.close()


def info(box: Namespace, name: str) -> dict[str, Any]:
    return box.link(name)["linkinfo"]["info_data"]


def port(box: Namespace, name: str) -> dict[str, Any]:
    return box.link(name)["linkinfo"]["info_slave_data"]


def entries(box: Namespace, name: str) -> set[tuple[str, str]]:
    """Entries of a VXLAN link's own table: MAC and VTEP."""
    found = box.bridge(f"fdb show dev {name}")
    return {(e["mac"], e["dst"]) for e in found if "dst" in e}


def bridged(box: Namespace, name: str) -> set[str]:
    """MACs that the bridge is told to be behind a port."""
    found = box.bridge(f"fdb show dev {name}")
    return {e["mac"] for e in found if e.get("state") == "static" and "master" in e}


def hosts(box: Namespace, name: str) -> set[tuple[str, str]]:
    return {(e["dst"], e["lladdr"]) for e in box.json(f"neigh show dev {name} nud permanent")}


def addresses(box: Namespace, name: str) -> set[str]:
    (shown,) = box.json(f"addr show dev {name}")
    return {f"{a['local']}/{a['prefixlen']}" for a in shown["addr_info"] if a["scope"] != "link"}


def routes(box: Namespace) -> dict[str, dict[str, Any]]:
    """smartxd's routes, by destination."""
    found = box.json("route show table all proto 83") + box.json("-6 route show table all proto 83")
    return {route["dst"]: route for route in found}


def gateways(route: dict[str, Any]) -> set[tuple[str, str, int]]:
    hops = route.get("nexthops") or [route]
    return {(hop.get("gateway", ""), hop["dev"], hop.get("weight", 1)) for hop in hops}


def test_bridges_are_as_wanted(made: Box) -> None:
    made.settle(STATE)
    box = made.namespace
    one, two, three = (box.link(name) for name in ("br1", "br2", "br3"))
    assert [link["mtu"] for link in (one, two, three)] == [1450, 1400, 1430]
    assert [link["ifalias"] for link in (one, two, three)] == [
        f"smartxd:Tunnel/{n}" for n in ("a", "b", "six")
    ]
    assert all("UP" in link["flags"] and link["group"] == "default" for link in (one, two, three))
    assert two["address"] == "02:00:00:00:01:00"
    data = [link["linkinfo"]["info_data"] for link in (one, two, three)]
    assert [d["stp_state"] for d in data] == [0, 1, 0]
    assert [d["mcast_snooping"] for d in data] == [1, 0, 1]
    assert [box.conf("ipv6", n, "disable_ipv6") for n in ("br1", "br2", "br3")] == [1, 1, 0]
    assert [box.conf("ipv4", n, "forwarding") for n in ("br1", "br2", "br3")] == [1, 0, 1]
    assert [box.conf("ipv6", n, "forwarding") for n in ("br1", "br2", "br3")] == [0, 0, 1]
    assert hosts(box, "br1") == {("10.0.0.9", "02:00:00:00:00:09")}
    assert addresses(box, "br1") == {"10.0.0.1/24"}
    assert addresses(box, "br3") == {"2001:db8:3::1/64"}


def test_vxlan_links_are_as_wanted(made: Box) -> None:
    made.settle(STATE)
    box = made.namespace
    shown = {name: info(box, name) for name in ("vx1", "vx2", "vx3", "vx4", "vx5")}
    assert {n: d["id"] for n, d in shown.items()} == {"vx1": 1, "vx2": 2, "vx3": 3, "vx4": 4, "vx5": 5}
    assert {n: d.get("group") or d.get("group6") for n, d in shown.items()} == {
        "vx1": "239.1.1.1",
        "vx2": None,
        "vx3": None,
        "vx4": None,
        "vx5": "ff05::5",
    }
    assert (shown["vx1"]["local"], shown["vx1"]["link"]) == ("192.0.2.1", "wan")
    assert (shown["vx3"]["local6"], shown["vx3"]["port"], shown["vx3"]["ttl"]) == ("2001:db8::1", 4790, 64)
    assert [shown[n]["learning"] for n in ("vx1", "vx2", "vx3", "vx4")] == [True, True, True, False]
    for name, bridge in (("vx1", "br1"), ("vx2", "br2"), ("vx3", "br3"), ("vx4", "br2"), ("vx5", "br3")):
        link = box.link(name)
        assert link["master"] == bridge
        assert "UP" in link["flags"]
        assert box.conf("ipv6", name, "disable_ipv6") == 1
    assert (port(box, "vx2")["isolated"], port(box, "vx1")["isolated"]) == (True, False)
    assert (port(box, "vx4")["learning"], port(box, "vx4")["neigh_suppress"]) == (False, True)
    assert entries(box, "vx1") == {(ZERO, "239.1.1.1")}
    assert entries(box, "vx2") == {
        (ZERO, "192.0.2.2"),
        (ZERO, "192.0.2.3"),
        ("02:00:00:00:00:05", "192.0.2.2"),
    }
    assert bridged(box, "vx2") == {"02:00:00:00:00:05"}
    assert entries(box, "vx3") == {(ZERO, "2001:db8::2")}
    assert entries(box, "vx4") == set()


def test_routes_and_forwarding_are_as_wanted(made: Box) -> None:
    made.settle(STATE)
    found = routes(made.namespace)
    assert set(found) == {route.destination for route in ROUTES}
    assert gateways(found["10.9.0.0/16"]) == {("10.0.0.7", "br1", 1)}
    assert found["10.9.0.0/16"]["metric"] == 5
    assert found["10.10.0.0/16"]["type"] == "blackhole"
    assert gateways(found["10.11.0.0/16"]) == {("10.0.0.7", "br1", 2), ("10.0.0.8", "br1", 1)}
    assert (found["10.11.0.0/16"]["table"], found["10.12.0.0/16"]["table"]) == ("100", "1000")
    assert gateways(found["10.12.0.0/16"]) == {("", "br1", 1)}
    assert gateways(found["2001:db8:9::/48"]) == {("2001:db8:3::7", "br3", 1)}
    assert found["2001:db8:a::/48"]["type"] == "blackhole"
    assert gateways(found["2001:db8:b::/48"]) == {("2001:db8:3::7", "br3", 1), ("2001:db8:3::8", "br3", 1)}
    assert [made.namespace.conf(f, "wan", "forwarding") for f in ("ipv4", "ipv6")] == [1, 1]


def test_what_is_no_longer_wanted_is_gone_and_the_box_is_as_before(made: Box) -> None:
    box = made.namespace

    def found() -> tuple[object, ...]:
        # Routes of link-local addresses and of multicast come with a carrier.
        kept = [r for r in box.json("route show table all") if not r["dst"].startswith(("fe80:", "ff00:"))]
        return box.snapshot(), kept, box.conf("ipv4", "wan", "forwarding")

    before = found()
    made.settle(STATE)
    assert made.inventory.owned() == STATE.objects()
    made.settle(KernelState())
    assert made.inventory.owned() == frozenset()
    assert found() == before
    assert [box.conf(f, "wan", "forwarding") for f in ("ipv4", "ipv6")] == [0, 0]
    assert routes(box) == {}


def test_forwarding_that_was_on_before_stays_on(made: Box) -> None:
    box = made.namespace
    box.set_conf("ipv4", "wan", "forwarding", 1)
    state = KernelState(forwarding=FORWARDING)
    assert made.settle(state) == ["create ipv6 forwarding dev wan"]
    made.settle(KernelState())
    assert [box.conf(f, "wan", "forwarding") for f in ("ipv4", "ipv6")] == [1, 0]


BRIDGE_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"mtu": 1300}, "mtu"),
    ({"mac": "02:00:00:00:02:00"}, "mac"),
    ({"stp": True}, "stp"),
    ({"multicast_snooping": False}, "snooping"),
    ({"link_local": True}, "link_local"),
    ({"forwarding4": False}, "forwarding4"),
    ({"link_local": True, "forwarding6": True}, "forwarding6"),
    ({"hosts": frozenset({Host("10.0.0.9", "02:00:00:00:00:0a"), Host("10.0.0.8", "02::8")})}, "hosts"),
    ({"hosts": frozenset()}, "no hosts"),
    ({"owner": ObjectRef("Tunnel", "other")}, "owner"),
]


def bridge_facts(box: Namespace) -> dict[str, Any]:
    link = box.link("br1")
    data = link["linkinfo"]["info_data"]
    return {
        "mtu": link["mtu"],
        "mac": link["address"],
        "stp": bool(data["stp_state"]),
        "multicast_snooping": bool(data["mcast_snooping"]),
        "link_local": not box.conf("ipv6", "br1", "disable_ipv6"),
        "forwarding4": bool(box.conf("ipv4", "br1", "forwarding")),
        "forwarding6": bool(box.conf("ipv6", "br1", "forwarding")),
        "hosts": frozenset(Host(*pair) for pair in hosts(box, "br1")),
        "owner": ObjectRef.parse(link["ifalias"].removeprefix("smartxd:")),
    }


@pytest.mark.parametrize(("change", "name"), BRIDGE_CHANGES, ids=[name for _, name in BRIDGE_CHANGES])
def test_a_bridge_is_changed_where_it_is_and_back(made: Box, change: dict[str, Any], name: str) -> None:
    if "hosts" in change:
        macs = {"02::8": "02:00:00:00:00:08"}
        change = {"hosts": frozenset(Host(h.address, macs.get(h.mac, h.mac)) for h in change["hosts"])}
    bridge, *rest = STATE.links
    made.settle(STATE)
    before, index = bridge_facts(made.namespace), made.namespace.link("br1")["ifindex"]
    changed = replace(STATE, links=(replace(bridge, **change), *rest))
    assert made.settle(changed) == ["update link br1"]
    assert bridge_facts(made.namespace) == before | change
    made.settle(STATE)
    # A MAC that the spec does not name stays.
    kept = {"mac": change["mac"]} if "mac" in change else {}
    assert bridge_facts(made.namespace) == before | kept
    assert made.namespace.link("br1")["ifindex"] == index


VXLAN_CHANGES: list[dict[str, Any]] = [
    {"mtu": 1300},
    {"bridge": "br1"},
    {"ttl": 3},
    {"learning": False},
    {"remotes": frozenset({"192.0.2.3", "192.0.2.4"})},
    {"remotes": frozenset()},
    {"stations": frozenset({Station("02:00:00:00:00:05", "192.0.2.3")})},
    {"stations": frozenset({Station("02:00:00:00:00:06", "192.0.2.2")})},
    {"stations": frozenset()},
    {"settings": PortSettings()},
    {"settings": PortSettings(learning=False, neighbor_suppression=True)},
    {"vni": 22},
    {"port": 4791},
    {"group": "239.1.1.2", "underlay": "wan", "remotes": frozenset()},
    {"remotes": None, "stations": frozenset()},
]


def vxlan_facts(box: Namespace) -> dict[str, Any]:
    link, data, slave = box.link("vx2"), info(box, "vx2"), port(box, "vx2")
    found = entries(box, "vx2")
    return {
        "mtu": link["mtu"],
        "bridge": link["master"],
        "ttl": data["ttl"],
        "learning": data["learning"],
        "remotes": frozenset(vtep for mac, vtep in found if mac == ZERO) - {data.get("group", "")},
        "stations": frozenset(Station(mac, vtep) for mac, vtep in found if mac != ZERO),
        "settings": PortSettings((), slave["isolated"], slave["learning"], slave["neigh_suppress"]),
        "vni": data["id"],
        "port": data["port"],
        "group": data.get("group", ""),
        "underlay": data.get("link", ""),
    }


@pytest.mark.parametrize("change", VXLAN_CHANGES, ids=" ".join)
def test_a_vxlan_link_is_changed_and_back(made: Box, change: dict[str, Any]) -> None:
    links = {link.name: link for link in STATE.links}
    made.settle(STATE)
    before = vxlan_facts(made.namespace)
    changed = replace(STATE, links=tuple((links | {"vx2": replace(links["vx2"], **change)}).values()))
    again = bool(change.keys() & {"vni", "port", "group"})
    if change.get("remotes", ()) is None:
        assert made.settle(changed) == []
        assert vxlan_facts(made.namespace) == before
        return
    assert made.settle(changed) == [f"{'recreate' if again else 'update'} link vx2"]
    now = vxlan_facts(made.namespace)
    assert now == before | change
    assert bridged(made.namespace, "vx2") == {station.mac for station in now["stations"]}
    made.settle(STATE)
    assert vxlan_facts(made.namespace) == before
    assert bridged(made.namespace, "vx2") == {"02:00:00:00:00:05"}


def test_routes_are_replaced_without_a_gap(made: Box) -> None:
    made.settle(STATE)
    box = made.namespace
    changed = {
        "10.9.0.0/16": (NextHop("10.0.0.8", "br1"),),
        "10.10.0.0/16": (NextHop("10.0.0.7", "br1"),),
        "10.11.0.0/16": (NextHop("10.0.0.7", "br1", 5), NextHop("10.0.0.6", "br1")),
        "10.12.0.0/16": (),
        "2001:db8:9::/48": (NextHop("2001:db8:3::8", "br3"), NextHop("2001:db8:3::9", "br3")),
        "2001:db8:a::/48": (NextHop("2001:db8:3::8", "br3"),),
        "2001:db8:b::/48": (),
    }
    other = replace(STATE, routes=tuple(replace(r, hops=changed[r.destination]) for r in ROUTES))
    assert {step.split()[0] for step in made.settle(other)} == {"update"}
    found = routes(box)
    for destination, hops in changed.items():
        if hops:
            assert gateways(found[destination]) == {(h.address, h.link, h.weight) for h in hops}
        else:
            assert found[destination]["type"] == "blackhole"
    made.settle(STATE)
    moved = replace(STATE, routes=tuple(replace(r, metric=r.metric + 1) for r in ROUTES))
    steps = made.settle(moved)
    assert [step.split()[0] for step in steps] == ["create"] * len(ROUTES) + ["delete"] * len(ROUTES)
    assert {route["metric"] for route in routes(box).values()} == {r.metric + 1 for r in ROUTES}


def test_what_evpn_made_is_not_touched(made: Box) -> None:
    made.settle(STATE)
    box = made.namespace
    learned = "02:00:00:00:00:07"
    for link in ("vx2", "vx4"):
        box.run(f"bridge fdb add {learned} dev {link} dst 192.0.2.9 self extern_learn")
        box.run(f"bridge fdb add {learned} dev {link} master extern_learn")
    box.run(f"bridge fdb append {ZERO} dev vx4 dst 192.0.2.9 self permanent")
    made.check(STATE)
    links = {link.name: link for link in STATE.links}
    grown = replace(links["vx2"], remotes=frozenset({"192.0.2.4"}), stations=frozenset())
    evpn = replace(links["vx4"], ttl=9)
    made.settle(replace(STATE, links=tuple((links | {"vx2": grown, "vx4": evpn}).values())))
    assert entries(box, "vx2") == {(learned, "192.0.2.9"), (ZERO, "192.0.2.4")}
    assert entries(box, "vx4") == {(learned, "192.0.2.9"), (ZERO, "192.0.2.9")}


def test_ipv6_that_is_switched_on_by_hand_on_a_vxlan_link_is_switched_off(made: Box) -> None:
    made.settle(STATE)
    made.namespace.set_conf("ipv6", "vx2", "disable_ipv6", 0)
    made.plane.resync()  # The kernel tells of the link-local address that comes of it, a second later.
    assert made.settle(STATE) == ["update link vx2"]
    assert made.namespace.conf("ipv6", "vx2", "disable_ipv6") == 1


@pytest.mark.parametrize("mtu", [1280, 1500, 9000])
def test_a_bridge_keeps_its_mtu_and_mac_whatever_is_plugged_in(made: Box, mtu: int) -> None:
    small = replace(VXLANS[1], mtu=1280)
    made.settle(KernelState((replace(BRIDGES[0], mtu=mtu), replace(small, bridge="br1"))))
    mac = made.namespace.link("br1")["address"]
    made.namespace.batch(
        ["tuntap add tap1 mode tap", "link set tap1 address 02:00:00:00:00:01 mtu 1000 master br1"]
    )
    assert (made.namespace.link("br1")["mtu"], made.namespace.link("br1")["address"]) == (mtu, mac)


def test_a_bridge_whose_mtu_was_too_small_for_ipv6_gets_all_of_it_back(made: Box) -> None:
    made.settle(STATE)
    made.namespace.ip("link set br3 mtu 1000")
    made.settle(STATE)
    assert addresses(made.namespace, "br3") == {"2001:db8:3::1/64"}
    assert made.namespace.conf("ipv6", "br3", "forwarding") == 1
    assert "2001:db8:9::/48" in routes(made.namespace)


def test_a_bridge_that_is_to_know_vlans_says_that_the_kernel_knows_none(made: Box) -> None:
    aware = Bridge(B, "brv", 1400, vlan_aware=True)
    kept = Bridge(A, "br1", 1450)
    found = made.converge(KernelState((kept, aware)))
    refused = [p for p in problems(found) if p.owner == B]
    if not refused:  # A kernel with VLAN filtering.
        assert info(made.namespace, "brv")["vlan_filtering"] == 1
        return
    assert {p.reason for p in refused} == {"NotSupported"}
    assert all("modprobe" in p.message for p in refused)
    assert "br1" in {link["ifname"] for link in made.namespace.json("link")}
