"""What status says of tunnels and bridges: pure, from the links, addresses and forwarding tables."""

from __future__ import annotations

from collections.abc import Iterable

from smartxd.planes.kernel.observed import FdbEntry, KernelObserved
from smartxd.planes.kernel.state import Bridge, KernelState, Vlan, Vxlan
from smartxd.report import BridgeReport, PortReport, TunnelReport, VtepReport

_ALL_ZERO_MAC = "00:00:00:00:00:00"


def tunnels(
    desired: KernelState, observed: KernelObserved, fdb: Iterable[FdbEntry]
) -> tuple[TunnelReport, ...]:
    """The VXLAN links that the specs ask for, each with its remote VTEPs and how many MACs are behind each.

    A VTEP is there when it was heard, when frames are flooded to it, or when EVPN says so.
    """
    macs: dict[int, dict[str, set[str]]] = {}
    for entry in fdb:
        if entry.dst:
            behind = macs.setdefault(entry.index, {}).setdefault(entry.dst, set())
            behind |= {entry.mac} - {_ALL_ZERO_MAC}
    reports = []
    for want in (link for link in desired.links if isinstance(link, Vxlan)):
        have = observed.links.get(want.name)
        group = have.vxlan.group if have is not None and have.vxlan is not None else ""
        vteps = sorted((macs.get(have.index) or {}).items()) if have is not None else []
        reports.append(
            TunnelReport(
                owner=str(want.owner),
                link=want.name,
                vni=want.vni,
                local=want.local,
                group=want.group,
                up=have is not None and have.up,
                vteps=tuple(VtepReport(address=a, macs=len(found)) for a, found in vteps if a != group),
            )
        )
    return tuple(reports)


def bridges(
    desired: KernelState, observed: KernelObserved, fdb: Iterable[FdbEntry]
) -> tuple[BridgeReport, ...]:
    """The bridges that the specs ask for, each with all its ports: the VTEP and what was plugged in.

    Its addresses are those of its VLANs too.
    """
    learned: dict[int, set[str]] = {}
    for entry in fdb:
        if entry.master and not entry.permanent:
            learned.setdefault(entry.index, set()).add(entry.mac)
    ports: dict[str, list[PortReport]] = {}
    for link in sorted(observed.links.values(), key=lambda link: link.name):
        if link.port is not None:
            port = PortReport(port=link.name, state=link.port.state, macs=len(learned.get(link.index, ())))
            ports.setdefault(link.master, []).append(port)
    bridge_of = {link.name: link.bridge for link in desired.links if isinstance(link, Vlan)}
    addresses: dict[str, list[str]] = {}
    for name, address in observed.addresses:
        addresses.setdefault(bridge_of.get(name, name), []).append(address)
    return tuple(
        BridgeReport(
            owner=str(want.owner),
            bridge=want.name,
            addresses=tuple(addresses.get(want.name, ())),
            ports=tuple(ports.get(want.name, ())),
        )
        for want in desired.links
        if isinstance(want, Bridge)
    )
