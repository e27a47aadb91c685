"""The JSON Schema and the pages that are made from the language."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from smartxd.ctl import main
from smartxd.reconcile.planned import PlanReport
from smartxd.source import folder
from smartxd.spec import describe, schema
from smartxd.spec.document import parse
from smartxd.spec.envelope import Envelope
from smartxd.spec.fields import SpecModel
from smartxd.spec.kinds import KINDS
from smartxd.spec.load import RULES, judge

TOP = Path(__file__).parent.parent.parent
REFERENCE = TOP / "specs" / "reference"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and those within."""
    yield model
    for field in model.model_fields.values():
        for inner in schema_models(field.annotation):
            yield from models(inner)


def schema_models(annotation: object) -> list[type[SpecModel]]:
    if isinstance(annotation, type) and issubclass(annotation, SpecModel):
        return [annotation]
    return [m for argument in getattr(annotation, "__args__", ()) for m in schema_models(argument)]


def paths(value: Any, above: str = "") -> Iterator[str]:
    """The paths of all fields that a document gives, without indexes."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{above}.{key}"
            yield from paths(inner, f"{above}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, above)


def declared(kind: str) -> set[str]:
    """The paths of all fields that a kind has, as ``paths`` writes them."""
    made = schema.of_kind(kind)
    rows = describe._rows(made["$defs"], made["$defs"][KINDS[kind].__name__], "")
    return {f".spec.{path.replace('[]', '')}" for path, *_ in rows}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_what_it_is(kind: str) -> None:
    silent = [
        f"{model.__name__}.{name}"
        for top in (KINDS[kind], Envelope)
        for model in models(top)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert silent == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_reference_that_shows_every_field(kind: str) -> None:
    shown = {path for document in documents(REFERENCE / f"{kind.lower()}.yaml") for path in paths(document)}
    # Of names and matchLabels an object has one; Tunnel shows both.
    assert {path for path in declared(kind) - shown if ".boxes." not in path} == set()


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_reference_is_right_by_the_schema_that_its_first_line_names(path: Path) -> None:
    mark, _, named = path.read_text().split("\n", 1)[0].partition("$schema=")
    assert mark == "# yaml-language-server: "
    for made in (json.loads((path.parent / named).read_text()), schema.of_any()):
        Draft202012Validator.check_schema(made)
        for document in documents(path):
            Draft202012Validator(made).validate(document)


def test_the_references_together_are_a_right_repo() -> None:
    assert judge(folder.read(REFERENCE)).findings == ()


@pytest.mark.parametrize("path", sorted(TOP.glob("examples/*/*.yaml")), ids=lambda path: path.name)
def test_examples_are_right_by_the_schema_that_their_first_line_names(path: Path) -> None:
    named = path.read_text().split("\n", 1)[0].removeprefix("# yaml-language-server: $schema=")
    made = json.loads((path.parent / named).read_text())
    for document in documents(path):
        Draft202012Validator(made).validate(document)


REPOS = TOP / "tests" / "specs"
ANY = Draft202012Validator(schema.of_any())


def parsed(repo: Path) -> list[dict[str, Any]]:
    """The documents of a repo, as the loader reads them."""
    return [d.data for name, content in folder.read(repo).items() for d in parse(name, content)[0]]


@pytest.mark.parametrize("repo", sorted((REPOS / "right").iterdir()), ids=lambda path: path.name)
def test_right_repos_are_right_by_the_schema(repo: Path) -> None:
    assert [error.message for document in parsed(repo) for error in ANY.iter_errors(document)] == []


STRUCTURAL = [
    path for rule in ("SX004", "SX005", "SX007") for path in sorted((REPOS / "bad").glob(f"{rule}-*"))
]


@pytest.mark.parametrize("repo", STRUCTURAL, ids=lambda path: path.name)
def test_repos_of_wrong_structure_are_wrong_by_the_schema(repo: Path) -> None:
    assert not all(map(ANY.is_valid, parsed(repo)))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Tunel"},
        {"apiVersion": "smartx.io/v2"},
        {"spec": {"boxes": {"names": ["a"]}, "vni": 0, "flood": {"mode": "static"}}},
        {"spec": {"boxes": {"names": ["a"]}, "vni": 1, "flood": {"mode": "static"}, "vnj": 2}},
        {"spec": {"boxes": {"names": ["a"]}, "vni": 1, "flood": {"mode": "static", "group": "239.1.1.1"}}},
        {"spec": {"boxes": {"names": ["a"]}, "vni": 1}},
        {"metadata": {"name": "A"}},
    ],
)
def test_what_is_wrong_in_one_document_is_wrong_by_the_schema(change: dict[str, Any]) -> None:
    right = {
        "apiVersion": "smartx.io/v1alpha1",
        "kind": "Tunnel",
        "metadata": {"name": "t"},
        "spec": {"boxes": {"names": ["a"]}, "vni": 1, "flood": {"mode": "static"}},
    }
    validator = Draft202012Validator(schema.of_any())
    assert validator.is_valid(right)
    assert not validator.is_valid(right | change)


def test_what_is_generated_is_as_the_language_says() -> None:
    command = [sys.executable, TOP / "scripts" / "generate.py", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_every_rule_has_its_section_and_a_sentence_about_what_to_do() -> None:
    page = describe.rules(RULES.values())
    assert [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")] == sorted(RULES)
    assert [rule.id for rule in RULES.values() if len(rule.why.split()) < 12] == []


def test_rule_ids_and_names_are_given_once() -> None:
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize(
    ("argument", "title"), [([], "smartxd spec"), (["Port"], "Port"), (["plan"], "PlanReport")]
)
def test_schema_prints_one_schema(
    argument: list[str], title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["schema", *argument]) == 0
    made = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(made)
    assert made["title"] == title


def test_the_schema_of_a_plan_takes_a_plan() -> None:
    report = {"box": "a", "basis": "nothing", "base": "", "commit": "", "actions": [], "problems": []}
    numbers = dict.fromkeys(("create", "update", "recreate", "delete", "problems"), 0)
    report["summary"] = numbers | {"disruption": {"none": 0, "flap": 0, "recreate": 0}}  # type: ignore[assignment]
    Draft202012Validator(schema.of_model(PlanReport)).validate(report)
    PlanReport.model_validate(report)
