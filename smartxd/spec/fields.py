"""The field types of specs that are no addresses: names, texts, numbers, and the base of all models."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from smartxd.spec.addresses import wanted


class SpecModel(BaseModel):
    """Base of everything in a spec: unknown fields are errors, YAML names are camelCase, objects frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


def wrong_field(message: str, *path: str | int) -> PydanticCustomError:
    """The error of one field, by the model that found it to disagree with another; ``path`` in YAML names."""
    return PydanticCustomError("wrong_field", "{message}", {"message": message, "path": path})


_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]+")
_PATTERN = re.compile(r"[A-Za-z0-9_.*?-]+")
_ASPLAIN = re.compile(r"[1-9][0-9]{0,9}")
_ASDOT = re.compile(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})")
_VLANS = re.compile(r"([1-9][0-9]{0,3})(-([1-9][0-9]{0,3}))?")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "use lower-case letters, digits and '-', at most 63, starting and ending with no '-'"
        )
    return value


def _interface(value: str) -> str:
    if not 0 < len(value.encode()) <= 15:
        raise ValueError("an interface name has 1 to 15 bytes")
    if value in {".", ".."} or not _INTERFACE.fullmatch(value):
        raise ValueError("an interface name has letters, digits, '_', '.' and '-' only")
    if value in {"all", "default"}:
        raise ValueError("the kernel's name for the settings of every interface")
    return value


def _new_interface(value: str) -> str:
    if value == "lo":
        raise ValueError("the loopback of every box; choose another name")
    return value


def _pattern(value: str) -> str:
    if not 0 < len(value) <= 15 or not _PATTERN.fullmatch(value):
        raise ValueError(
            "a pattern of interface names has 1 to 15 letters, digits, '_', '.', '-', '*' and '?'"
        )
    return value


def one_line(value: str) -> str:
    """Free text without the blanks at its ends; ValueError where it could begin another line."""
    # Free text ends up on a line of FRR's configuration: it must not be able to begin another one.
    if any(unicodedata.category(ch) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for ch in value):
        raise ValueError("control characters and line breaks are not allowed")
    return value.strip()


def any_of(words: Sequence[str]) -> str:
    """The words as a sentence says them."""
    return " or ".join(filter(None, (", ".join(map(repr, words[:-1])), repr(words[-1]))))


def one_of(*words: str) -> PlainValidator:
    """What takes these words alone; as Literal does, for words that are known when the module is read."""
    expected = any_of(words)

    def check(value: Any) -> Any:
        if value not in words:
            raise PydanticCustomError("literal_error", "must be {expected}", {"expected": expected})
        return value

    return PlainValidator(check, json_schema_input_type=str)


def _asn(value: Any) -> Any:
    """4-byte AS numbers may be written asdot (RFC 5396): 1.10 is 65546."""
    if isinstance(value, str):
        if _ASPLAIN.fullmatch(value):
            return int(value)
        if (m := _ASDOT.fullmatch(value)) and int(m[1]) <= 0xFFFF and int(m[2]) <= 0xFFFF:
            return (int(m[1]) << 16) | int(m[2])
        # Not left to int(): it takes blanks, signs, '_' and the digits of every script.
        raise wanted("an AS number, as 65001 or '1.10'")
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number")
    if isinstance(value, float):
        # What was written, 1.10, is already 1.1 here: it must not be repeated.
        raise PydanticCustomError("asdot", "an AS number with a dot must be in quotes, as '1.10'")
    return value


def _vlans(value: Any) -> Any:
    """A VLAN ID, or a range of them as text."""
    what = "a VLAN ID from 1 to 4094, or a range of them as '10-20'"
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (m := _VLANS.fullmatch(value)):
        first, last = int(m[1]), int(m[3] or m[1])
    else:
        raise wanted(what)
    if not 1 <= first <= last <= 4094:
        raise wanted(what)
    return (first, last)


def as_tuple(value: Any) -> Any:
    """One value where several may stand is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{_NAME.pattern}$"})]
"""The name of a spec object."""
InterfaceName = Annotated[
    str,
    AfterValidator(_interface),
    Field(json_schema_extra={"pattern": f"^{_INTERFACE.pattern}$", "minLength": 1, "maxLength": 15}),
]
NewInterfaceName = Annotated[InterfaceName, AfterValidator(_new_interface)]
"""The name of an interface that smartxd makes."""
InterfacePattern = Annotated[
    str,
    AfterValidator(_pattern),
    Field(json_schema_extra={"pattern": f"^{_PATTERN.pattern}$", "minLength": 1, "maxLength": 15}),
]
"""Names of interfaces: ``*`` stands for any characters, ``?`` for one."""
Text = Annotated[str, Field(max_length=200), AfterValidator(one_line)]
Labels = dict[Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line)], Text]
Whole = Annotated[int, Field(strict=True)]
"""A number that was written as one: neither text nor true."""
VNI = Annotated[Whole, Field(ge=1, le=0xFFFFFF)]
ASN = Annotated[
    int,
    BeforeValidator(_asn),
    Field(ge=1, le=0xFFFFFFFE),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 0xFFFFFFFE},
                {"type": "string", "pattern": f"^({_ASPLAIN.pattern}|{_ASDOT.pattern})$"},
            ]
        }
    ),
]
VLAN = Annotated[Whole, Field(ge=1, le=4094)]
VLANRange = Annotated[
    tuple[int, int],
    PlainValidator(_vlans),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 4094},
                {"type": "string", "pattern": f"^{_VLANS.pattern}$"},
            ]
        }
    ),
]
"""First and last VLAN ID."""
UDPPort = Annotated[Whole, Field(ge=1, le=0xFFFF)]
MTU = Annotated[Whole, Field(ge=576, le=65535)]
Seq = Annotated[Whole, Field(ge=1, le=0xFFFFFFFF, description="entries are tried in this order")]
"""Sequence number of an entry of a list."""


class BoxSelector(SpecModel):
    """Which boxes an object is for: by names, or by labels that all have to match."""

    names: tuple[Name, ...] | None = Field(default=None, min_length=1, description="names of Box objects")
    match_labels: Labels | None = Field(
        default=None, min_length=1, description="every Box that carries all of these labels"
    )

    @model_validator(mode="after")
    def _one_way(self) -> BoxSelector:
        if self.names is None and self.match_labels is None:
            raise ValueError("give names or matchLabels")
        if self.names is not None and self.match_labels is not None:
            raise wrong_field("give either names or matchLabels", "matchLabels")
        return self
