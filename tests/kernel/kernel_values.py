"""A tunnel, and how the kernel shows it: values that the diff's tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.kernel.observed import (
    KernelObserved,
    ObservedAddress,
    ObservedBridge,
    ObservedLink,
    ObservedPort,
    ObservedRoute,
    ObservedVxlan,
)
from smartxd.planes.kernel.state import (
    PROTOCOL,
    Address,
    Bridge,
    KernelState,
    Link,
    Object,
    Vlan,
    Vxlan,
    mark,
)
from smartxd.reconcile.plan import Ownership, Plan

SEG = ObjectRef("Tunnel", "seg")
OTHER = ObjectRef("Tunnel", "other")
BRIDGE = Bridge(SEG, "br100", 1450)
VXLAN = Vxlan(SEG, "vx100", 100, "192.0.2.1", "br100", 1450, group="239.1.1.100", underlay="wan")
ADDRESS = Address(SEG, "br100", "10.0.0.1/24")
STATE = KernelState((BRIDGE, VXLAN), (), (ADDRESS,))
WAN = ObservedLink("wan", 2, "veth")
WAN_ADDRESS = ObservedAddress("wan", "192.0.2.1/24")
MARKED_ADDRESS = ObservedAddress("br100", "10.0.0.1/24", PROTOCOL)


def seen(link: Link, **changes: Any) -> ObservedLink:
    """The link as the kernel has it when it is as wanted."""
    have = ObservedLink(link.name, sum(link.name.encode()), mtu=link.mtu, alias=mark(link.owner))
    if isinstance(link, Vxlan):
        vxlan = ObservedVxlan(
            link.vni,
            link.local,
            link.group,
            link.underlay,
            link.port,
            link.ttl,
            link.learning,
            link.remotes or frozenset(),
            link.stations,
        )
        port = ObservedPort(settings=link.settings) if link.bridge else None
        have = replace(have, kind="vxlan", vxlan=vxlan, master=link.bridge, port=port, link_local=False)
    else:
        have = replace(
            have,
            mac=link.mac or "02:00:00:00:00:01",
            link_local=link.link_local,
            forwarding4=link.forwarding4,
            forwarding6=link.forwarding6,
            hosts=link.hosts,
        )
    if isinstance(link, Vlan):
        have = replace(have, kind="vlan", vlan=(link.bridge, link.vid))
    if isinstance(link, Bridge):
        pvid = 0 if link.vlan_aware else 1
        bridge = ObservedBridge(link.vlan_aware, pvid, link.vlans, link.stp, link.multicast_snooping)
        have = replace(have, kind="bridge", bridge=bridge)
    return replace(have, **changes)


def observed(
    *links: ObservedLink,
    addresses: tuple[ObservedAddress, ...] = (),
    routes: tuple[ObservedRoute, ...] = (),
    marks: bool = True,
) -> KernelObserved:
    """The links and the underlay's."""
    return KernelObserved(
        {link.name: link for link in (WAN, *links)},
        {(a.link, a.address): a for a in (WAN_ADDRESS, *addresses)},
        {(r.destination, r.metric, r.table): r for r in routes},
        marks,
    )


def owning(*objects: Object) -> Ownership:
    return Ownership(frozenset(OwnedObject("kernel", o.id, o.owner) for o in objects))


ALL_OURS = owning(BRIDGE, VXLAN, ADDRESS)
WHOLE = observed(seen(BRIDGE), seen(VXLAN), addresses=(MARKED_ADDRESS,))


def steps(found: Plan) -> list[str]:
    return [f"{a.verb} {a.id}" for a in found.actions]


def reasons(found: Plan) -> list[str]:
    return [p.reason for p in found.problems]
