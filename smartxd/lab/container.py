"""A container, as a bridge of a box sees it: a namespace whose ``eth0`` ends in a port of the bridge."""

from __future__ import annotations

import re
from collections.abc import Collection

from smartxd.errors import LabError
from smartxd.lab import namespace
from smartxd.lab.layout import WAN, Layout
from smartxd.lab.state import ContainerRecord

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,10}")
_PORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


def check_name(name: str, boxes: Collection[str]) -> None:
    """LabError when no container can be called so."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} cannot name a container", "up to 11 of a-z, 0-9 and -")
    if name == WAN or name in boxes:
        raise LabError(f"{name!r} is taken by a box or the wide-area network", "give another name")


def check_port(layout: Layout, box: str, port: str) -> None:
    """LabError when no link of a box can be called so, or one is."""
    if not _PORT.fullmatch(port):
        raise LabError(f"{port!r} cannot name a port", "up to 15 of letters, 0-9, _, . and -")
    if port in namespace.links(layout.box(box).namespace):
        raise LabError(f"{box} has a link {port} already", "give the port another name")


def port_of(name: str, record: ContainerRecord) -> str:
    """The name of the container's port on the box."""
    return record.port or f"veth{name}"


def bridge_mtu(layout: Layout, box: str, bridge: str) -> int:
    """The MTU of a bridge of a box; LabError when there is none."""
    bridges = namespace.links(layout.box(box).namespace, "bridge")
    if bridge not in bridges:
        raise LabError(f"{box} has no bridge {bridge}", f"its bridges: {', '.join(bridges) or 'none yet'}")
    return int(bridges[bridge]["mtu"])


def plug(layout: Layout, name: str, record: ContainerRecord, mtu: int) -> None:
    """Make the container, or what is missing of it."""
    inside, outside, port = layout.namespace(name), layout.box(record.box).namespace, port_of(name, record)
    namespace.create(inside)
    if port not in namespace.links(outside):
        peer = f"peer name eth0 mtu {mtu} netns {inside}"
        namespace.batch(outside, [f"link add {port} mtu {mtu} type veth {peer}"])
    master = "" if record.port else f"master {record.bridge} "
    namespace.batch(outside, [f"link set {port} mtu {mtu} {master}up"])
    route = [f"route replace default via {record.gateway}"] if record.gateway else []
    lines = [f"link set eth0 mtu {mtu} up", f"addr replace {record.address} dev eth0", *route]
    namespace.batch(inside, lines)


def unplug(layout: Layout, name: str, record: ContainerRecord) -> None:
    """Remove the container; its port too, which the kernel would clear away with it at leisure."""
    outside, port = layout.box(record.box).namespace, port_of(name, record)
    if namespace.exists(outside) and port in namespace.links(outside):
        namespace.batch(outside, [f"link del {port}"])
    namespace.delete(layout.namespace(name))
