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
    for name, vni, group in zip(names, vnis, groups, strict=False):
        found.append(draw(_tunnel(name, vni, group, boxes)))
        members[name] = set(found[-1]["spec"]["boxes"]["names"])
    routed = draw(st.sets(st.sampled_from(boxes)))
    for box in sorted(routed):
        networks = [f"10.255.0.{box[-1]}/32", "10.99.0.0/16"][: draw(st.integers(0, 2))]
        found.append(document("BGPRouter", box, box=box, networks=networks))
    pairs = [(a, b) for a in sorted(routed) for b in sorted(routed) if a < b]
    for one, other in draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []:
        found.append(draw(_peer(one, other)))
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
            "mtu": draw(st.sampled_from([1500, 9000])),
        },
        loopback=f"10.{draw(st.sampled_from([254, 255]))}.0.{i}",
        asn=draw(st.sampled_from([64600, 65000])) + i,
    )


@st.composite
def _tunnel(draw: st.DrawFn, name: str, vni: int, group: int, boxes: list[str]) -> dict[str, Any]:
    members = sorted(draw(st.sets(st.sampled_from(boxes), min_size=2)))
    net = draw(st.integers(0, 1)) * 100 + vni % 100
    with_gateway = draw(st.sets(st.sampled_from(members)))
    spec: dict[str, Any] = {
        "boxes": {"names": members},
        "vni": vni,
        "flood": {"mode": "multicast", "group": f"239.1.1.{group}"},
        "gateways": {box: f"10.{net}.0.{box[-1]}/24" for box in sorted(with_gateway)},
        "port": draw(st.sampled_from([4789, 4790])),
        "ttl": draw(st.sampled_from([1, 16])),
        "mtu": draw(st.sampled_from(["auto", 1400])),
    }
    if draw(st.booleans()):
        spec["bridge"] = f"br-{name}"
    return document("Tunnel", name, **spec)


@st.composite
def _peer(draw: st.DrawFn, one: str, other: str) -> dict[str, Any]:
    description = draw(st.sampled_from(["", "Gwangju to Seoul", "a|b 2001:DB8::0:1", "x" * 180]))
    timers = draw(
        st.sampled_from([{"keepalive": 60, "hold": 180}, {"keepalive": 3, "hold": 9, "connectRetry": 5}])
    )
    between = [{"box": one}, {"box": other}]
    return document("BGPPeer", f"{one}-{other}", between=between, description=description, timers=timers)


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
