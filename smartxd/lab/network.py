"""The lab's wide-area network and management network, as lines of ``ip``: pure, and safe to do again.

All underlays are ports of one bridge that floods multicast, as one L2 segment; where boxes stand in
different subnets each has the others on-link. The management network is a second bridge beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from smartxd.errors import LabError
from smartxd.lab.layout import WAN
from smartxd.spec.addresses import Interface
from smartxd.spec.fleet import Fleet

MANAGEMENT = IPv4Network("198.18.0.0/24")
MANAGEMENT_BRIDGE = "mgmt"
CENTER_ADDRESS = MANAGEMENT[1]
CENTER_PORT = 8642
_FIRST_BOX = 10
BOXES_MAX = MANAGEMENT.num_addresses - 1 - _FIRST_BOX


@dataclass(frozen=True, slots=True)
class Node:
    """What the lab must know of a box: the links that are there before smartxd."""

    name: str
    interface: str
    addresses: tuple[Interface, ...]
    """Of the underlay, one of each family at most."""
    mtu: int = 1500
    management: str = "mgmt0"


def nodes_of(fleet: Fleet) -> tuple[Node, ...]:
    """The boxes of a fleet, by name; LabError for what one machine cannot hold."""
    nodes = []
    for name, box in fleet.boxes.items():
        underlay, management = box.spec.underlay, box.spec.management
        links = [i for i in (management.interfaces if management else ()) if i != underlay.interface]
        addresses = tuple(a for a in (underlay.address, underlay.address6) if a is not None)
        nodes.append(Node(name, underlay.interface, addresses, underlay.mtu, (*links, "mgmt0")[0]))
        for address in addresses:
            if isinstance(address, IPv4Interface) and address.network.overlaps(MANAGEMENT):
                raise LabError(
                    f"Box/{name}: underlay {address} is in {MANAGEMENT}, the lab's management network",
                    "give the underlay an address outside of it",
                )
    if not nodes:
        raise LabError("the specs declare no Box", "a lab boots every Box of the folder")
    if len(nodes) > BOXES_MAX:
        raise LabError(f"the specs declare {len(nodes)} boxes; a lab holds {BOXES_MAX}")
    return tuple(nodes)


def management_address(number: int) -> IPv4Address:
    """The management address of the box with this number, counted from 0."""
    return MANAGEMENT[_FIRST_BOX + number]


def wan_lines(present: Collection[str]) -> list[str]:
    """Lines for the WAN's namespace that make its bridges, less the links that are ``present``."""
    lines = [
        # Without snooping a bridge floods multicast to all ports, as VTEPs that look for each other need.
        f"link add {bridge} type bridge mcast_snooping 0"
        for bridge in (WAN, MANAGEMENT_BRIDGE)
        if bridge not in present
    ]
    prefix = MANAGEMENT.prefixlen
    return [
        *lines,
        f"addr replace {CENTER_ADDRESS}/{prefix} dev {MANAGEMENT_BRIDGE}",
        f"link set {WAN} up",
        f"link set {MANAGEMENT_BRIDGE} up",
    ]


def uplink_lines(node: Node, number: int, namespace: str, present: Collection[str]) -> list[str]:
    """Lines for the WAN's namespace that give the box in ``namespace`` its two links."""
    lines = []
    ends = (
        (f"w{number}", WAN, node.interface, node.mtu),
        (f"m{number}", MANAGEMENT_BRIDGE, node.management, 1500),
    )
    for port, bridge, link, mtu in ends:
        if port not in present:
            peer = f"peer name {link} mtu {mtu} netns {namespace}"
            lines.append(f"link add {port} mtu {mtu} type veth {peer}")
        lines.append(f"link set {port} mtu {mtu} master {bridge} up")
    return lines


def box_lines(node: Node, numbers: Mapping[str, int], nodes: Sequence[Node]) -> list[str]:
    """Lines for a box's own namespace: its addresses, and the way to boxes outside its subnet."""
    own = f"{management_address(numbers[node.name])}/{MANAGEMENT.prefixlen}"
    networks = [address.network for address in node.addresses]
    versions = {network.version for network in networks}
    others = [address.ip for n in nodes if n.name != node.name for address in n.addresses]
    far = [ip for ip in others if ip.version in versions and not any(ip in network for network in networks)]
    return [
        f"link set {node.interface} mtu {node.mtu} up",
        # Without duplicate address detection an IPv6 address is there at once.
        *(
            f"addr replace {address} dev {node.interface}{' nodad' * (address.version == 6)}"
            for address in node.addresses
        ),
        f"link set {node.management} up",
        f"addr replace {own} dev {node.management}",
        *(f"route replace {ip} dev {node.interface}" for ip in far),
    ]
