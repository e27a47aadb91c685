"""What a box's specs ask of its machine. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from smartxd.desired import Desired
from smartxd.planes.frr.needs import daemons
from smartxd.planes.frr.state import Neighbor
from smartxd.planes.kernel.state import Bridge, Vlan, Vxlan
from smartxd.planes.trace.state import RING_BYTES, Tracer

_FLOW_BYTES = 272
"""Room for a plain flow and another: keys, values and what the kernel keeps beside them."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Nothing of it where no specs are known."""

    links: frozenset[str] = frozenset()
    """Kinds of links, as planes.kernel.capabilities names them."""
    interfaces: frozenset[str] = frozenset()
    """Links by name that smartxd makes, or traces."""
    traced: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    """What tracers are to record that the kernel's tracepoints tell: ``drops``, ``tcp``."""
    forwards6: bool = False
    frr: bool = False
    daemons: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    groups: int = 0
    """Multicast groups over IPv4 that one UDP port joins: the kernel counts them by socket."""
    memory_bytes: int = 0
    """Of flow maps."""
    objects: tuple[str, ...] = field(default=())
    """The spec objects that concern the box."""


def needs(desired: Desired) -> Needs:
    """What smartxd needs to make the box what it is desired to be."""
    links = desired.kernel.links
    kinds = {"vxlan" for link in links if isinstance(link, Vxlan)}
    kinds |= {"bridge" for link in links if isinstance(link, Bridge)}
    kinds |= {"vlan filtering" for link in links if isinstance(link, Bridge) and link.vlan_aware}
    kinds |= {"802.1q" for link in links if isinstance(link, Vlan)}
    groups = {(link.port, link.group) for link in links if isinstance(link, Vxlan) and "." in link.group}
    traced = frozenset(name for tracer in desired.trace.tracers for name in tracer.interfaces)
    secrets = {part.secret for part in desired.frr.parts if isinstance(part, Neighbor) and part.secret}
    secrets |= {t.privacy.key for t in desired.trace.tracers if t.privacy is not None and t.privacy.key}
    return Needs(
        links=frozenset(kinds),
        interfaces=frozenset(link.name for link in links) | traced,
        traced=traced,
        told=frozenset[str]().union(*(tracer.probes for tracer in desired.trace.tracers)),
        forwards6=any(f.family == "ipv6" for f in desired.kernel.forwarding)
        or any(not isinstance(link, Vxlan) and link.forwarding6 for link in links),
        frr=bool(desired.frr.parts),
        daemons=daemons(part.id for part in desired.frr.parts) if desired.frr.parts else (),
        secrets=tuple(sorted(secrets)),
        groups=max(Counter(port for port, _ in groups).values(), default=0),
        memory_bytes=sum(map(_memory_bytes, desired.trace.tracers)),
        objects=tuple(map(str, desired.objects)),
    )


def _memory_bytes(tracer: Tracer) -> int:
    """Of the maps that grow with what is traced."""
    ring = 0 if tracer.snap_length is None else RING_BYTES
    entries = tracer.flow_entries + sum(tracer.probes.values())
    return 2 * entries * _FLOW_BYTES + ring
