"""A document to a spec object: the envelope that all kinds share, and the located errors of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from smartxd.objects import ObjectRef
from smartxd.spec.document import Document
from smartxd.spec.fields import Labels, Name, SpecModel, any_of, one_of
from smartxd.spec.finding import Finding, Location, Rule, did_you_mean, shown
from smartxd.spec.kinds import KINDS
from smartxd.spec.places import Path

API_VERSION = "smartx.io/v1alpha1"

ERRORS_MAX = 4_000
"""Errors of one document that become findings: a hostile one has a hundred thousand."""

UNKNOWN_FIELD = Rule(
    "SX004",
    "unknown-field",
    "Every field is one that its kind has.",
    "A misspelled field would be a setting that silently does not hold, so nothing unknown is accepted."
    " `smartxctl schema KIND` and [specs.md](specs.md) list the fields; in an editor the JSON Schema"
    " completes them.",
    fixed=True,
)
MISSING_FIELD = Rule(
    "SX005",
    "missing-field",
    "Every field without a default is given.",
    "There is no value that would be right everywhere. The files under `specs/reference/` show each field.",
    fixed=True,
)
WRONG_VALUE = Rule(
    "SX006",
    "wrong-value",
    "Every value is of its field's type and range, and the fields of an object agree with each other.",
    "The kernel or FRR would refuse it, or take it for something else. The message says what was given and"
    " what would be right.",
    fixed=True,
)
UNKNOWN_KIND = Rule(
    "SX007",
    "unknown-kind",
    f"Every document is of `{API_VERSION}` and of a kind that this release has.",
    "A document that is not understood is never passed over: a box that ignored it would not be what the"
    " repo says.",
    fixed=True,
)
RULES = (UNKNOWN_FIELD, MISSING_FIELD, WRONG_VALUE, UNKNOWN_KIND)

ADOPT = "smartx.io/adopt"
"""The annotation by which an object may take over what somebody else has made just as it says."""

SpecT_co = TypeVar("SpecT_co", bound=SpecModel, covariant=True)


class Metadata(SpecModel):
    """What names and labels an object."""

    name: Name = Field(description="unique among the objects of its kind")
    labels: Labels = Field(default_factory=dict, description="what selectors choose boxes by")
    annotations: Labels = Field(
        default_factory=dict,
        description=(
            "for people and tools; check.smartx.io/<rule>: <reason> silences a rule for this object,"
            " smartx.io/adopt: 'true' lets it take over what somebody else has made just as it says"
        ),
    )


class Envelope(SpecModel):
    """What every document has."""

    api_version: Annotated[str, one_of(API_VERSION)] = Field(description="version of the language")
    kind: Annotated[str, one_of(*KINDS)] = Field(description="what it declares")
    metadata: Metadata = Field(description="what names and labels the object")
    spec: dict[str, Any] = Field(description="the fields of the kind")


@dataclass(frozen=True, slots=True)
class Object(Generic[SpecT_co]):
    """A spec object and the document it came from."""

    ref: ObjectRef
    metadata: Metadata
    spec: SpecT_co
    document: Document

    def finding(
        self, rule: Rule, path: Path, message: str, *, other: Location | None = None, hint: str = ""
    ) -> Finding:
        """A finding about the field at ``path`` of ``spec``; ``other`` is the place in conflict with it."""
        full: Path = ("spec", *path)
        while isinstance(full[-1], int) and full not in self.document:
            full = full[:-1]  # one value where a list may stand
        where = self.document.locate(full)
        return Finding(where, str(self.ref), _dotted(full), message, rule.id, rule.severity, other, hint)

    @property
    def adopts(self) -> bool:
        """Whether it may take over what somebody else has made just as it says."""
        return self.metadata.annotations.get(ADOPT) == "true"

    def at(self, *path: str | int) -> Location:
        """The place of a field of this object's ``spec``."""
        return self.document.locate(("spec", *path))


def read(document: Document) -> tuple[Object[SpecModel] | None, Iterable[Finding]]:
    """The object that a document declares, or all that is wrong with it."""
    data, errors = document.data, list[ErrorDetails]()
    envelope: Envelope | None = None
    spec: SpecModel | None = None
    try:
        envelope = Envelope.model_validate(data)
    except ValidationError as err:
        errors += islice(err.errors(include_url=False), ERRORS_MAX)
    model = KINDS.get(str(data.get("kind")))
    if model is not None and isinstance(data.get("spec"), dict):
        try:
            spec = model.model_validate(data["spec"])
        except ValidationError as err:
            found = islice(err.errors(include_url=False), ERRORS_MAX)
            errors += [{**e, "loc": ("spec", *e["loc"])} for e in found]
    if envelope is None or spec is None or errors:
        return None, _explain(document, model, errors)
    ref = ObjectRef(envelope.kind, envelope.metadata.name)
    return Object(ref, envelope.metadata, spec, document), []


