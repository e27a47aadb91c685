"""Repos that somebody makes to take a box's time or memory, each against ``judge`` in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable

from benchmarks.fuzz import CASE_S_MAX, MEMORY_MB_MAX, peak_mb
from benchmarks.table import Row
from smartxd.spec.document import FILE_BYTES_MAX
from smartxd.spec.load import judge

LABELS = "boxes: {matchLabels: {all: all}}"


def _doc(kind: str, name: str, spec: str, labels: str = "all: all") -> str:
    return (
        f"---\napiVersion: smartx.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
        f"spec: {{{spec}}}\n"
    )


def _boxes(count: int, labels: str = "all: all") -> str:
    return "".join(_box(i, labels) for i in range(count))


def _box(i: int, labels: str = "all: all") -> str:
    under = f"underlay: {{interface: wan0, address: {_ip(172, 16, i)}/12}}"
    return _doc("Box", f"b{i}", f"{under}, loopback: {_ip(10, 240, i)}, asn: 65001", labels)


def _ip(first: int, second: int, number: int) -> str:
    number += 1 + number // 255  # no address ends in 255
    return f"{first}.{second + (number >> 16)}.{number >> 8 & 255}.{number & 255 or 254}"


def _link(first: int, number: int) -> str:
    """The first host of a /30 of its own."""
    bits = number * 4 + 1
    return f"{first}.{bits >> 16}.{bits >> 8 & 255}.{bits & 255}/30"


def _routers(count: int, more: str = "") -> str:
    return "".join(_doc("BGPRouter", f"r{i}", f"box: b{i}{more}") for i in range(count))


def _tunnel(i: int, where: str = LABELS, more: str = "") -> str:
    return _doc("Tunnel", f"t{i}", f"{where}, vni: {i + 1}, flood: {{mode: static}}{more}")


def _patterns(ports: int, form: str) -> str:
    names = ("".join(f"'{form.format(i * 64 + k)}', " for k in range(64)) for i in range(ports))
    made = (
        _doc("Port", f"p{i}", f"{LABELS}, interfaces: [{n}], tunnel: t0") for i, n in enumerate(names)
    )
    return _box(0) + _tunnel(0) + "".join(made)


def names_of_ports(size: int) -> str:
    """Many plain names on one box."""
    return _patterns(size // 64, "n{}")


def patterns_of_ports(size: int) -> str:
    """Many patterns on one box, none of which meets another."""
    return _patterns(size // 64, "n{}-*")


def tunnels_beside_names(size: int) -> str:
    """Names of Ports on a box with many links of smartxd's."""
    return _patterns(size // 64, "n{}") + "".join(_tunnel(i + 1) for i in range(size // 16))


def memberships(size: int) -> str:
    """Every Tunnel on every box."""
    return _boxes(size) + "".join(_tunnel(i) for i in range(size))


def anycast(size: int) -> str:
    """Sixteen addresses of each Tunnel on every box."""
    return _boxes(size) + "".join(
        _tunnel(i, more=", anycastGateway: {mac: '02:00:00:00:00:01', addresses: [%s]}" % ", ".join(
            f"10.{k}.{i % 200}.1/24" for k in range(16))) for i in range(size))


def routes_into_overlays(size: int) -> str:
    """A Route into an overlay on every box, none of which diverts anything that is not kept."""
    gateways = ", ".join(f"b{i}: {_ip(10, 0, i)}/12" for i in range(size))
    return _boxes(size) + _tunnel(0, more=f", gateways: {{{gateways}}}") + _doc(
        "Route", "r", f"{LABELS}, destination: 172.0.0.0/8, via: [{{address: 10.15.0.1}}]"
    )


def routes_of_one_box(size: int) -> str:
    """Routes and links of one box."""
    tunnels = (_tunnel(i, more=f", gateways: {{b0: {_link(10, i)}}}") for i in range(size))
    return _box(0) + "".join(tunnels) + "".join(
        _doc("Route", f"r{i}", f"{LABELS}, destination: {_ip(10, 128, i)}/32, via: [{{address: {_link(10, i)[:-3]}}}]")
        for i in range(size))


def managed(size: int) -> str:
    """Management networks of a box with many links and Routes."""
    networks = ", ".join(f"192.168.{i}.0/24" for i in range(64))
    box = _box(0).replace("spec: {", f"spec: {{management: {{interfaces: [m0], networks: [{networks}]}}, ")
    return box + routes_of_one_box(size).removeprefix(_box(0))


def misspelled(size: int) -> str:
    """Names of boxes that are nearly right."""
    names = ", ".join(f"seoul-rack{i}x" for i in range(size))
    boxes = "".join(_box(i).replace(f"name: b{i}", f"name: seoul-rack{i}y") for i in range(size))
    return boxes + _tunnel(0, f"boxes: {{names: [{names}]}}")


def misspelled_labels(size: int) -> str:
    """Labels that are nearly right."""
    boxes = "".join(_box(i, f"site-of-the-box: 'number {i} of them all'") for i in range(size))
    return boxes + "".join(
        _tunnel(i, f"boxes: {{matchLabels: {{site-of-the-box: 'numbr {i} of them all'}}}}") for i in range(size)
    )


def hub(size: int) -> str:
    """Sessions of one box with all others, over EVPN."""
    families = ", families: [ipv4Unicast, l2vpnEvpn]"
    peers = (
        _doc("BGPPeer", f"p{i}", f"between: [{{box: b0, routeReflectorClient: true}}, {{box: b{i}}}]{families}")
        for i in range(1, size)
    )
    evpn = _doc("Tunnel", "t", f"{LABELS}, vni: 1, flood: {{mode: evpn}}")
    return _boxes(size) + _routers(size, families) + "".join(peers) + evpn


def hub_of_ases(size: int) -> str:
    """The same over eBGP, two boxes to an AS."""
    text = hub(size).replace(", routeReflectorClient: true", "")
    for i in range(1, size):
        text = text.replace(f"box: b{i}, fam", f"box: b{i}, asn: {70000 + i // 2}, fam")
    return text


def wrong_addresses(size: int) -> str:
    """Sessions at addresses that a box with many links does not have."""
    tunnels = (_tunnel(i, more=f", gateways: {{b0: {_link(10, i)}}}") for i in range(size))
    peers = (
        _doc("BGPPeer", f"p{i}", f"between: [{{box: b0, address: {_ip(10, 64, i)}}}, {{asn: 1, address: {_ip(172, 20, i)}}}]")
        for i in range(size)
    )
    return _box(0) + _routers(1) + "".join(tunnels) + "".join(peers)


def gateways(size: int) -> str:
    """Gateways of one Tunnel, each in a subnet of its own, and hosts outside."""
    given = ", ".join(f"b{i}: {_link(10, i)}" for i in range(size))
    hosts = ", ".join(
        f"{{mac: '02:00:00:00:{i >> 8:02x}:{i & 255:02x}', box: b0, addresses: [{_ip(11, 0, i)}]}}"
        for i in range(min(size, 4096)))
    return _boxes(size) + _tunnel(0, more=f", gateways: {{{given}}}, hosts: [{hosts}]")


def lone_boxes_of_a_wide_bridge(size: int) -> str:
    """Tunnels and Ports of one box each, in a Bridge of all."""
    bridge = _doc("Bridge", "all", f"{LABELS}, interface: br-all, vlanAware: true, mtu: 1400")
    tunnels = (_tunnel(i, f"boxes: {{names: [b{i}]}}", ", bridgeRef: all, vlan: 7") for i in range(size))
    ports = (_doc("Port", f"p{i}", f"boxes: {{names: [b{i}]}}, interfaces: ['tap*'], bridge: all, access: 7") for i in range(size))
    return _boxes(size) + bridge + "".join(tunnels) + "".join(ports)


def announced(size: int) -> str:
    """Segments of all boxes that overlap, and BGP announces them."""
    routers = _routers(size, ", redistribute: [{source: connected}]")
    given = ", ".join(f"b{i}: {_ip(11, 0, i)}/8" for i in range(size))
    tunnels = (
        _tunnel(i + 1, f"boxes: {{names: [b{i}]}}", f", gateways: {{b{i}: {_link(11, i)}}}") for i in range(size)
    )
    return _boxes(size) + routers + _tunnel(0, more=f", gateways: {{{given}}}") + "".join(tunnels)


def traced(size: int) -> str:
    """TracePolicies of all boxes that name links of smartxd's."""
    points = ", ".join(f"{{tunnel: t{i % 10}}}, {{name: vx{i + 90}}}" for i in range(64))
    return _boxes(size) + "".join(_tunnel(i) for i in range(10)) + "".join(
        _doc("TracePolicy", f"x{i}", f"{LABELS}, interfaces: [{points}]") for i in range(size // 50)
    )


def filters(size: int) -> str:
    """Filters that are each long, and all different."""
    return _box(0) + "".join(
        _doc("TracePolicy", f"x{i}", f"{LABELS}, interfaces: [{{name: wan0}}], filter: '{' or '.join(f'tcp[{k}] > {i % 256} and udp port {k + 1}' for k in range(30))}'")
        for i in range(size))


def prefix_entries(size: int) -> str:
    """Entries of one list of nested prefixes, none of which takes all of another."""
    entries = []
    for n in range(100):
        for k in range(n, 100):
            entries.append((n, k))
    made = ", ".join(
        f"{{seq: {i + 1}, action: permit, prefix: '::/{n}', ge: {k}, le: {k}}}" if k > n else f"{{seq: {i + 1}, action: permit, prefix: '::/{n}'}}"
        for i, (n, k) in enumerate(reversed(entries[-size:]) if size < len(entries) else reversed(entries)))
    return _doc("PrefixList", "l", f"family: ipv6, entries: [{made}]")


def maps(size: int) -> str:
    """Route maps that call each other in a long chain."""
    return "".join(
        _doc("RouteMap", f"m{i}", f"entries: [{{seq: 1, action: permit, call: m{i + 1}}}, {{seq: 2, action: permit, call: m0}}]")
        for i in range(size)) + _doc("RouteMap", f"m{size}", "entries: [{seq: 1, action: permit}]")


def vlans(size: int) -> str:
    """Tunnels of one box and one VLAN of a Bridge."""
    bridge = _doc("Bridge", "all", f"{LABELS}, interface: br-all, vlanAware: true")
    return _box(0) + bridge + "".join(_tunnel(i, LABELS, ", bridgeRef: all, vlan: 7") for i in range(size))


def labels(size: int) -> str:
    """Selectors of many labels, all different, for no box."""
    return "".join(_box(i, f"all: all, even: '{i % 2}'") for i in range(size)) + "".join(
        _tunnel(i, f"boxes: {{matchLabels: {{all: all, even: '{i % 2}', x: '{i}'}}}}") for i in range(size))


def silenced(size: int) -> str:
    """Annotations that silence nothing."""
    return "".join(_box(i).replace("labels: {", "annotations: {check.smartx.io/SX301: x, check.smartx.io/SX302: y}, labels: {") for i in range(size))
