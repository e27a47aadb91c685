"""The pure half of the plane: from what is pinned to a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trace_box import tracer

from smartxd.objects import OwnedObject
from smartxd.planes.trace.diff import plan
from smartxd.planes.trace.state import (
    INTERFACES_MAX,
    Attachment,
    Interface,
    PinnedPolicy,
    TraceObserved,
    TraceState,
)
from smartxd.reconcile.plan import Change, Ownership, Verb

WAN = tracer("wan")
POLICY = PinnedPolicy(
    "wan", "f00d", "aa", Path("/p/aa"), WAN.flows_max, frozenset({Attachment("wan", "ingress", 2)})
)
OBSERVED = TraceObserved("f00d", (POLICY,), {"wan": Interface(2, ethernet=True)})


OWNED = frozenset({OwnedObject("trace", "policy wan", WAN.owner)})


def _plan(*tracers, observed=OBSERVED, owned=OWNED):
    return plan(TraceState(tracers), observed, Ownership(owned))


def test_what_is_as_wanted_plans_nothing() -> None:
    made = _plan(WAN)
    assert (made.actions, made.problems) == ((), ())


def test_other_sources_build_anew_and_say_so() -> None:
    (action,) = _plan(WAN, observed=replace(OBSERVED, fingerprint="beef")).actions
    assert action.verb is Verb.RECREATE
    assert [(c.field, c.old, c.new) for c in action.changes] == [("program", "f00d", "beef")]


def test_another_ifindex_under_the_same_name_attaches_anew() -> None:
    (action,) = _plan(WAN, observed=replace(OBSERVED, interfaces={"wan": Interface(9, True)})).actions
    assert action.verb is Verb.UPDATE


def test_two_live_builds_of_one_policy_are_brought_down_to_one() -> None:
    other = replace(POLICY, incarnation="bb", pin_dir=Path("/p/bb"))
    (action,) = _plan(WAN, observed=replace(OBSERVED, policies=(POLICY, other))).actions
    assert action.verb is Verb.UPDATE


def test_a_served_policy_that_the_inventory_has_lost_is_entered_again() -> None:
    (action,) = _plan(WAN, owned=frozenset()).actions
    assert (action.verb, action.owned) == (Verb.UPDATE, *OWNED)
    assert action.changes == (Change("inventory", None, WAN.owner),)


def test_what_is_not_wanted_goes_and_the_box_s_own_folder_is_key_enough() -> None:
    for owned in (OWNED, frozenset()):
        (action,) = _plan(owned=owned).actions
        assert (action.verb, action.owned, action.new) == (Verb.DELETE, *OWNED, None)
    assert not _plan(observed=replace(OBSERVED, policies=()))


def test_a_retired_policy_is_left_to_the_capture_process() -> None:
    retired = replace(OBSERVED, policies=(replace(POLICY, retired=True),))
    assert not _plan(observed=retired)
    assert [a.verb for a in _plan(WAN, observed=retired).actions] == [Verb.CREATE]


def test_more_interfaces_than_the_ledger_has_room_for_are_refused_for_good() -> None:
    made = _plan(tracer(*(f"e{n}" for n in range(INTERFACES_MAX + 1))))
    assert not made
    assert [(p.reason, p.permanent) for p in made.problems] == [("TooManyInterfaces", True)]
