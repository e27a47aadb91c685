"""IPv6 is routed on a link that says so, or the operator reads why it is not."""

from __future__ import annotations

from typing import Any

import pytest

from smartxd.objects import ObjectRef
from smartxd.planes.kernel import observe
from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import KernelObserved, ObservedLink
from smartxd.planes.kernel.picture import Picture
from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.state import Bridge, Forwarding, KernelState
from smartxd.planes.kernel.view import View
from smartxd.reconcile.plan import Ownership

TUNNEL, BOX = ObjectRef("Tunnel", "campus"), ObjectRef("Box", "seoul")
STATE = KernelState(
    links=(Bridge(TUNNEL, "br100", 1430, link_local=True, forwarding6=True),),
    forwarding=(Forwarding(BOX, "wan0", "ipv6"), Forwarding(BOX, "wan0", "ipv4")),
)


def planned(*, routes_ipv6: bool) -> Any:
    links = {"wan0": ObservedLink("wan0", 2)}
    return plan(STATE, KernelObserved(links, routes_ipv6=routes_ipv6), Ownership())


def test_where_the_kernel_routes_no_ipv6_each_owner_is_told_what_to_do() -> None:
    found = planned(routes_ipv6=False)
    assert [(p.owner, p.reason, p.permanent) for p in found.problems] == [
        (TUNNEL, "IPv6NotRouted", False),
        (BOX, "IPv6NotRouted", False),
    ]
    assert all("net.ipv6.conf.all.forwarding=1" in p.message for p in found.problems)
    # The rest is done all the same.
    assert [a.id for a in found.actions] == ["link br100", "ipv4 forwarding dev wan0"]


def test_where_it_does_nothing_is_said() -> None:
    found = planned(routes_ipv6=True)
    assert found.problems == ()
    assert [a.id for a in found.actions][1:] == ["ipv4 forwarding dev wan0", "ipv6 forwarding dev wan0"]


@pytest.mark.parametrize(("forces", "everywhere", "routes"), [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1)])
def test_a_kernel_routes_ipv6_by_link_or_everywhere(forces: int, everywhere: int, routes: int) -> None:
    picture = Picture(forces_forwarding=bool(forces))
    picture.all_forwarding6(bool(everywhere))
    assert picture.observed().routes_ipv6 == bool(routes)


@pytest.mark.kernel
def test_that_ipv6_is_routed_everywhere_is_heard(box: Any) -> None:
    with box.inside():
        rtnl = Rtnl()
        view = View(rtnl)
    try:
        assert not view.observed().links["wan"].forwarding6
        assert not observe.all_forwarding6(rtnl)
        box.run("sysctl -qw net.ipv6.conf.all.forwarding=1")
        assert observe.all_forwarding6(rtnl)
        assert view.observed().links["wan"].forwarding6
        box.run("sysctl -qw net.ipv6.conf.all.forwarding=0")
        assert not view.observed().links["wan"].forwarding6
    finally:
        view.close()
        rtnl.close()
