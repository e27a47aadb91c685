"""The JSON Schema (draft 2020-12) of the language, for editors and other tools; generated, never written.

A schema says what one document may be. What several documents must be together, and what a sentence says
better than a pattern, ``smartxctl validate`` tells.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, create_model

from smartxd.spec.envelope import API_VERSION, Envelope
from smartxd.spec.kinds import KINDS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def of_kind(kind: str) -> Schema:
    """The schema of a document of one kind."""
    spec = KINDS[kind]
    # Its own docstring would be the base's.
    document = create_model(
        kind, __base__=Envelope, __doc__=spec.__doc__, spec=(spec, Envelope.model_fields["spec"])
    )
    schema = document.model_json_schema()
    properties = schema["properties"]
    properties["apiVersion"] |= {"const": API_VERSION}
    properties["kind"] |= {"const": kind}
    return {"$schema": DIALECT, "title": kind, **plain(schema)}


def of_any() -> Schema:
    """The schema of any document; editors use it for files that hold several kinds."""
    schemas = {kind: of_kind(kind) for kind in KINDS}
    return {
        "$schema": DIALECT,
        "title": "smartxd spec",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {"apiVersion": {"const": API_VERSION}, "kind": {"enum": [*KINDS]}},
        # Not oneOf: an editor would then tell of every kind why the document is none of it.
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{kind}"},
            }
            for kind in KINDS
        ],
        "$defs": {name: part for kind, schema in schemas.items() for name, part in _defs(kind, schema)},
    }


def of_model(model: type[BaseModel]) -> Schema:
    """The schema of what a command prints as JSON."""
    schema = model.model_json_schema(mode="serialization")
    return {"$schema": DIALECT, "title": model.__name__, **plain(schema)}


def _defs(kind: str, schema: Schema) -> list[tuple[str, Schema]]:
    own = {key: value for key, value in schema.items() if key not in ("$schema", "$defs")}
    return [(kind, own), *schema["$defs"].items()]


def plain(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of field names: they say nothing new."""
    if isinstance(schema, dict):
        # A field may be called title: its schema is no text.
        return {k: plain(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}
    return [plain(item) for item in schema] if isinstance(schema, list) else schema
