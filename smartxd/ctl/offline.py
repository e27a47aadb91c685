"""What smartxd would do to a box, from specs alone: pure, nothing of a box is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smartxd.daemon.foresight import after
from smartxd.desired import Desired
from smartxd.planes.frr import assume as assume_frr
from smartxd.planes.frr import diff as frr
from smartxd.planes.kernel import assume as assume_kernel
from smartxd.planes.kernel import diff as kernel
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink
from smartxd.planes.trace import assume as assume_trace
from smartxd.planes.trace import diff as trace
from smartxd.planes.trace.state import Interface
from smartxd.reconcile.plan import Ownership, Plan
from smartxd.spec.kinds.box import BoxSpec

NOTHING = Desired()
"""What a box that has nothing of smartxd's has been made to be."""


def plans(base: Desired, head: Desired, boxes: Sequence[BoxSpec]) -> tuple[Plan, ...]:
    """The plan of each plane from a box that is as ``base`` says to ``head``, in the order of applying.

    ``boxes`` are the Box's spec before and after. What they name is taken to be there: an operator who
    changes an underlay in the specs changes it on the box as well.
    """
    owned = Ownership(base.kernel.objects() | base.frr.objects() | base.trace.objects())
    before = assume_kernel.assumed(base.kernel, underneath(boxes))
    interfaces = {link.name: Interface(link.index, ethernet=True) for link in before.links.values()}
    links = kernel.plan(head.kernel, before, owned)
    traced = after(links, assume_trace.assumed(base.trace, interfaces))
    return (
        links,
        frr.plan(head.frr, assume_frr.assumed(base.frr), owned),
        trace.plan(head.trace, traced, owned),
    )


def underneath(boxes: Sequence[BoxSpec]) -> KernelObserved:
    """The kernel of a box that smartxd has not touched, as its specs describe it; the last one knows best."""
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
    return KernelObserved(links, addresses)
