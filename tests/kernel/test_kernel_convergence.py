"""Whatever kernel and inventory hold, a few plans lead to what is wanted, and nothing foreign is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernel_diff_properties import NAMES, OWNERS, Model, bare, others, states

from smartxd.objects import OwnedObject
from smartxd.planes.kernel.diff import plan
from smartxd.planes.kernel.observed import KernelObserved, ObservedAddress, ObservedLink
from smartxd.planes.kernel.state import NEWBORN_GROUP, PROTOCOL, KernelState, Vxlan, mark
from smartxd.reconcile.converge import converge
from smartxd.reconcile.plan import Ownership


@st.composite
def marked(draw: st.DrawFn) -> KernelObserved:
    """A box on which anything may bear a mark, or half of one."""
    base = draw(others())
    links = {}
    for name, link in base.links.items():
        newborn = name in NAMES and draw(st.booleans())
        alias = draw(st.one_of(st.just(""), st.just("by hand"), OWNERS.map(mark))) if name in NAMES else ""
        changes: dict[str, Any] = {"alias": alias, "up": draw(st.booleans())}
        if newborn:
            changes |= {"alias": "", "group": NEWBORN_GROUP}
        links[name] = replace(link, **changes)
    addresses = {key: ObservedAddress(*key, draw(st.sampled_from([0, PROTOCOL]))) for key in base.addresses}
    return replace(base, links=links, addresses=addresses)


def foreign(link: ObservedLink) -> bool:
    return link.owner is None and not link.newborn


@settings(max_examples=300, deadline=None)
@given(states(), marked(), st.data())
def test_plans_lead_to_what_is_wanted_and_touch_nothing_foreign(
    desired: KernelState, base: KernelObserved, data: st.DataObject
) -> None:
    desired = replace(desired, adopt=frozenset())
    model = Model(base)
    ids = [*(f"link {n}" for n in base.links), *(f"address {a} dev {n}" for n, a in base.addresses)]
    recorded = data.draw(st.lists(st.sampled_from(ids), unique=True))
    model.claim(OwnedObject("kernel", id, data.draw(OWNERS)) for id in recorded)
    for _ in range(3):  # The first adopts what an inventory has lost, the second may recreate it.
        converge(model, desired, model, ())

    last = plan(desired, model.observed, Ownership(model.owned()))
    assert not last.actions
    now = model.observed
    stopped = {p.owner for p in last.problems}
    for want in desired.links:
        have = now.links.get(want.name)
        if want.owner in stopped:
            continue
        assert have is not None
        assert (have.up, have.owner, have.mtu) == (True, want.owner, want.mtu)
        state = have.as_state(want.owner)
        assert state is not None
        assert not isinstance(want, Vxlan) or (state.bridge, state.vni) == (want.bridge, want.vni)
    for address in desired.addresses:
        assert address.owner in stopped or (address.link, address.address) in now.addresses
    for name, link in base.links.items():
        if foreign(link):
            assert bare(now.links[name]) == bare(link)
    wanted = {o.id for o in desired.links}
    for name, link in base.links.items():
        if f"link {name}" not in recorded and f"link {name}" not in wanted and name in now.links:
            assert now.links[name].alias == link.alias
    for key, address in base.addresses.items():
        if not address.marked and foreign(base.links[key[0]]):
            assert now.addresses.get(key) == address
