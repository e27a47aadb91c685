"""What the kernel would show once a state had been applied: where a plan between commits starts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink, ObservedVxlan
from smartxd.planes.kernel.state import ADDRESS_PROTOCOL, Address, Bridge, KernelState, Link, mark
from smartxd.reconcile.plan import Action, Ownership, Verb


def assumed(state: KernelState, base: KernelObserved) -> KernelObserved:
    """``base``, in which nothing is smartxd's, with all of ``state`` that can be had on it."""
    return applied(base, plan(state, base, Ownership()).actions)


def applied(observed: KernelObserved, actions: Iterable[Action]) -> KernelObserved:
    """The kernel after actions that were planned on ``observed``, each of them done.

    A link that is made, also anew, has an index that none had before.
    """
    links, addresses = dict(observed.links), dict(observed.addresses)
    fresh = count(max((link.index for link in links.values()), default=0) + 1)
    for action in actions:
        old, new = action.old, action.new
        if isinstance(new, Address):
            addresses[new.link, new.address] = ObservedAddress(new.link, new.address, ADDRESS_PROTOCOL)
        elif isinstance(old, Address):
            addresses.pop((old.link, old.address), None)
        elif action.verb is Verb.UPDATE:
            links[new.name] = _link(new, links[new.name].index)
        else:
            if old is not None:
                del links[old.name]
                addresses = {place: a for place, a in addresses.items() if a.link != old.name}
                ports = [link for link in links.values() if link.master == old.name]
                links.update({port.name: replace(port, master="") for port in ports})
            if new is not None:
                links[new.name] = _link(new, next(fresh))
    return replace(observed, links=links, addresses=addresses)


def _link(state: Link, index: int) -> ObservedLink:
    """The link as the kernel shows it when it is as wanted."""
    alias = mark(state.owner)
    if isinstance(state, Bridge):
        return ObservedLink(state.name, index, "bridge", mtu=state.mtu, alias=alias)
    vxlan = ObservedVxlan(
        vni=state.vni,
        group=state.group,
        local=state.local,
        underlay=state.underlay,
        port=state.port,
        ttl=state.ttl,
        learning=state.learning,
    )
    return ObservedLink(
        state.name, index, "vxlan", mtu=state.mtu, alias=alias, master=state.bridge, vxlan=vxlan
    )
