"""What status says of tunnels and bridges: pure, from the links, addresses and forwarding tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from smartxd.planes.kernel.observed import FdbEntry, KernelObserved
from smartxd.planes.kernel.state import Bridge, KernelState, Vxlan
from smartxd.report import BridgeReport, PortReport, TunnelReport, VtepReport

_ALL_ZERO_MAC = "00:00:00:00:00:00"


def tunnels(
    desired: KernelState, observed: KernelObserved, fdb: Iterable[FdbEntry]
) -> tuple[TunnelReport, ...]:
    """The VXLAN links that the specs ask for, each with the remote VTEPs behind which it knows MACs."""
    # The all-zero MAC is where to flood: the group, or a static remote of whom nothing has been heard.
    heard = Counter((e.index, e.dst) for e in fdb if e.dst and e.mac != _ALL_ZERO_MAC)
    vteps: dict[int, list[VtepReport]] = {}
    for (index, dst), macs in sorted(heard.items()):
        vteps.setdefault(index, []).append(VtepReport(address=dst, macs=macs))
    reports = []
    for want in (link for link in desired.links if isinstance(link, Vxlan)):
        have = observed.links.get(want.name)
        reports.append(
            TunnelReport(
                owner=str(want.owner),
                link=want.name,
                vni=want.vni,
                local=want.local,
                group=want.group,
                up=have is not None and have.up,
                vteps=tuple(vteps.get(have.index, ())) if have else (),
            )
        )
    return tuple(reports)


def bridges(
    desired: KernelState, observed: KernelObserved, fdb: Iterable[FdbEntry]
) -> tuple[BridgeReport, ...]:
    """The bridges that the specs ask for, each with all its ports: the VTEP and what was plugged in."""
    learned = Counter(e.index for e in fdb if e.master and not e.permanent)
    ports: dict[str, list[PortReport]] = {}
    for link in sorted(observed.links.values(), key=lambda link: link.name):
        if link.port_state:
            port = PortReport(port=link.name, state=link.port_state, macs=learned[link.index])
            ports.setdefault(link.master, []).append(port)
    addresses: dict[str, list[str]] = {}
    for link_name, address in observed.addresses:
        addresses.setdefault(link_name, []).append(address)
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
