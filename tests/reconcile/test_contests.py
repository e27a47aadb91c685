"""Fights about an object: what is repaired at once, what is left for a while, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from smartxd.objects import Condition, ConditionType, ObjectRef
from smartxd.reconcile.conditions import Judge
from smartxd.reconcile.contest import PAUSE_S, QUIET_S, REPAIRS, WINDOW_S, Contests, drift
from smartxd.reconcile.plan import Action, Change, Verb

A, B = ObjectRef("Tunnel", "a"), ObjectRef("Tunnel", "b")
MTU = Action("kernel", "link vx100", A, Verb.UPDATE, changes=(Change("mtu", 1400, 1450),))
OTHER = Action("kernel", "link vx200", B, Verb.CREATE)
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def fought(every: float = 1.0) -> tuple[Contests, float]:
    """The repairs that make a fight, and the time of the last."""
    contests = Contests()
    for n in range(REPAIRS):
        begun = contests.note("kernel", [MTU], (), n * every)
    assert begun == ({A} if (REPAIRS - 1) * every < WINDOW_S else frozenset())
    return contests, (REPAIRS - 1) * every


def test_some_repairs_of_an_object_are_no_fight() -> None:
    contests = Contests()
    for n in range(REPAIRS - 1):
        assert contests.note("kernel", [MTU], (), float(n)) == frozenset()
    assert contests.resting("kernel", 4.0) == frozenset()
    assert contests.messages() == {}
    assert contests.next("kernel") == float("inf")


def test_as_many_repairs_over_a_longer_time_are_no_fight() -> None:
    contests, now = fought(every=WINDOW_S / (REPAIRS - 1))
    assert contests.resting("kernel", now) == frozenset()


def test_many_objects_that_change_once_are_no_fight() -> None:
    contests = Contests()
    many = [replace(MTU, id=f"link vx{n}") for n in range(1000)]
    assert contests.note("kernel", many, (), 0.0) == frozenset()
    assert contests.resting("kernel", 0.0) == frozenset()


def test_a_fight_is_about_one_object_and_names_its_last_change() -> None:
    contests, now = fought()
    contests.note("kernel", [OTHER], (), now)
    assert contests.resting("kernel", now) == {"link vx100"}
    assert contests.resting("frr", now) == frozenset()
    ((owner, (said,)),) = contests.messages().items()
    assert owner == A
    assert said.startswith("link vx100: mtu 1450 → 1400: someone keeps changing it back")
    last = replace(MTU, changes=(Change("mtu", 1300, 1450),))
    contests.note("kernel", (), [last], now + 1)
    assert "mtu 1450 → 1300" in contests.messages()[A][0]


def test_a_contested_object_is_repaired_at_most_once_a_minute() -> None:
    contests, now = fought()
    contests.note("kernel", (), [MTU], now + 1)
    assert contests.resting("kernel", now + PAUSE_S - 1) == {"link vx100"}
    assert contests.next("kernel") == now + PAUSE_S
    due = contests.next("kernel")
    assert contests.resting("kernel", due) == frozenset()
    assert contests.note("kernel", [MTU], (), due) == frozenset(), "it is no new fight"
    assert contests.resting("kernel", due + 1) == {"link vx100"}


def test_a_fight_ends_with_five_quiet_minutes() -> None:
    contests, now = fought()
    assert contests.next("kernel") == now + QUIET_S
    contests.note("kernel", (), (), now + QUIET_S - 1)
    assert contests.contested("kernel", "link vx100")
    contests.note("kernel", (), (), now + QUIET_S)
    assert not contests.contested("kernel", "link vx100")
    assert contests.next("kernel") == float("inf")


def test_what_waits_for_its_repair_is_not_quiet() -> None:
    contests, now = fought()
    contests.note("kernel", (), [MTU], now + QUIET_S + 1)
    assert contests.contested("kernel", "link vx100")
    contests.note("frr", (), (), now + QUIET_S + 2)
    assert contests.contested("kernel", "link vx100"), "a round of another plane tells nothing of it"


def test_a_new_commit_ends_all_fights() -> None:
    contests, now = fought()
    contests.reset()
    assert contests.resting("kernel", now) == frozenset()


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (MTU, "link vx100: mtu 1450 → 1400"),
        (OTHER, "link vx200: removed"),
        (replace(OTHER, verb=Verb.DELETE), "link vx200: made again"),
        (replace(MTU, changes=(Change("inventory", None, A),)), "link vx100"),
        (
            replace(MTU, changes=(Change("up", False, True), Change("remotes", {"b", "a"}, set()))),
            "link vx100: up true → false, remotes [] → a,b",
        ),
    ],
)
def test_drift_says_what_was_changed_and_from_what_to_what(action: Action, said: str) -> None:
    assert drift(action) == said


def test_contested_is_a_condition_until_it_is_quiet_again() -> None:
    def of(conditions: list[Condition]) -> list[Condition]:
        return [c for c in conditions if c.type is ConditionType.CONTESTED]

    assert of(Judge("c", NOW, {}).object(A, [], [])) == []
    made = Judge("c", NOW, {}).object(A, [], [], ["link vx100: mtu 1450 → 1400"])
    (contested,) = of(made)
    assert (contested.status, contested.message) == (True, "link vx100: mtu 1450 → 1400")
    previous = {(c.object, c.type): c for c in made}
    (later,) = of(Judge("c", NOW + timedelta(hours=1), previous).object(A, [], []))
    assert (later.status, later.reason, later.message) == (False, "Quiet", contested.message)
