"""Repos that somebody makes to take a box's time or memory, judged in a process of their own each."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable

from benchmarks import fleets
from benchmarks.fuzz import MEMORY_MB_MAX, peak_mb
from benchmarks.table import Row
from smartxd.spec.document import FILE_BYTES_MAX
from smartxd.spec.load import judge

S_MAX = 1.0
"""For what a repo chooses by labels, however small it is, and for starting."""
S_PER_MIB_MAX = 2.0
"""For each MiB of documents; an ordinary repo takes about as long."""
GROWTH_MAX = 1.5
"""The exponent by which the time grows from a quarter of a repo to the whole: 1 is linear, 2 quadratic."""
MIB = 1 << 20
LABELS = "boxes: {matchLabels: {all: all}}"


def _doc(kind: str, name: str, spec: str, labels: str = "all: all") -> str:
    metadata = f"metadata: {{name: {name}, labels: {{{labels}}}}}"
    return f"---\napiVersion: smartx.io/v1alpha1\nkind: {kind}\n{metadata}\nspec: {{{spec}}}\n"


def _boxes(count: int, labels: str = "all: all") -> str:
    return "".join(_box(i, labels) for i in range(count))


def _box(i: int, labels: str = "all: all") -> str:
    under = f"underlay: {{interface: wan0, address: {_ip(172, 16, i)}/12}}"
    return _doc("Box", f"b{i}", f"{under}, loopback: {_ip(10, 240, i)}, asn: 65001", labels)


def _ip(first: int, second: int, number: int) -> str:
    number += 1 + number // 255  # no address ends in 255
    return f"{first}.{second + (number >> 16)}.{number >> 8 & 255}.{number & 255 or 254}"


def _link(first: int, number: int, host: int = 1) -> str:
    """A host of a /30 of its own."""
    bits = number * 4 + host
    return f"{first}.{bits >> 16}.{bits >> 8 & 255}.{bits & 255}/30"


def _routers(count: int, more: str = "") -> str:
    return "".join(_doc("BGPRouter", f"r{i}", f"box: b{i}{more}") for i in range(count))


def _tunnel(i: int, where: str = LABELS, more: str = "") -> str:
    return _doc("Tunnel", f"t{i}", f"{where}, vni: {i + 1}, flood: {{mode: static}}{more}")


def _patterns(ports: int, form: str) -> str:
    names = ("".join(f"'{form.format(i * 64 + k)}', " for k in range(64)) for i in range(ports))
    made = (_doc("Port", f"p{i}", f"{LABELS}, interfaces: [{n}], tunnel: t0") for i, n in enumerate(names))
    return _box(0) + _tunnel(0) + "".join(made)


def names_of_ports(size: int) -> str:
    """Many plain names on one box."""
    return _patterns(size // 64, "n{}")


def patterns_of_ports(size: int) -> str:
    """Many patterns on one box, none of which meets another."""
    return _patterns(size // 64, "n{}-*")


def patterns_of_many_boxes(size: int) -> str:
    """As many patterns as a box may have, others on each, none of which meets another."""
    made = [_boxes(size), _tunnel(0)]
    for i in range(2 * size):
        names = ", ".join(f"'a{i // 2}*x{k}z'" for k in range(10 + i % 2 * 64, 74 + i % 2 * 64))
        where = f"boxes: {{names: [b{i // 2}]}}, interfaces: [{names}], tunnel: t0"
        made.append(_doc("Port", f"p{i}", where))
    return "".join(made)


def tunnels_beside_names(size: int) -> str:
    """Names of Ports on a box with many links of smartxd's."""
    return _patterns(size // 64, "n{}") + "".join(_tunnel(i + 1) for i in range(size // 16))


def memberships(size: int, tunnels: int = 240) -> str:
    """Tunnels that are each on very many boxes."""
    return _boxes(size) + "".join(_tunnel(i) for i in range(tunnels))


def more_memberships(size: int) -> str:
    """As many Tunnels as boxes, each on all."""
    return _boxes(size) + "".join(_tunnel(i) for i in range(size))


def anycast(size: int) -> str:
    """Sixteen anycast addresses of each Tunnel on every box."""
    mac = "mac: '02:00:00:00:00:01'"
    given = (", ".join(f"10.{k}.{i}.1/24" for k in range(16)) for i in range(14))
    gateways = (f", anycastGateway: {{{mac}, addresses: [{addresses}]}}" for addresses in given)
    return _boxes(size) + "".join(_tunnel(i, more=gateway) for i, gateway in enumerate(gateways))


def routes_into_overlays(size: int) -> str:
    """A Route into an overlay on every box, past all underlay addresses, which are kept."""
    gateways = ", ".join(f"b{i}: {_ip(10, 0, i)}/12" for i in range(size))
    route = _doc("Route", "r", f"{LABELS}, destination: 172.0.0.0/8, via: [{{address: 10.15.0.1}}]")
    return _boxes(size) + _tunnel(0, more=f", gateways: {{{gateways}}}") + route


def routes_of_one_box(size: int) -> str:
    """Routes and links of one box."""
    made = [_box(0)]
    for i in range(size):
        link = _link(10, i)
        where = f"destination: {_ip(11, 0, i)}/32, via: [{{address: {_link(10, i, 2)[:-3]}}}]"
        made += [_tunnel(i, more=f", gateways: {{b0: {link}}}"), _doc("Route", f"r{i}", f"{LABELS}, {where}")]
    return "".join(made)


def managed(size: int) -> str:
    """Management networks of a box with many links and Routes."""
    networks = ", ".join(f"192.168.{i}.0/24" for i in range(64))
    managed = f"spec: {{management: {{interfaces: [m0], networks: [{networks}]}}, "
    return routes_of_one_box(size).replace("spec: {", managed, 1)


def misspelled(size: int) -> str:
    """Names of boxes that are nearly right."""
    names = ", ".join(f"seoul-rack{i}x" for i in range(size))
    boxes = "".join(_box(i).replace(f"name: b{i}", f"name: seoul-rack{i}y") for i in range(size))
    return boxes + _tunnel(0, f"boxes: {{names: [{names}]}}")


def misspelled_labels(size: int) -> str:
    """Labels that are nearly right."""
    boxes = "".join(_box(i, f"site-of-the-box: 'number {i} of them all'") for i in range(size))
    return boxes + "".join(
        _tunnel(i, f"boxes: {{matchLabels: {{site-of-the-box: 'numbr {i} of them all'}}}}")
        for i in range(size)
    )


def hub(size: int) -> str:
    """EVPN sessions of one reflector with all others."""
    return _star(size, ", routeReflectorClient: true")


def hub_of_ases(size: int) -> str:
    """EVPN sessions of one box with all others, two to an AS, one of them in a tunnel."""
    return _star(size, "")


def _star(size: int, option: str) -> str:
    families = "families: [ipv4Unicast, l2vpnEvpn]"
    made = [_boxes(size)]
    for i in range(size):
        number = 65001 if option else 70000 + i // 2
        made.append(_doc("BGPRouter", f"r{i}", f"box: b{i}, asn: {number}, {families}"))
        if i:
            made.append(
                _doc("BGPPeer", f"p{i}", f"between: [{{box: b0{option}}}, {{box: b{i}}}], {families}")
            )
    names = ", ".join(f"b{i}" for i in range(0, size, 1 if option else 2))
    return "".join(made) + _doc("Tunnel", "t", f"boxes: {{names: [{names}]}}, vni: 1, flood: {{mode: evpn}}")


def chain_of_ases(size: int) -> str:
    """EVPN sessions of each box with the next, each in an AS of its own."""
    return _chain(size, size)


def chain_of_twins(size: int) -> str:
    """The same with two boxes to an AS, far apart, so that each AS is refused elsewhere."""
    return _chain(size, size // 2)


def _chain(size: int, ases: int) -> str:
    families = "families: [ipv4Unicast, l2vpnEvpn]"
    made = [_boxes(size)]
    for i in range(size):
        made.append(_doc("BGPRouter", f"r{i}", f"box: b{i}, asn: {70000 + i % ases}, {families}"))
        if i:
            made.append(_doc("BGPPeer", f"p{i}", f"between: [{{box: b{i - 1}}}, {{box: b{i}}}], {families}"))
    names = ", ".join(f"b{i}" for i in range(ases))
    return "".join(made) + _doc("Tunnel", "t", f"boxes: {{names: [{names}]}}, vni: 1, flood: {{mode: evpn}}")


def wrong_addresses(size: int) -> str:
    """Sessions at addresses that a box with many links does not have."""
    made = [_box(0), _routers(1)]
    for i in range(size):
        ends = f"{{box: b0, address: {_ip(10, 64, i)}}}, {{asn: 1, address: {_ip(172, 20, i)}}}"
        made += [
            _tunnel(i, more=f", gateways: {{b0: {_link(10, i)}}}"),
            _doc("BGPPeer", f"p{i}", f"between: [{ends}]"),
        ]
    return "".join(made)


def gateways(size: int) -> str:
    """Gateways of one Tunnel, each in a subnet of its own, and hosts outside."""
    given = ", ".join(f"b{i}: {_link(10, i)}" for i in range(size))
    macs = (f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}" for i in range(min(size, 4096)))
    hosts = ", ".join(
        f"{{mac: '{mac}', box: b0, addresses: [{_ip(11, 0, i)}]}}" for i, mac in enumerate(macs)
    )
    return _boxes(size) + _tunnel(0, more=f", gateways: {{{given}}}, hosts: [{hosts}]")


def lone_boxes_of_a_wide_bridge(size: int) -> str:
    """Tunnels and Ports of one box each, in a Bridge of all."""
    made = [_boxes(size), _doc("Bridge", "all", f"{LABELS}, interface: br-all, vlanAware: true, mtu: 1400")]
    for i in range(size):
        here = f"boxes: {{names: [b{i}]}}"
        made += [
            _tunnel(i, here, ", bridgeRef: all, vlan: 7"),
            _doc("Port", f"p{i}", f"{here}, interfaces: ['tap*'], bridge: all, access: 7"),
        ]
    return "".join(made)


def announced(size: int) -> str:
    """Segments that overlap one of all boxes, and BGP announces them."""
    made = [_boxes(size), _routers(size, ", redistribute: [{source: connected}]")]
    given = ", ".join(f"b{i}: {_ip(11, 0, i)}/8" for i in range(size))
    made.append(_tunnel(0, more=f", gateways: {{{given}}}"))
    for i in range(size):
        gateway = f", gateways: {{b{i}: {_link(11, i + size)}}}"
        made.append(_tunnel(i + 1, f"boxes: {{names: [b{i}]}}", gateway))
    return "".join(made)


def traced(size: int) -> str:
    """TracePolicies of all boxes that name links of smartxd's."""
    points = ", ".join(f"{{tunnel: t{i % 10}}}, {{name: vx{i + 90}}}" for i in range(64))
    policies = (_doc("TracePolicy", f"x{i}", f"{LABELS}, interfaces: [{points}]") for i in range(4))
    return _boxes(size) + "".join(_tunnel(i) for i in range(10)) + "".join(policies)


def filters(size: int) -> str:
    """Filters that are each long, and all different."""
    made = [_box(0)]
    for i in range(size):
        terms = " or ".join(f"ip[{k}] > {i % 256} and udp port {i * 7 + k + 1}" for k in range(7))
        made.append(
            _doc("TracePolicy", f"x{i}", f"{LABELS}, interfaces: [{{name: wan0}}], filter: '{terms}'")
        )
    return "".join(made)


def prefix_entries(size: int) -> str:
    """Entries of nested prefixes, none of which takes all of another."""
    entries = [f"prefix: '::/{n}', ge: {k}, le: {k}" for n in range(99, 0, -1) for k in range(n + 1, 100)]
    lists = (entries[i : i + 2_500] for i in (0, 2_000))
    numbered = (", ".join(f"{{seq: {i + 1}, action: permit, {e}}}" for i, e in enumerate(e)) for e in lists)
    made = [f"family: ipv6, entries: [{text}]" for text in numbered]
    return "".join(_doc("PrefixList", f"l{i}", made[i % 2]) for i in range(size))


def maps(size: int) -> str:
    """Route maps that call each other in a long chain, and all of them the first."""
    made = []
    for i in range(size):
        entries = (
            f"{{seq: {k + 1}, action: permit, call: m{called}}}" for k, called in enumerate((i + 1, 0))
        )
        made.append(_doc("RouteMap", f"m{i}", f"entries: [{', '.join(entries)}]"))
    return "".join(made)


def vlans(size: int) -> str:
    """Tunnels of one box and one VLAN of a Bridge."""
    bridge = _doc("Bridge", "all", f"{LABELS}, interface: br-all, vlanAware: true")
    return _box(0) + bridge + "".join(_tunnel(i, LABELS, ", bridgeRef: all, vlan: 7") for i in range(size))


def selectors(size: int) -> str:
    """Selectors of several labels, all different, for no box."""
    made = []
    for i in range(size):
        labels = f"all: all, even: '{i % 2}'"
        made += [_box(i, labels), _tunnel(i, f"boxes: {{matchLabels: {{{labels}, x: '{i}'}}}}")]
    return "".join(made)


def silenced(size: int) -> str:
    """Annotations that silence nothing."""
    silent = ", annotations: {check.smartx.io/SX301: x, check.smartx.io/SX302: y}, labels: {"
    return _boxes(size).replace(", labels: {", silent)


def ordinary(size: int) -> str:
    """An ordinary repo, for comparison."""
    return "".join(f"---\n{content.decode()}" for content in fleets.files(size).values())


CASES: dict[Callable[[int], str], int] = {
    ordinary: 4_800,
    names_of_ports: 76_000,
    patterns_of_ports: 60_000,
    patterns_of_many_boxes: 500,
    tunnels_beside_names: 48_000,
    memberships: 1_000,
    more_memberships: 3_000,
    anycast: 1_000,
    routes_into_overlays: 5_000,
    routes_of_one_box: 2_700,
    managed: 2_700,
    misspelled: 5_000,
    misspelled_labels: 2_500,
    hub: 1_900,
    hub_of_ases: 1_900,
    chain_of_ases: 1_900,
    chain_of_twins: 1_900,
    wrong_addresses: 2_700,
    gateways: 4_000,
    lone_boxes_of_a_wide_bridge: 1_900,
    announced: 1_900,
    traced: 460,
    filters: 2_600,
    prefix_entries: 8,
    maps: 5_500,
    vlans: 5_500,
    selectors: 2_700,
    silenced: 4_000,
}
"""Repos by about how much of it a file, or another bound, has room for."""


def files(text: str) -> dict[str, bytes]:
    """The documents of a text in files of the size that is allowed."""
    contents: list[list[str]] = [[]]
    size = 0
    for document in text.split("---\n")[1:]:
        size += len(document) + 4
        if size > FILE_BYTES_MAX:
            contents.append([])
            size = len(document) + 4
        contents[-1].append(document)
    return {f"{i:03}.yaml": "---\n".join(("", *part)).encode() for i, part in enumerate(contents)}


def measure(make: Callable[[int], str], size: int) -> tuple[float, float, float]:
    """Seconds of the processor to judge a repo, MB of memory at most, and how many MiB the repo has."""
    repo = files(make(size))
    began = time.process_time()
    judge(repo)
    return time.process_time() - began, peak_mb(), sum(map(len, repo.values())) / MIB


def run() -> list[Row]:
    """The rows; of two runs the faster one counts, because others use the machine too."""
    rows: list[Row] = []
    most, growth = 0.0, dict[str, float]()
    context = multiprocessing.get_context("spawn")
    for make, size in CASES.items():
        part = size // 4
        # A process for each run: what one has cached does not help the next.
        with context.Pool(1, maxtasksperchild=1) as pool:
            runs = pool.starmap(measure, [(make, n) for n in (part, part, size, size)], chunksize=1)
        (part_s, _, _), (seconds, memory, mib) = min(runs[:2]), min(runs[2:])
        name = make.__name__.replace("_", " ")
        most = max(most, memory)
        growth[name] = math.log(seconds / part_s) / math.log(size / part)
        what = f"{name}, {size}: {mib:.2f} MiB, {memory:.0f} MB, growth {growth[name]:.2f}"
        rows.append(Row(what, seconds, "s", S_MAX + S_PER_MIB_MAX * mib))
    steepest = max(growth, key=lambda name: growth[name])
    return [
        *rows,
        Row("memory of a process, most", most, "MB", MEMORY_MB_MAX),
        Row(f"growth exponent, greatest: {steepest}", growth[steepest], "", GROWTH_MAX),
    ]
