"""Fleets that hypothesis draws: valid specs of up to four boxes, as YAML."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from smartxd.spec.fleet import Fleet
from smartxd.spec.load import load

BOX = "gist1"
"""A box of every fleet."""


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "smartx.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """A valid fleet with ``BOX``, a tunnel, a session or a policy more or less."""
    return load({"specs.yaml": yaml.safe_dump_all(draw(documents())).encode()})


@st.composite
def documents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The documents of such a fleet."""
    numbers = range(1, draw(st.integers(2, 4)) + 1)
    boxes = [f"gist{i}" for i in numbers]
    found = [draw(_box(i)) for i in numbers]
    names = draw(st.lists(st.sampled_from(["one", "two", "three"]), unique=True))
    vnis = draw(st.permutations([100, 101, 102, 103]))
    groups = draw(st.permutations([1, 2, 3, 4]))
    members: dict[str, set[str]] = {}
    switch = draw(st.none() | _bridge(boxes))
    found += [switch] if switch is not None else []
    for i, (name, vni, group) in enumerate(zip(names, vnis, groups, strict=False)):
        found.append(draw(_tunnel(name, vni, group, boxes)))
        if switch is not None and (switch["spec"]["vlanAware"] or i == 0) and draw(st.booleans()):
            _plug_in(found[-1]["spec"], switch["spec"], vlan=10 * (i + 1))
        members[name] = set(found[-1]["spec"]["boxes"]["names"])
    if switch is not None:
        found += [draw(_port(name, switch, boxes)) for name in draw(_some(["vms", "containers"]))]
    found += [draw(_route(name, boxes)) for name in draw(_some(["library", "unused"]))]
    routed = draw(st.sets(st.sampled_from(boxes)))
    families = draw(st.sampled_from([["ipv4Unicast"], ["ipv4Unicast", "l2vpnEvpn"]]))
    found += [draw(_router(box, families)) for box in sorted(routed)]
    pairs = [(a, b) for a in sorted(routed) for b in sorted(routed) if a < b]
    for one, other in draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []:
        found.append(draw(_peer(one, other, families)))
    found += POLICIES
    for name in draw(st.lists(st.sampled_from(["flows", "more"]), unique=True)):
        found.append(draw(_policy(name, members, boxes)))
    return found


@st.composite
def _box(draw: st.DrawFn, i: int) -> dict[str, Any]:
    return document(
        "Box",
        f"gist{i}",
        underlay={
            "interface": "wan0",
            "address": f"203.0.113.{i}/24",
            "address6": f"2001:db8:ffff::{i}/64",
            "mtu": draw(st.sampled_from([1500, 9000])),
        },
        loopback6=f"2001:db8:fffe::{i}",
        loopback=f"10.{draw(st.sampled_from([254, 255]))}.0.{i}",
        asn=draw(st.sampled_from([64600, 65000])) + i,
    )


def _some(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True)


@st.composite
def _bridge(draw: st.DrawFn, boxes: list[str]) -> dict[str, Any]:
    """A switch on all boxes, managed or not, for one tunnel or for one in each of its VLANs."""
    aware, external = draw(st.booleans()), draw(st.booleans())
    # One that is somebody else's has a name by which it is always so.
    name = f"br-theirs{int(aware)}" if external else draw(st.sampled_from(["br-campus", "br-lab"]))
    spec: dict[str, Any] = {"boxes": {"names": boxes}, "interface": name, "vlanAware": aware}
    if external:
        return document("Bridge", "campus", mode="external", **spec)
    spec["stp"] = draw(st.booleans())
    spec["multicastSnooping"] = draw(st.booleans())
    if draw(st.booleans()):
        spec["addresses"] = {box: f"10.250.0.{box[-1]}/24" for box in boxes}
    return document("Bridge", "campus", **spec)


def _plug_in(tunnel: dict[str, Any], bridge: dict[str, Any], vlan: int) -> None:
    """Plug a tunnel into a Bridge instead of one of its own."""
    tunnel.pop("bridge", None)
    tunnel["bridgeRef"] = "campus"
    if bridge["vlanAware"]:
        tunnel["vlan"] = vlan
    elif "addresses" in bridge:  # the Bridge and the tunnel are one segment then, in one subnet
        tunnel["gateways"] = {}
        tunnel["hosts"] = []
    if bridge.get("mode") == "external":
        tunnel["gateways"] = {}
        tunnel.pop("anycastGateway", None)


@st.composite
def _port(draw: st.DrawFn, name: str, bridge: dict[str, Any], boxes: list[str]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "boxes": {"names": boxes},
        "interfaces": [f"{name}*"],
        "bridge": "campus",
        "isolated": draw(st.booleans()),
    }
    if bridge["spec"]["vlanAware"]:
        trunk = {"trunk": {"vlans": ["10-20"], "native": 30}}
        spec |= draw(st.sampled_from([{"access": 10}, {"access": 20}, trunk]))
    return document("Port", name, **spec)


@st.composite
def _route(draw: st.DrawFn, name: str, boxes: list[str]) -> dict[str, Any]:
    prefix = {"library": "198.51.100.0/24", "unused": "10.64.0.0/10"}[name]
    way = draw(
        st.sampled_from(
            [
                {"blackhole": True},
                {"via": [{"address": "203.0.113.254"}]},
                {"via": [{"address": "203.0.113.253", "weight": 2}, {"address": "203.0.113.254"}]},
                {"via": [{"interface": "ppp0"}]},
            ]
        )
    )
    metric, table = draw(st.sampled_from([0, 7])), draw(st.sampled_from([254, 100]))
    return document(
        "Route", name, boxes={"names": boxes}, destination=prefix, metric=metric, table=table, **way
    )


