"""What is pinned and attached, and what could be traced: read from bpffs and the kernel, changing nothing."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

from smartxd import secretfile
from smartxd.planes.trace import bpffs, fields, pins, sources
from smartxd.planes.trace.state import Interface, TraceObserved

_SIOCGIFHWADDR = 0x8927
_IFREQ_BYTES = 40
_ETHERNET_TYPES = (1, 772)
"""ARPHRD_ETHER, and ARPHRD_LOOPBACK, whose packets carry an Ethernet header of zeros."""


def observe(bpffs_dir: Path, secrets_dir: Path) -> TraceObserved:
    """The state of tracing on this box; PlaneError when bpffs cannot be read."""
    found = interfaces()
    names = {interface.ifindex: name for name, interface in found.items()}
    try:
        policies = pins.pinned(bpffs_dir, names)
    except OSError as err:
        raise bpffs.refused(bpffs_dir, err) from err
    fingerprint = sources.fingerprint(sources.directory())
    secrets = secretfile.survey(secrets_dir, lambda _: "")
    return TraceObserved(fingerprint, policies, found, secrets, fields.refusal())


def interfaces() -> dict[str, Interface]:
    """The interfaces of this network namespace, by name."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for ifindex, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFHWADDR, struct.pack(f"{_IFREQ_BYTES}s", name.encode()))
            except OSError:
                continue  # gone between two looks
            found[name] = Interface(ifindex, struct.unpack_from("=H", answer, 16)[0] in _ETHERNET_TYPES)
    return found
