"""A plan as JSON: values that every reader knows, no secrets, every field explained."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smartxd.objects import ObjectRef
from smartxd.reconcile.plan import Action, Change, Disruption, Plan, Problem, Verb
from smartxd.reconcile.planned import PlanReport, plain, report

OWNER = ObjectRef("BGPPeer", "wan")


@dataclass(frozen=True)
class Session:
    owner: ObjectRef
    address: str
    families: tuple[str, ...] = ()
    password: str = field(default="", repr=False)


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (("a", ("b", 1)), ["a", ["b", 1]]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (Verb.CREATE, "create"),
        (OWNER, "BGPPeer/wan"),
        ({OWNER: None}, {"BGPPeer/wan": None}),
        (
            Session(OWNER, "192.0.2.1", password="x"),
            {"owner": "BGPPeer/wan", "address": "192.0.2.1", "families": []},
        ),
        (Path("/etc"), "/etc"),
        (True, True),
    ],
)
def test_values_are_those_of_json(value: object, json_value: object) -> None:
    assert plain(value) == json_value
    assert json.loads(json.dumps(plain(value))) == json_value


def action(verb: Verb, old: Session | None, new: Session | None, *changes: Change) -> Action:
    return Action("frr", "neighbor 192.0.2.1", OWNER, verb, old, new, Disruption.FLAP, changes)


def test_a_secret_is_not_shown_whatever_is_done_with_it() -> None:
    old, new = (
        Session(OWNER, "192.0.2.1", password="hunter1"),
        Session(OWNER, "192.0.2.1", password="hunter2"),
    )
    actions = (
        action(Verb.CREATE, None, new),
        action(Verb.UPDATE, old, new, Change("password", "hunter1", "hunter2")),
        action(Verb.DELETE, old, None),
    )
    found = report("gist1", [Plan(actions)], basis="observed")
    assert "hunter" not in found.model_dump_json()
    assert [a.fields["password"] for a in found.actions] == [(None, "***"), ("***", "***"), ("***", None)]


def test_what_goes_has_old_values_and_what_is_made_has_new_ones() -> None:
    session = Session(OWNER, "192.0.2.1")
    plan = Plan((action(Verb.CREATE, None, session), action(Verb.DELETE, session, None)))
    made, gone = report("gist1", [plan], basis="nothing").actions
    assert made.fields == {"address": (None, "192.0.2.1")}
    assert gone.fields == {"address": ("192.0.2.1", None)}


def test_two_changes_of_one_name_are_both_told() -> None:
    lines = Change("line", "neighbor x shutdown", None), Change("line", None, "neighbor x activate")
    (told,) = report("gist1", [Plan((action(Verb.UPDATE, None, None, *lines),))], basis="observed").actions
    assert told.fields == {"line": ("neighbor x shutdown", None), "line 2": (None, "neighbor x activate")}


def test_a_problem_of_two_planes_is_told_once() -> None:
    problem = Problem(OWNER, "MissingLink", "waits", permanent=True)
    found = report("gist1", [Plan(problems=(problem,))] * 2, basis="observed")
    assert [p.model_dump() for p in found.problems] == [
        {"owner": "BGPPeer/wan", "reason": "MissingLink", "message": "waits", "permanent": True}
    ]
    assert found.summary.problems == 1


def test_every_field_is_explained_and_docs_name_it() -> None:
    schema = PlanReport.model_json_schema()
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text()
    for model in (schema, *(d for d in schema["$defs"].values() if "properties" in d)):
        for name, described in model["properties"].items():
            assert described.get("description"), name
            assert f"`{name}`" in page or f".{name}`" in page, name
