"""Right fleets of any size, of all kinds in the proportions of a research network."""

from __future__ import annotations

HEAD = "apiVersion: smartx.io/v1alpha1\n"
REGION = 8
"""Boxes of a region: they are joined by tunnels, and each has sessions with two reflectors."""
DOCUMENTS_OF_A_FILE = 5


def files(documents: int) -> dict[str, bytes]:
    """The content of spec files by path, of about so many documents in all."""
    made: list[str] = []
    region = 0
    while len(made) < documents:
        made += _region(region)
        region += 1
    made = made[:documents] if documents > 40 else _region(0)[:documents]
    groups = [made[i : i + DOCUMENTS_OF_A_FILE] for i in range(0, len(made), DOCUMENTS_OF_A_FILE)]
    return {f"site/{i:05}.yaml": "---\n".join(group).encode() for i, group in enumerate(groups)}


def _doc(kind: str, name: str, spec: str, labels: str = "") -> str:
    body = "".join(f"  {line}\n" for line in spec.strip().splitlines())
    return f"{HEAD}kind: {kind}\nmetadata:\n  name: {name}\n{labels}spec:\n{body}"


def _region(region: int) -> list[str]:
    """The documents of a region; each prefix of the list is right by itself."""
    boxes = [f"r{region}-b{i}" for i in range(REGION)]
    reflectors, clients = boxes[:2], boxes[2:]
    return [
        *(_box(region, i, name) for i, name in enumerate(boxes)),
        *(_router(name) for name in boxes),
        _peer(reflectors[0], reflectors[1], reflector=False),
        *(_peer(reflector, client, reflector=True) for client in clients for reflector in reflectors),
        *_switches(region, boxes),
        *_policies(region),
        _outside(region, boxes[0]),
        _route(region, boxes[0]),
        _trace(region),
    ]


def _switches(region: int, boxes: list[str]) -> list[str]:
    """A Bridge, six tunnels of each flood mode, three of them of all boxes, and a Port."""
    made = [
        _doc(
            "Bridge",
            f"r{region}-campus",
            f"boxes: {{matchLabels: {{region: r{region}}}}}\ninterface: br-campus\nvlanAware: true",
        )
    ]
    for i, flood in enumerate(("static", "evpn", "multicast") * 2):
        made.append(_tunnel(region, i, flood, boxes if i < 3 else boxes[i - 3 : i]))
    ports = "interfaces: ['tap*', 'vnet*']"
    where = f"boxes: {{names: [{', '.join(boxes)}]}}"
    made.append(_doc("Port", f"r{region}-vms", f"{where}\n{ports}\nbridge: r{region}-campus\naccess: 10"))
    return made


def _tunnel(region: int, number: int, flood: str, boxes: list[str]) -> str:
    high, low = divmod(region, 250)
    group = f", group: 239.{1 + number}.{high}.{low}" if flood == "multicast" else ""
    hosts = ((name, int(name.rpartition("b")[2]) + 1) for name in boxes)
    gateways = "".join(f"  {name}: 10.{100 + number}.{low}.{host}/24\n" for name, host in hosts)
    spec = (
        f"boxes:\n  names: [{', '.join(boxes)}]\nvni: {region * 10 + number + 1}\n"
        f"flood: {{mode: {flood}{group}}}\ngateways:\n{gateways}"
    )
    return _doc("Tunnel", f"r{region}-t{number}", spec)


def _policies(region: int) -> list[str]:
    own = (
        f"entries:\n  - {{seq: 10, action: deny, prefix: 10.{region % 250}.0.0/16, ge: 25}}\n"
        "  - {seq: 20, action: permit, prefix: 10.0.0.0/8, le: 32}"
    )
    inbound = (
        f"entries:\n  - seq: 10\n    action: permit\n    match: {{prefixList: r{region}-own}}\n"
        "    set: {localPreference: 200}\n  - seq: 20\n    action: permit"
    )
    return [_doc("PrefixList", f"r{region}-own", own), _doc("RouteMap", f"r{region}-in", inbound)]


def _route(region: int, box: str) -> str:
    high, low = divmod(region, 250)
    spec = (
        f"boxes: {{names: [{box}]}}\ndestination: 198.18.{low}.0/24\n"
        f"via:\n  - address: 172.{16 + high}.{low}.200"
    )
    return _doc("Route", f"r{region}-out", spec)


def _trace(region: int) -> str:
    spec = (
        f"boxes: {{matchLabels: {{region: r{region}}}}}\ninterfaces:\n  - tunnel: r{region}-t0\n"
        "  - name: wan0\nfilter: udp port 4789 or icmp or arp"
    )
    return _doc("TracePolicy", f"r{region}-flows", spec)


def _box(region: int, number: int, name: str) -> str:
    high, low = divmod(region, 250)
    return _doc(
        "Box",
        name,
        f"underlay:\n  interface: wan0\n  address: 172.{16 + high}.{low}.{number + 1}/24\n  mtu: 1600\n"
        f"management:\n  interfaces: [mgmt0]\n  networks: [192.0.2.0/24]\n"
        f"loopback: 10.{200 + high}.{low}.{number + 1}\nasn: {64512 + region % 1000}",
        f"  labels: {{region: r{region}, site: s{number}}}\n",
    )


def _router(name: str) -> str:
    return _doc("BGPRouter", name, f"box: {name}\nfamilies: [ipv4Unicast, l2vpnEvpn]\nmultipath: {{ibgp: 2}}")


def _peer(one: str, other: str, *, reflector: bool) -> str:
    client = "    routeReflectorClient: true\n" if reflector else ""
    spec = (
        f"between:\n  - box: {one}\n{client}  - box: {other}\nfamilies: [ipv4Unicast, l2vpnEvpn]\nbfd: {{}}"
    )
    return _doc("BGPPeer", f"{one}-{other}", spec)


def _outside(region: int, box: str) -> str:
    high, low = divmod(region, 250)
    spec = (
        f"between:\n  - box: {box}\n    in: {{routeMap: r{region}-in}}\n    maxPrefixes: {{limit: 10000}}\n"
        f"  - asn: {4200000000 + region}\n    address: 172.{16 + high}.{low}.254\npasswordRef: r{region}"
    )
    return _doc("BGPPeer", f"r{region}-transit", spec)
