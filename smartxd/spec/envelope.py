"""A document to a spec object: the envelope that all kinds share, and the located errors of its fields."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from smartxd.objects import ObjectRef
from smartxd.spec.document import Document, Finding, Path, shown
from smartxd.spec.fields import Labels, Name, SpecModel, one_of
from smartxd.spec.kinds import KINDS

API_VERSION = "smartx.io/v1alpha1"

SpecT_co = TypeVar("SpecT_co", bound=SpecModel, covariant=True)


class Metadata(SpecModel):
    """What names and labels an object."""

    name: Name
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)


class _Envelope(SpecModel):
    api_version: Annotated[str, one_of(API_VERSION)]
    kind: Annotated[str, one_of(*KINDS)]
    metadata: Metadata
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Object(Generic[SpecT_co]):
    """A spec object and the document it came from."""

    ref: ObjectRef
    metadata: Metadata
    spec: SpecT_co
    document: Document

    def finding(self, path: Path, message: str) -> Finding:
        """A finding about the field at ``path`` of this object's ``spec``."""
        full: Path = ("spec", *path)
        return Finding(self.document.locate(full), str(self.ref), _dotted(full), message)

    def at(self, *path: str | int) -> str:
        """``file:line:column`` of a field of this object's ``spec``."""
        return str(self.document.locate(("spec", *path)))


def read(document: Document) -> tuple[Object[SpecModel] | None, Iterable[Finding]]:
    """The object that a document declares, or all that is wrong with it."""
    data, errors = document.data, list[ErrorDetails]()
    envelope: _Envelope | None = None
    spec: SpecModel | None = None
    try:
        envelope = _Envelope.model_validate(data)
    except ValidationError as err:
        errors += err.errors(include_url=False)
    model = KINDS.get(str(data.get("kind")))
    if model is not None and isinstance(data.get("spec"), dict):
        try:
            spec = model.model_validate(data["spec"])
        except ValidationError as err:
            errors += [{**e, "loc": ("spec", *e["loc"])} for e in err.errors(include_url=False)]
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
    for path, alike in by_path.items():
        yield Finding(document.locate(path), _title(document), _dotted(path), _message(model, alike))


def _path(document: Document, error: ErrorDetails) -> Path:
    """The part of pydantic's path that stands in the document: union branches and key marks do not."""
    path: Path = ()
    for step in error["loc"]:
        if (*path, step) in document:
            path = (*path, step)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else path


_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_type": "text",
    "ip_v4_address": "an IPv4 address, as 192.0.2.1",
    "ip_v4_interface": "an IPv4 address with its prefix length, as 192.0.2.1/24",
    "ip_v4_network": "an IPv4 prefix, as 192.0.2.0/24",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
}
"""What a field must be, by pydantic's types of errors; for the others its own words are plain enough."""


def _message(model: type[SpecModel] | None, errors: list[ErrorDetails]) -> str:
    """What is wrong with one field, as one sentence."""
    error, last = errors[0], str(errors[0]["loc"][-1])
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return "no such field" + _did_you_mean(last, _siblings(model, error["loc"]))
    given = error["input"]
    wanted = [_WANTED[e["type"]].format(**e.get("ctx", {})) for e in errors if e["type"] in _WANTED]
    if len(wanted) == len(errors):
        message = f"must be {' or '.join(wanted)}"
    else:
        message = "; ".join(e["msg"].removeprefix("Value error, ") for e in errors)
        message = f"{message[:1].lower()}{message[1:]}"
    if error["type"] == "string_type" and isinstance(given, bool | int | float):
        message += "; put it in quotes"
    if not isinstance(given, dict | list) and error["type"] != "asdot":
        message += f" (was {_short(given)})"
    words = [word for text in wanted for word in text.split("'")[1::2]]
    return message + _did_you_mean(given, words)


def _siblings(model: type[SpecModel] | None, loc: tuple[str | int, ...]) -> list[str]:
    """The fields that exist where an unknown one was given."""
    current: type[SpecModel] = _Envelope
    if model is not None and loc[:1] == ("spec",):
        current, loc = model, loc[1:]
    for step in loc[:-1]:
        inner = next((f.annotation for f in current.model_fields.values() if f.alias == step), None)
        candidates = [inner, *getattr(inner, "__args__", ())]
        found = next((c for c in candidates if isinstance(c, type) and issubclass(c, SpecModel)), None)
        if found is not None:
            current = found
    return [f.alias or name for name, f in current.model_fields.items()]


def _did_you_mean(given: object, known: list[str]) -> str:
    close = difflib.get_close_matches(shown(given), known, n=1) if isinstance(given, str) else []
    return f"; did you mean {close[0]}?" if close else ""


def _title(document: Document) -> str:
    metadata = document.data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = document.data.get("kind")
    return f"{shown(kind)}/{shown(name)}" if isinstance(kind, str) and isinstance(name, str) else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if text else shown(step)
    return text