@st.composite
def _tunnel(draw: st.DrawFn, name: str, vni: int, group: int, boxes: list[str]) -> dict[str, Any]:
    members = sorted(draw(st.sets(st.sampled_from(boxes), min_size=2)))
    net = draw(st.integers(0, 1)) * 100 + vni % 100
    with_gateway = draw(st.sets(st.sampled_from(members)))
    underlay = draw(st.sampled_from(["ipv4", "ipv6"]))
    multicast = f"239.1.1.{group}" if underlay == "ipv4" else f"ff05::{group}"
    spec: dict[str, Any] = {
        "boxes": {"names": members},
        "vni": vni,
        "underlay": underlay,
        "flood": draw(st.sampled_from([{"mode": "multicast", "group": multicast}, {"mode": "static"}])),
        "gateways": {box: _gateways(net, box[-1]) for box in sorted(with_gateway)},
        "port": draw(st.sampled_from([4789, 4790])),
        "ttl": draw(st.sampled_from([1, 16])),
        "mtu": draw(st.sampled_from(["auto", 1400])),
    }
    if draw(st.booleans()):
        spec["hosts"] = [
            {
                "mac": f"02:00:00:00:{group:02x}:0{box[-1]}",
                "box": box,
                "addresses": [f"10.{net}.0.1{box[-1]}"],
            }
            for box in members
        ]
    if not with_gateway and draw(st.booleans()):
        spec["anycastGateway"] = {"addresses": _gateways(net, "1"), "mac": f"02:00:00:01:{group:02x}:00"}
    if draw(st.booleans()):
        spec["bridge"] = f"br-{name}"
    return document("Tunnel", name, **spec)


def _gateways(net: int, number: str) -> list[str]:
    return [f"10.{net}.0.{number}/24", f"2001:db8:{net}::{number}/64"]


def _entries(kind: str, name: str, *entries: dict[str, Any]) -> dict[str, Any]:
    numbered = [{"seq": 10 * i, "action": "permit", **entry} for i, entry in enumerate(entries, 1)]
    return document(kind, name, entries=numbered)


POLICIES = [
    _entries("PrefixList", "ours", {"prefix": "10.0.0.0/8", "le": 24}),
    _entries("ASPathList", "short", {"regex": "^[0-9]+$"}),
    _entries("CommunityList", "marked", {"communities": ["65001:100"]}),
    _entries("RouteMap", "called", {"match": {"communityList": "marked"}, "set": {"weight": 5}}),
    _entries("RouteMap", "calling", {"match": {"prefixList": "ours"}, "call": "called"}, {}),
    _entries("RouteMap", "plain", {"set": {"localPreference": 200}}),
]
"""Lists and maps, of which a box has those that it uses."""


@st.composite
def _router(draw: st.DrawFn, box: str, families: list[str]) -> dict[str, Any]:
    networks = [f"10.255.0.{box[-1]}/32", "10.99.0.0/16"][: draw(st.integers(0, 2))]
    sources = [{"source": "static"}, {"source": "connected", "routeMap": "plain"}]
    return document(
        "BGPRouter",
        box,
        box=box,
        families=families,
        networks=networks,
        redistribute=draw(st.lists(st.sampled_from(sources), unique_by=str)),
        multipath={"ebgp": draw(st.sampled_from([1, 4]))},
    )


@st.composite
def _peer(draw: st.DrawFn, one: str, other: str, families: list[str]) -> dict[str, Any]:
    description = draw(st.sampled_from(["", "Gwangju to Seoul", "a|b 2001:DB8::0:1", "x" * 180]))
    timers = draw(
        st.sampled_from([{"keepalive": 60, "hold": 180}, {"keepalive": 3, "hold": 9, "connectRetry": 5}])
    )
    policies = [{}, {"routeMap": "calling"}, {"prefixLists": ["ours"], "routeMap": "plain"}]
    more = [{}, {"bfd": {}}, {"bfd": {"receiveMs": 50}, "passwordRef": "koren"}, {"ttlSecurity": 2}]
    first = {"box": one, "in": draw(st.sampled_from(policies)), "nextHopSelf": draw(st.booleans())}
    second = {"box": other, "out": draw(st.sampled_from([{}, {"asPathList": "short"}]))}
    return document(
        "BGPPeer",
        f"{one}-{other}",
        between=[first, second],
        description=description,
        timers=timers,
        families=draw(st.sampled_from([families, ["ipv4Unicast"]])),
        **draw(st.sampled_from(more)),
    )


@st.composite
def _policy(draw: st.DrawFn, name: str, tunnels: dict[str, set[str]], boxes: list[str]) -> dict[str, Any]:
    traced = draw(st.sets(st.sampled_from(boxes), min_size=1))
    points = [{"name": "wan0"}, *({"tunnel": t} for t, members in tunnels.items() if members & traced)]
    return document(
        "TracePolicy",
        name,
        boxes={"names": sorted(traced)},
        interfaces=draw(st.lists(st.sampled_from(points), min_size=1, unique_by=str)),
        directions=draw(st.sampled_from([["ingress"], ["egress"], ["ingress", "egress"]])),
        flowsMax=draw(st.sampled_from([1024, 65536])),
    )
