"""Right fleets of any size, of all kinds in the proportions of a research network."""

from __future__ import annotations

from collections.abc import Iterator

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
    high, low = divmod(region, 250)
    boxes = [f"r{region}-b{i}" for i in range(REGION)]
    documents = [_box(region, i, name) for i, name in enumerate(boxes)]
    documents += [_router(name) for name in boxes]
    reflectors, clients = boxes[:2], boxes[2:]
    documents.append(_peer(reflectors[0], reflectors[1], reflector=False))
    documents += [_peer(reflector, client, reflector=True) for client in clients for reflector in reflectors]
    documents.append(
        _doc(
            "Bridge",
            f"r{region}-campus",
            f"boxes: {{matchLabels: {{region: r{region}}}}}\ninterface: br-campus\nvlanAware: true",
        )
    )
    members = ", ".join(boxes)
    for i, flood in enumerate(("static", "evpn", "multicast", "static", "evpn", "multicast")):
        vni = region * 10 + i + 1
        group = f", group: 239.{1 + i}.{high}.{low}" if flood == "multicast" else ""
        some = members if i < 3 else ", ".join(boxes[i - 3 : i])
        gateways = "".join(
            f"  {name}: 10.{100 + i}.{low}.{j + 1}/24\n"
            for j, name in enumerate(boxes)
            if name in some.split(", ")
        )
        documents.append(
            _doc(
                "Tunnel",
                f"r{region}-t{i}",
                f"boxes:\n  names: [{some}]\nvni: {vni}\n"
                f"flood: {{mode: {flood}{group}}}\ngateways:\n{gateways}",
            )
        )
    documents.append(
        _doc(
            "Port",
            f"r{region}-vms",
            f"boxes: {{names: [{members}]}}\ninterfaces: ['tap*', 'vnet*']\n"
            f"bridge: r{region}-campus\naccess: 10",
        )
    )
    documents.append(
        _doc(
            "PrefixList",
            f"r{region}-own",
            f"entries:\n"
            f"  - {{seq: 10, action: deny, prefix: 10.{low}.0.0/16, ge: 25}}\n"
            f"  - {{seq: 20, action: permit, prefix: 10.0.0.0/8, le: 32}}",
        )
    )
    documents.append(
        _doc(
            "RouteMap",
            f"r{region}-in",
            f"entries:\n  - seq: 10\n    action: permit\n"
            f"    match: {{prefixList: r{region}-own}}\n    set: {{localPreference: 200}}\n"
            "  - seq: 20\n    action: permit",
        )
    )
    documents.append(_outside(region, boxes[0]))
    documents.append(
        _doc(
            "Route",
            f"r{region}-out",
            f"boxes: {{names: [{boxes[0]}]}}\n"
            f"destination: 198.18.{low}.0/24\nvia:\n  - address: 172.{16 + high}.{low}.200",
        )
    )
    documents.append(
        _doc(
            "TracePolicy",
            f"r{region}-flows",
            f"boxes: {{matchLabels: {{region: r{region}}}}}\n"
            f"interfaces:\n  - tunnel: r{region}-t0\n  - name: wan0\n"
            "filter: udp port 4789 or icmp or arp",
        )
    )
    return documents


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


def kinds(documents: dict[str, bytes]) -> Iterator[str]:
    """The kind of each document."""
    for content in documents.values():
        for line in content.decode().splitlines():
            if line.startswith("kind: "):
                yield line.removeprefix("kind: ")
