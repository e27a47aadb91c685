"""One round of a plane, against a plane whose world is a dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from smartxd.errors import StoreError
from smartxd.objects import Condition, ConditionType, ObjectRef, OwnedObject
from smartxd.reconcile.backoff import MAX_S, Backoff
from smartxd.reconcile.conditions import Judge
from smartxd.reconcile.converge import converge
from smartxd.reconcile.plan import Action, Change, Ownership, Plan, Problem, Result, Verb

A, B = ObjectRef("Tunnel", "a"), ObjectRef("Tunnel", "b")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class Things:
    """Desired values by id, all for one owner each."""

    values: Mapping[str, tuple[ObjectRef, int]]

    def objects(self) -> frozenset[OwnedObject]:
        return frozenset(OwnedObject("dict", id, owner) for id, (owner, _) in self.values.items())


@dataclass
class Book:
    """An inventory that remembers the order of its entries."""

    entries: dict[str, OwnedObject] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def owned(self) -> frozenset[OwnedObject]:
        return frozenset(self.entries.values())

    def claim(self, objects: Iterable[OwnedObject]) -> None:
        for o in objects:
            self.entries[o.id] = o
            self.log.append(f"claim {o.id}")

    def release(self, objects: Iterable[OwnedObject]) -> None:
        for o in objects:
            del self.entries[o.id]
            self.log.append(f"release {o.id}")


@dataclass
class DictPlane:
    """A world of numbers by name; what it refuses stays as it was."""

    book: Book
    world: dict[str, int] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    forgets: set[str] = field(default_factory=set)
    name: str = "dict"

    def has_leftovers(self) -> bool:
        return False

    def observe(self) -> dict[str, int]:
        return dict(self.world)

    def plan(self, desired: Things, observed: dict[str, int], owned: Ownership) -> Plan:
        ours = owned.of("dict")
        actions = [
            Action("dict", id, ours[id], Verb.DELETE, old=observed[id])
            for id in sorted(observed.keys() & ours.keys() - desired.values.keys())
        ]
        for id, (owner, value) in sorted(desired.values.items()):
            if observed.get(id) != value:
                verb = Verb.UPDATE if id in observed else Verb.CREATE
                actions.append(Action("dict", id, owner, verb, old=observed.get(id), new=value))
        return Plan(tuple(actions))

    def apply(self, plan: Plan, observed: dict[str, int]) -> Iterator[Result]:
        for action in plan.actions:
            self.book.log.append(f"{action.verb} {action.id}")
            if action.id in self.refuses:
                yield Result(action, Problem(action.owner, "Refused", f"{action.id} was refused"))
                continue
            if action.verb is Verb.DELETE:
                self.world.pop(action.id, None)
            elif action.id not in self.forgets:
                self.world[action.id] = action.new
            yield Result(action)


def test_an_object_is_claimed_before_it_is_made_and_released_after_it_is_gone() -> None:
    book = Book()
    plane = DictPlane(book)
    converge(plane, Things({"x": (A, 1)}), book, ())
    converge(plane, Things({}), book, ())
    assert book.log == ["claim x", "create x", "delete x", "release x"]


def test_a_second_round_does_nothing() -> None:
    book = Book()
    plane = DictPlane(book)
    desired = Things({"x": (A, 1), "y": (B, 2)})
    assert len(converge(plane, desired, book, ()).results) == 2
    again = converge(plane, desired, book, ())
    assert (again.results, again.failures, again.deferred) == ((), (), frozenset())


def test_one_failure_does_not_stop_the_rest() -> None:
    book = Book()
    plane = DictPlane(book, refuses={"x"})
    done = converge(plane, Things({"x": (A, 1), "y": (B, 2)}), book, ())
    assert plane.world == {"y": 2}
    assert [p.owner for p in done.failures] == [A]


def test_what_was_done_and_did_not_last_is_a_problem() -> None:
    book = Book()
    done = converge(DictPlane(book, forgets={"x"}), Things({"x": (A, 1)}), book, ())
    assert [p.reason for p in done.failures] == ["NotConverged"]


def test_an_owner_that_waits_is_left_alone() -> None:
    book = Book()
    plane = DictPlane(book)
    done = converge(plane, Things({"x": (A, 1), "y": (B, 2)}), book, {A})
    assert plane.world == {"y": 2}
    assert done.deferred == {A}
    assert converge(plane, Things({"y": (B, 2)}), book, {A}).deferred == frozenset()


def test_an_object_that_rests_is_left_alone_and_so_said() -> None:
    book = Book()
    plane = DictPlane(book)
    desired = Things({"x": (A, 1), "y": (A, 2)})
    converge(plane, desired, book, ())
    plane.world = {"x": 9, "y": 9}
    done = converge(plane, desired, book, (), {"x"})
    assert plane.world == {"x": 9, "y": 2}
    assert [a.id for a in done.held] == ["x"]
    assert done.failures == ()
    assert {o.id for o in done.known} == {"x", "y"}


def test_what_a_plan_holds_stays_in_the_book() -> None:
    class Ports(DictPlane):
        def plan(self, desired: Things, observed: dict[str, int], owned: Ownership) -> Plan:
            return Plan(held=frozenset({"port"}))

    book = Book({id: OwnedObject("dict", id, A) for id in ("port", "ghost")})
    converge(Ports(book), Things({}), book, ())
    assert set(book.entries) == {"port"}


def test_what_is_not_ours_is_never_deleted() -> None:
    book = Book()
    plane = DictPlane(book, world={"theirs": 9})
    converge(plane, Things({}), book, ())
    assert plane.world == {"theirs": 9}


def test_an_entry_whose_object_is_gone_is_struck() -> None:
    book = Book({"ghost": OwnedObject("dict", "ghost", A), "other": OwnedObject("frr", "other", A)})
    converge(DictPlane(book), Things({}), book, ())
    assert set(book.entries) == {"other"}


def test_an_object_that_could_not_be_deleted_stays_in_the_book() -> None:
    book = Book()
    plane = DictPlane(book)
    converge(plane, Things({"x": (A, 1)}), book, ())
    plane.refuses = {"x"}
    converge(plane, Things({}), book, ())
    assert "x" in book.entries


WORLDS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6)


@given(st.lists(WORLDS, max_size=6), st.lists(WORLDS, max_size=6))
def test_any_sequence_of_specs_and_drift_ends_in_the_last_spec(
    specs: list[dict[str, int]], drift: list[dict[str, int]]
) -> None:
    book = Book()
    plane = DictPlane(book)
    for number, spec in enumerate(specs):
        desired = Things({id: (A, value) for id, value in spec.items()})
        changed = drift[number] if number < len(drift) else {}
        plane.world.update({id: value for id, value in changed.items() if id in book.entries})
        converge(plane, desired, book, ())
        assert plane.world == spec
        assert set(book.entries) == set(spec)


def test_a_failed_owner_waits_longer_each_time_and_at_most_so_long() -> None:
    backoff = Backoff(lambda: 0.5)
    now, waits = 0.0, []
    for _ in range(14):
        backoff.note([A], [Problem(A, "Refused", "")], (), now)
        due = backoff.next()
        assert backoff.waiting(now) == {A}
        assert backoff.waiting(due) == frozenset()
        waits.append(due - now)
        now = due
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == MAX_S


def test_success_ends_the_wait_and_a_permanent_problem_waits_for_the_spec() -> None:
    backoff = Backoff(lambda: 0.5)
    backoff.note([A, B], [Problem(A, "R", ""), Problem(B, "R", "", permanent=True)], (), 0.0)
    backoff.note([A], [], {B}, 10.0)
    assert backoff.waiting(1e9) == {B}
    assert backoff.next() == float("inf")
    backoff.reset()
    assert backoff.waiting(0.0) == frozenset()


def test_an_owner_for_whom_nothing_is_left_to_do_waits_no_more() -> None:
    for permanent in (False, True):
        backoff = Backoff(lambda: 0.5)
        backoff.note([A], [Problem(A, "R", "", permanent)], (), 0.0)
        backoff.note([], [], {A}, 0.5)
        assert backoff.waiting(0.5) == {A}
        backoff.note([], [], (), 0.6)
        assert backoff.next() == float("inf")
        assert backoff.waiting(0.6) == frozenset()


def test_what_was_wrong_is_remembered_while_an_owner_waits() -> None:
    backoff = Backoff(lambda: 0.5)
    problem = Problem(A, "R", "the reason")
    backoff.note([A], [problem], (), 0.0)
    assert backoff.problems({A}) == (problem,)
    assert backoff.problems({B}) == ()


class FullBook(Book):
    """An inventory on a full disk."""

    def claim(self, objects: Iterable[OwnedObject]) -> None:
        if list(objects):
            raise StoreError("disk full")


def test_what_cannot_be_recorded_is_not_made_and_what_is_known_is_still_repaired() -> None:
    book = FullBook({"x": OwnedObject("dict", "x", A)})
    plane = DictPlane(book, world={"x": 9})
    done = converge(plane, Things({"x": (A, 1), "y": (B, 2)}), book, ())
    assert plane.world == {"x": 1}
    assert [(p.owner, p.reason) for p in done.failures] == [(B, "NotRecorded")]


def of_type(conditions: list[Condition], type: ConditionType) -> Condition:
    (found,) = [c for c in conditions if c.type is type]
    return found


def test_a_condition_keeps_its_time_while_its_status_is_the_same() -> None:
    first = Judge("c1", NOW, {}).object(A, [], [])
    previous = {(c.object, c.type): c for c in first}
    later = NOW + timedelta(minutes=5)
    same = of_type(Judge("c2", later, previous).object(A, [], []), ConditionType.READY)
    assert (same.since, same.commit) == (NOW, "c2")
    other = of_type(Judge("c2", later, previous).object(A, [Problem(A, "R", "m")], []), ConditionType.READY)
    assert (other.since, other.reason) == (later, "R")


def test_a_permanent_problem_stalls_and_another_is_tried_again() -> None:
    judge = Judge("c", NOW, {})
    stalled = judge.object(A, [Problem(A, "X", "m"), Problem(A, "Y", "n", permanent=True)], [])
    assert of_type(stalled, ConditionType.STALLED).status
    assert not of_type(stalled, ConditionType.RECONCILING).status
    assert of_type(stalled, ConditionType.READY).reason == "Y"
    retried = judge.object(A, [Problem(A, "X", "m")], [])
    assert of_type(retried, ConditionType.RECONCILING).status
    assert not of_type(retried, ConditionType.STALLED).status


def test_drift_is_said_and_remembered_after_the_repair() -> None:
    repair = Action("kernel", "link vx100", A, Verb.UPDATE, changes=(Change("mtu", 1400, 1450),))
    repaired = Judge("c", NOW, {}).object(A, [], [repair])
    drifted = of_type(repaired, ConditionType.DRIFTED)
    assert (drifted.status, drifted.reason) == (False, "Repaired")
    assert drifted.message == "changed by someone else: link vx100: mtu 1450 → 1400"
    later = Judge("c", NOW + timedelta(hours=1), {(c.object, c.type): c for c in repaired}).object(A, [], [])
    assert of_type(later, ConditionType.DRIFTED).since == NOW


def test_a_box_is_ready_when_all_of_it_is() -> None:
    judge = Judge("c", NOW, {})
    box = ObjectRef("Box", "x")
    good, bad = judge.object(A, [], []), judge.object(B, [Problem(B, "R", "m")], [])
    assert judge.box(box, good, []).status
    assert judge.box(box, [*good, *bad], []).message == "not Ready: Tunnel/b"
    own = judge.object(box, [Problem(box, "KernelRefused", "no")], [])
    assert judge.box(box, good, own).reason == "KernelRefused"
