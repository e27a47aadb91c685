"""The pure half of the plane: from what is pinned to a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trace_box import tracer

from smartxd.objects import OwnedObject
from smartxd.planes.trace.diff import fingerprint, plan, wanted
from smartxd.planes.trace.filter import Filter
from smartxd.planes.trace.state import (
    INTERFACES_MAX,
    Attachment,
    Interface,
    PinnedPolicy,
    Sampling,
    TraceObserved,
    TraceState,
)
from smartxd.reconcile.plan import Change, Ownership, Verb

WAN = tracer("wan")
POLICY = PinnedPolicy(
    "wan",
    fingerprint(WAN, "f00d"),
    "aa",
    Path("/p/aa"),
    WAN.flows_max,
    frozenset({Attachment("wan", "ingress", 2)}),
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


def _interfaces(*names: str) -> dict[str, Interface]:
    return {name: Interface(2 + i, ethernet=True) for i, name in enumerate(names)}


def test_interfaces_beyond_the_bound_are_left_out_and_counted_those_that_came_last_first() -> None:
    taps = [f"tap{n}" for n in reversed(range(INTERFACES_MAX + 1))]
    there = replace(OBSERVED, interfaces=_interfaces("wan", *taps))
    made = _plan(replace(WAN, patterns=("tap*",)), observed=there)
    (change,) = made.actions[0].changes
    assert change.new == tuple(sorted(f"{name}/ingress" for name in ("wan", *taps[: INTERFACES_MAX - 1])))
    (problem,) = made.problems
    assert (problem.reason, problem.permanent) == ("TooManyInterfaces", False)
    assert problem.message.startswith("2 interfaces from tap1 on are left out")


def test_a_pattern_means_the_interfaces_that_are_there_and_none_is_no_problem() -> None:
    taps = replace(WAN, patterns=("tap?", "v*t.1"))
    assert not _plan(taps).problems
    there = _interfaces("wan", "tap1", "tap10", "vnet.1", "vnetx1", "vt.1")
    there["tap2"] = Interface(99, ethernet=False)
    (action,) = _plan(taps, observed=replace(OBSERVED, interfaces=there)).actions
    names = ("tap1/ingress", "vnet.1/ingress", "vt.1/ingress", "wan/ingress")
    assert (action.verb, action.changes[0].new) == (Verb.UPDATE, names)


def test_what_comes_and_goes_by_itself_is_followed_and_what_was_ended_is_repaired() -> None:
    taps = replace(WAN, patterns=("tap*",))
    there = replace(OBSERVED, interfaces=_interfaces("wan", "tap1"))
    (action,) = _plan(taps, observed=there).actions
    assert action.follows
    ended = replace(POLICY, attachments=frozenset(), ended=POLICY.attachments)
    (action,) = _plan(taps, observed=replace(there, policies=(ended,))).actions
    assert not action.follows


def test_another_filter_builds_that_policy_anew_and_no_other() -> None:
    other = tracer("wan", name="other")
    both = replace(OBSERVED, policies=(replace(POLICY, name="other"), POLICY))
    filtered = replace(WAN, filter=Filter("ip", ((0x06, 0, 0, 1),)))
    owned = OWNED | {OwnedObject("trace", "policy other", other.owner)}
    (action,) = _plan(other, filtered, observed=both, owned=owned).actions
    assert (action.id, action.verb) == ("policy wan", Verb.RECREATE)
    assert [c.field for c in action.changes] == ["selection"]
    sampled = replace(WAN, sampling=Sampling("count", 10))
    assert fingerprint(sampled, "") != fingerprint(replace(WAN, sampling=Sampling("count", 11)), "")


def test_a_filter_that_cannot_be_compiled_leaves_what_runs_and_says_why() -> None:
    made = _plan(replace(WAN, filter=Filter("tcp", refused="no libpcap")))
    assert not made
    (problem,) = made.problems
    assert (problem.reason, problem.message) == ("FilterRefused", "filter tcp: no libpcap")


def test_drops_that_this_kernel_cannot_tell_are_a_problem_and_nothing_else() -> None:
    both = replace(WAN, drops_max=64)
    refused = replace(OBSERVED, drops_refused="no BTF here")
    made = _plan(both, observed=refused)
    assert made.actions == ()
    assert [(p.reason, p.message) for p in made.problems] == [
        ("DropsUnavailable", "drops are not recorded: no BTF here")
    ]
    (action,) = _plan(both).actions
    assert (action.verb, action.changes) == (Verb.RECREATE, (Change("drops_max", None, 64),))


def test_a_tracer_of_drops_alone_is_attached_to_nothing_else() -> None:
    drops = replace(WAN, flows_max=None, drops_max=64)
    assert wanted(drops, OBSERVED.interfaces) == {Attachment("wan", "dropped", 2)}
