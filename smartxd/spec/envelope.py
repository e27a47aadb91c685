"""A document to a spec object: the envelope that all kinds share, and the located errors of its fields."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from smartxd.objects import ObjectRef
from smartxd.spec.document import Document, Finding, Path
from smartxd.spec.fields import Name, SpecModel, Text
from smartxd.spec.kinds import KINDS

API_VERSION = "smartx.io/v1alpha1"

SpecT_co = TypeVar("SpecT_co", bound=SpecModel, covariant=True)


class Metadata(SpecModel):
    """What names and labels an object."""

    name: Name
    labels: dict[str, Text] = Field(default_factory=dict)
    annotations: dict[str, Text] = Field(default_factory=dict)


class _Envelope(SpecModel):
    api_version: Literal["smartx.io/v1alpha1"]
    kind: Literal["Box", "Tunnel", "BGPRouter", "BGPPeer", "TracePolicy"]
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


def read(document: Document) -> tuple[Object[SpecModel] | None, list[Finding]]:
    """The object that a document declares, or all that is wrong with it."""
    data, errors = document.data, list[ErrorDetails]()
    envelope: _Envelope | None = None
    spec: SpecModel | None = None
    try:
        envelope = _Envelope.model_validate(data)
    except ValidationError as err:
        errors += err.errors()
    model = KINDS.get(str(data.get("kind")))
    if model is not None and isinstance(data.get("spec"), dict):
        try:
            spec = model.model_validate(data["spec"])
        except ValidationError as err:
            errors += [{**e, "loc": ("spec", *e["loc"])} for e in err.errors()]
    if envelope is None or spec is None or errors:
        return None, [_explain(document, model, error) for error in errors]
    ref = ObjectRef(envelope.kind, envelope.metadata.name)
    return Object(ref, envelope.metadata, spec, document), []


def _explain(document: Document, model: type[SpecModel] | None, error: ErrorDetails) -> Finding:
    path = _existing(document, error["loc"])
    given = error.get("input")
    match error["type"]:
        case "missing":
            path, message = (*path, str(error["loc"][-1])), "is missing"
        case "extra_forbidden":
            message = "no such field" + _did_you_mean(str(error["loc"][-1]), _siblings(model, error["loc"]))
        case "literal_error":
            wanted = str(error.get("ctx", {}).get("expected", ""))
            message = f"must be {wanted} (was {_short(given)})" + _did_you_mean(
                str(given), wanted.replace(" or ", ", ").replace("'", "").split(", ")
            )
        case _:
            message = error["msg"].removeprefix("Value error, ")
            message = f"{message[:1].lower()}{message[1:]}"
            if not isinstance(given, dict | list):
                message += f" (was {_short(given)})"
    return Finding(document.locate(path), _title(document), _dotted(path), message)


def _existing(document: Document, loc: tuple[str | int, ...]) -> Path:
    """The part of pydantic's path that stands in the document: union branches and key marks do not."""
    path: Path = ()
    for step in loc:
        if (*path, step) in document.locations:
            path = (*path, step)
    return path


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


def _did_you_mean(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _title(document: Document) -> str:
    metadata = document.data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = document.data.get("kind")
    return f"{_bare(kind)}/{_bare(name)}" if isinstance(kind, str) and isinstance(name, str) else ""


def _bare(text: object) -> str:
    """Text of the input, safe to print on one line."""
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in str(text))[:63]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{_bare(step)}" if text else _bare(step)
    return text
