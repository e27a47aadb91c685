"""What a box is assumed to be once specs have been applied is what leaves nothing to do."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from plan_fleets import BOX, fleets

from smartxd.ctl.offline import NOTHING, plans, underneath
from smartxd.desired import Desired, desire
from smartxd.planes.frr import assume as assume_frr
from smartxd.planes.frr import diff as frr
from smartxd.planes.frr import render
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.running import parse
from smartxd.planes.frr.target import target
from smartxd.planes.kernel import assume as assume_kernel
from smartxd.planes.kernel import diff as kernel
from smartxd.planes.kernel.observed import KernelObserved
from smartxd.planes.trace import assume as assume_trace
from smartxd.planes.trace import diff as trace
from smartxd.planes.trace.state import Interface, Tracer
from smartxd.reconcile.plan import Ownership, Plan, Verb
from smartxd.spec.fleet import Fleet

bounded = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def owned(desired: Desired) -> Ownership:
    return Ownership(desired.kernel.objects() | desired.frr.objects() | desired.trace.objects())


def without_indexes(observed: KernelObserved) -> KernelObserved:
    return replace(observed, links={name: replace(link, index=0) for name, link in observed.links.items()})


def interfaces(observed: KernelObserved) -> dict[str, Interface]:
    return {link.name: Interface(link.index, ethernet=True) for link in observed.links.values()}


@bounded
@given(fleets())
def test_nothing_is_left_to_do_where_a_state_is_assumed(fleet: Fleet) -> None:
    desired, ours = desire(fleet, BOX), owned(desire(fleet, BOX))
    links = assume_kernel.assumed(desired.kernel, underneath([fleet.boxes[BOX].spec], [desired.kernel]))
    assert kernel.plan(desired.kernel, links, ours) == Plan()
    secrets = assume_frr.secrets(desired.frr)
    assert frr.plan(desired.frr, assume_frr.assumed(desired.frr), ours, secrets) == Plan()
    traced = assume_trace.assumed(desired.trace, interfaces(links))
    assert trace.plan(desired.trace, traced, ours) == Plan()


@bounded
@given(fleets())
def test_from_a_fleet_to_itself_there_is_nothing_to_do(fleet: Fleet) -> None:
    desired = desire(fleet, BOX)
    assert plans(desired, desired, [fleet.boxes[BOX].spec]) == (Plan(), Plan(), Plan())


@bounded
@given(fleets(), fleets())
def test_the_kernel_after_a_plan_is_as_if_made_from_nothing(before: Fleet, after: Fleet) -> None:
    a, b = desire(before, BOX), desire(after, BOX)
    base = underneath([before.boxes[BOX].spec, after.boxes[BOX].spec], [a.kernel, b.kernel])
    assumed = assume_kernel.assumed(a.kernel, base)
    plan = kernel.plan(b.kernel, assumed, owned(a))
    reached = assume_kernel.applied(assumed, plan.actions)
    assert plan.problems == ()
    assert without_indexes(reached) == without_indexes(assume_kernel.assumed(b.kernel, base))
    assert kernel.plan(b.kernel, reached, owned(b)) == Plan()


@bounded
@given(fleets(), fleets())
def test_frr_after_a_plan_is_as_if_made_from_nothing(before: Fleet, after: Fleet) -> None:
    a, b = desire(before, BOX), desire(after, BOX)
    running, made = assume_frr.assumed(a.frr), assume_frr.assumed(b.frr)
    secrets = assume_frr.secrets(a.frr, b.frr)
    plan = frr.plan(b.frr, running, owned(a), secrets)
    context = Context(passwords=secrets.tokens)
    lines = {step.id: render.lines(step.new, context) if step.new else () for step in plan.actions}
    reached = target(running, lines)
    assert plan.problems == ()
    assert set(reached.paths) == set(made.paths)
    assert parse(made.text) == made
    assert frr.plan(b.frr, reached, owned(b), secrets) == Plan()


@bounded
@given(fleets(), fleets())
def test_tracers_after_a_plan_are_those_of_the_new_specs(before: Fleet, after: Fleet) -> None:
    a, b = desire(before, BOX), desire(after, BOX)
    links, _, plan = plans(a, b, [before.boxes[BOX].spec, after.boxes[BOX].spec])
    assert plan.problems == ()
    assert {action.new for action in plan.actions if action.new} <= set(b.trace.tracers)
    gone = {action.id for action in plan.actions if action.verb is Verb.DELETE}
    assert gone == {t.id for t in a.trace.tracers} - {t.id for t in b.trace.tracers}
    steady = {t for t in b.trace.tracers if t.id not in {action.id for action in plan.actions}}
    # With a link its attachment goes by itself, also where another one takes its name.
    made = {action.id for action in links.actions if action.verb in (Verb.CREATE, Verb.RECREATE)}
    there = {"wan0", *(link.name for link in b.kernel.links if link.id not in made)}
    assert {watched(t, there) for t in steady} <= {watched(t, there) for t in a.trace.tracers}


def watched(tracer: Tracer, there: set[str]) -> tuple[object, ...]:
    """What a tracer does on the links that are there."""
    places = {(link, way) for link in tracer.interfaces if link in there for way in tracer.directions}
    return tracer.owner, tracer.flows_max, frozenset(places)


@bounded
@given(fleets())
def test_to_nothing_everything_goes_and_from_nothing_everything_is_made(fleet: Fleet) -> None:
    desired, box = desire(fleet, BOX), fleet.boxes[BOX].spec
    every = {(o.plane, o.id) for o in owned(desired).objects}
    for verb, (a, b) in {Verb.CREATE: (NOTHING, desired), Verb.DELETE: (desired, NOTHING)}.items():
        actions = [action for plan in plans(a, b, [box]) for action in plan.actions]
        assert {(action.plane, action.id) for action in actions} == every
        assert {action.verb for action in actions} <= {verb}
