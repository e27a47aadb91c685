"""The steps from what the kernel has to what it should have: pure.

What goes, goes first, the dependent before what it depends on; then bridges, VLANs, VXLANs, ports,
addresses, forwarding and routes, each after what it needs. Only routes, and addresses on a link that stays,
go last, when their successors are there. Nothing is planned for an object that is not smartxd's by both keys,
mark and inventory, save that one with the mark of the wanted owner is adopted when the inventory has been
lost, and one that is just as wanted when the spec's annotation says so.
"""

from __future__ import annotations

from smartxd.planes.kernel.diff.addresses import Addresses
from smartxd.planes.kernel.diff.forwarding import Forwardings
from smartxd.planes.kernel.diff.links import Links
from smartxd.planes.kernel.diff.ports import Ports
from smartxd.planes.kernel.diff.routes import Routes
from smartxd.planes.kernel.diff.scene import Scene
from smartxd.planes.kernel.observed import KernelObserved
from smartxd.planes.kernel.state import PLANE, KernelState
from smartxd.reconcile.plan import Ownership, Plan


def plan(desired: KernelState, observed: KernelObserved, owned: Ownership) -> Plan:
    """The actions in the order in which they are applied, and what stands in the way of the rest."""
    scene = Scene(desired, observed, owned.of(PLANE))
    links, ports, addresses = Links(scene), Ports(scene), Addresses(scene)
    routes, forwardings = Routes(scene), Forwardings(scene)
    gone_links = links.deletions()
    unplugged = ports.deletions()
    links.plan()
    ports.plan()
    addresses.plan()
    forwardings.plan()
    early_addresses, late_addresses = addresses.deletions()
    early_routes, late_routes = routes.deletions()
    routes.plan()
    return Plan(
        (
            *early_routes,
            *early_addresses,
            *unplugged,
            *links.exchanged(gone_links),
            *scene.actions,
            *late_routes,
            *late_addresses,
            *forwardings.deletions(),
        ),
        tuple(scene.problems),
        ports.held(),
    )
