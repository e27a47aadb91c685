"""What smartxd would do to a box, from specs alone: pure, nothing of a box is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from smartxd.daemon.foresight import after
from smartxd.desired import Desired
from smartxd.planes.frr import assume as assume_frr
from smartxd.planes.frr import diff as frr
from smartxd.planes.kernel import assume as assume_kernel
from smartxd.planes.kernel import diff as kernel
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedBridge, ObservedLink
from smartxd.planes.kernel.state import KernelState, PortRule, Vxlan
from smartxd.planes.trace import assume as assume_trace
from smartxd.planes.trace import diff as trace
from smartxd.planes.trace.state import Interface
from smartxd.reconcile.plan import Ownership, Plan
from smartxd.spec.kinds.box import BoxSpec

NOTHING = Desired()
"""What a box that has nothing of smartxd's has been made to be."""


def plans(base: Desired, head: Desired, boxes: Sequence[BoxSpec]) -> tuple[Plan, ...]:
    """The plan of each plane from a box that is as ``base`` says to ``head``, in the order of applying.

    ``boxes`` are the Box's spec before and after. What the specs name is taken to be there: an operator who
    changes an underlay in the specs changes it on the box as well.
    """
    owned = Ownership(base.kernel.objects() | base.frr.objects() | base.trace.objects())
    before = assume_kernel.assumed(base.kernel, underneath(boxes, [base.kernel, head.kernel]))
    interfaces = {link.name: Interface(link.index, ethernet=True) for link in before.links.values()}
    links = kernel.plan(head.kernel, before, owned)
    traced = after(links, assume_trace.assumed(base.trace, interfaces, head.trace))
    return (
        links,
        frr.plan(head.frr, assume_frr.assumed(base.frr), owned, assume_frr.secrets(base.frr, head.frr)),
        trace.plan(head.trace, traced, owned),
    )


def underneath(boxes: Sequence[BoxSpec], states: Sequence[KernelState] = ()) -> KernelObserved:
    """The kernel of a box that smartxd has not touched, as its specs describe it; the last one knows best.

    It has what each of ``states`` takes for somebody else's, less what the first of them has made.
    """
    links = {"lo": ObservedLink("lo", 1, mtu=65536)}
    addresses: dict[tuple[str, str], ObservedAddress] = {}
    for box in boxes:
        for name in box.management.interfaces if box.management is not None else ():
            links.setdefault(name, ObservedLink(name, len(links) + 1))
        underlay = box.underlay
        link = links.setdefault(underlay.interface, ObservedLink(underlay.interface, len(links) + 1))
        links[link.name] = replace(link, mtu=underlay.mtu)
        for address in filter(None, (underlay.address, underlay.address6)):
            addresses[link.name, str(address)] = ObservedAddress(link.name, str(address))
    made = {link.name for state in states[:1] for link in state.links}
    for state in states:
        for name, bridge in _of_others(state):
            if name not in made:
                kind = "bridge" if bridge is not None else ""
                links.setdefault(name, ObservedLink(name, len(links) + 1, kind=kind, bridge=bridge))
    return KernelObserved(links, addresses)


def _of_others(state: KernelState) -> Iterator[tuple[str, ObservedBridge | None]]:
    """The links that a state builds upon and does not make: external bridges, and where routes lead."""
    made = {link.name for link in state.links}
    plugs: list[Vxlan | PortRule] = [link for link in state.links if isinstance(link, Vxlan)]
    vlans: dict[str, bool] = {}
    for plugged in (*plugs, *state.ports):
        vlans[plugged.bridge] = vlans.get(plugged.bridge, False) or bool(plugged.settings.vlans)
    for name in sorted(vlans.keys() - made):
        yield name, ObservedBridge(vlan_aware=vlans[name])
    for name in sorted({hop.link for route in state.routes for hop in route.hops if hop.link} - made):
        yield name, None