def _explain(
    document: Document, model: type[SpecModel] | None, errors: Iterable[ErrorDetails]
) -> Iterator[Finding]:
    """One finding for each field: where a field may be one of several things, each of them complains."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for error in errors:
        by_path.setdefault(_path(document, error), []).append(error)
    above = {path[:i] for path in by_path for i in range(len(path))}
    for path, found in by_path.items():
        # pydantic counts the items that are right: where one is wrong a list may seem too short.
        within = len(found) > 1 or path in above
        alike = [e for e in found if not (within and e["type"] == "too_short")]
        if not alike:
            continue
        where, message = document.locate(path), _message(model, alike)
        yield Finding(where, _title(document), _dotted(path), message, _rule(path, alike).id)


def _rule(path: Path, errors: list[ErrorDetails]) -> Rule:
    kinds = {error["type"] for error in errors}
    if kinds <= {"missing", "missing_choice", "union_tag_not_found"}:
        return MISSING_FIELD
    if kinds == {"extra_forbidden"}:
        return UNKNOWN_FIELD
    return UNKNOWN_KIND if path in (("kind",), ("apiVersion",)) else WRONG_VALUE


def _path(document: Document, error: ErrorDetails) -> Path:
    """The part of pydantic's path that stands in the document: union branches and key marks do not."""
    path: Path = ()
    for step in error["loc"]:
        if (*path, step) in document:
            path = (*path, step)
    if error["type"] == "missing":
        return (*path, error["loc"][-1])
    if error["type"] == "wrong_field":
        return (*path, *error["ctx"]["path"])
    if error["type"].startswith("union_tag"):
        return (*path, error["ctx"]["discriminator"].strip("'"))
    return path


_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "float_type": "a number",
    "literal_error": "{expected}",
    "string_type": "text",
    "wanted": "{what}",
    "bool_type": "true or false",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "text that is not empty",
    "string_too_long": "text of at most {max_length} characters",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
}
"""What a field must be, by pydantic's types of errors; for the others its own words are plain enough."""


def _message(model: type[SpecModel] | None, errors: list[ErrorDetails]) -> str:
    """What is wrong with one field, as one sentence."""
    error, last = errors[0], str(errors[0]["loc"][-1])
    if error["type"] in {"missing", "union_tag_not_found"}:
        return "is missing"
    if error["type"] == "extra_forbidden":
        siblings = _siblings(model, error["loc"])
        other = last in siblings  # it is one of another branch of a union
        return "no such field with this choice" if other else "no such field" + did_you_mean(last, siblings)
    if error["type"] == "union_tag_invalid":
        words = error["ctx"]["expected_tags"].replace("'", "").split(", ")
        tag = error["input"][error["ctx"]["discriminator"].strip("'")]
        return f"must be {any_of(words)} (was {_short(tag)}){did_you_mean(tag, words)}"
    given, wanted = error["input"], [_wanted(e) for e in errors]
    if all(wanted):
        message = f"must be {' or '.join(dict.fromkeys(wanted))}"
    else:
        # The key and the value of a mapping have one place: both may be wrong in the same way.
        said = (f"must be {w}" if w else e["msg"] for w, e in zip(wanted, errors, strict=True))
        message = "; ".join(dict.fromkeys(text.removeprefix("Value error, ") for text in said))
    if error["type"] == "string_type" and isinstance(given, bool | int | float):
        message += "; put it in quotes"
    if not isinstance(given, dict | list) and error["type"] != "asdot":
        message += f" (was {_short(given)})"
    expected = [str(e["ctx"]["expected"]) for e in errors if e["type"] == "literal_error"]
    return message + did_you_mean(given, [word for text in expected for word in text.split("'")[1::2]])


def _wanted(error: ErrorDetails) -> str:
    """What the field must be; empty where the error's own words say it."""
    # Of text that a validator made pydantic does not say that it was text.
    measured = error["type"] in ("too_short", "too_long") and isinstance(error["input"], str)
    template = _WANTED.get(f"string_{error['type']}" if measured else error["type"], "")
    context = error.get("ctx", {})
    whole = {key: int(n) for key, n in context.items() if isinstance(n, float) and n.is_integer()}
    return template.format(**{**context, **whole})


def _siblings(model: type[SpecModel] | None, loc: tuple[str | int, ...]) -> list[str]:
    """The fields that exist where an unknown one was given."""
    current: list[type[SpecModel]] = [Envelope]
    if model is not None and loc[:1] == ("spec",):
        current, loc = [model], loc[1:]
    for step in loc[:-1]:
        inner = [f.annotation for m in current for n, f in m.model_fields.items() if (f.alias or n) == step]
        # A step that is no field is an index, a key, or the mark of a union's branch.
        current = [m for annotation in inner for m in _models(annotation)] or current
    return [f.alias or name for m in current for name, f in m.model_fields.items()]


def _models(annotation: object) -> list[type[SpecModel]]:
    """The models that a field's type is made of: those of unions, lists and mappings too."""
    if isinstance(annotation, type) and issubclass(annotation, SpecModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _title(document: Document) -> str:
    metadata = document.data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = document.data.get("kind")
    return f"{shown(kind)}/{shown(name)}" if isinstance(kind, str) and isinstance(name, str) else ""


def _short(value: object) -> str:
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if text else shown(step)
    return text
