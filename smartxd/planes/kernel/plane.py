"""The kernel plane as the reconcile loop sees it."""

from __future__ import annotations

from collections.abc import Iterator

from smartxd.planes.kernel import tables
from smartxd.planes.kernel.apply import apply
from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observe import observe_fdb
from smartxd.planes.kernel.observed import KernelObserved
from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.state import PLANE, Address, KernelState, Link
from smartxd.planes.kernel.sysctl import Sysctls
from smartxd.planes.kernel.view import View
from smartxd.reconcile.plan import Ownership, Plan, Result
from smartxd.report import BridgeReport, TunnelReport

_HALF_TOLD = (Address, *Link.__args__)
"""What the kernel does not tell everything of, or not at once."""


class KernelPlane:
    """The L2 and L3 of a network namespace: that of the thread that makes it. Any thread may use it."""

    name = PLANE

    def __init__(self) -> None:
        self._rtnl, self._sysctls = Rtnl(), Sysctls()
        self.view = View(self._rtnl)

    def has_leftovers(self) -> bool:
        """Never: what bears the mark but is not in the inventory may be anyone's."""
        return False

    def observe(self) -> KernelObserved:
        """What is there; PlaneError ``KernelBusy`` when it does not rest while it is read."""
        return self.view.observed()

    def resync(self) -> None:
        """Have the next look read everything, whatever the kernel has told."""
        self.view.resync()

    def plan(self, desired: KernelState, observed: KernelObserved, owned: Ownership) -> Plan:
        """The steps from observed to desired."""
        return plan(desired, observed, owned)

    def apply(self, plan: Plan, observed: KernelObserved) -> Iterator[Result]:
        """Do the steps; PlaneError ``NotPermitted`` when this process may not."""
        made = [action.new for action in plan.actions]
        links = {o.link if isinstance(o, Address) else o.name for o in made if isinstance(o, _HALF_TOLD)}
        try:
            yield from apply(self._rtnl, self._sysctls, plan, observed)
        finally:
            self.view.doubt(links)

    def forwarding(
        self, desired: KernelState, observed: KernelObserved
    ) -> tuple[tuple[TunnelReport, ...], tuple[BridgeReport, ...]]:
        """The VXLAN links with the remote VTEPs that they know now, and the bridges with their ports."""
        fdb = observe_fdb(self._rtnl)
        return tables.tunnels(desired, observed, fdb), tables.bridges(desired, observed, fdb)

    def close(self) -> None:
        """Give the sockets back. The network stays as it is."""
        self.view.close()
        self._sysctls.close()
        self._rtnl.close()
