"""CommunityList: BGP communities that policies match (RFC 1997, RFC 4360, RFC 8092)."""

from __future__ import annotations

import re
import warnings
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from smartxd.spec.addresses import wanted
from smartxd.spec.fields import Seq, SpecModel, Text, wrong_field
from smartxd.spec.kinds.prefixlist import Action, in_order

WELL_KNOWN = (
    "accept-own",
    "blackhole",
    "graceful-shutdown",
    "internet",
    "local-AS",
    "no-advertise",
    "no-export",
    "no-peer",
)
_STANDARD = "a community, as '65001:100' or no-export"
_LARGE = "a large community, as '65001:1:2'"
_EXTENDED = "an extended community, as 'rt 65001:100' or 'soo 192.0.2.1:5'"
_TARGET = "a route target, as '65001:100' or '192.0.2.1:100'"
_DISTINGUISHER = "a route distinguisher, as '65001:100' or '192.0.2.1:100'"


def _numbers(value: Any, bits: tuple[int, ...], what: str) -> str:
    """Numbers with colons, each of so many bits, without leading zeros."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,10}(:[0-9]{1,10})*", value):
        raise wanted(what)
    numbers = [int(part) for part in value.split(":")]
    if len(numbers) != len(bits) or any(n >> b for n, b in zip(numbers, bits, strict=True)):
        raise wanted(what)
    return ":".join(map(str, numbers))


def _standard(value: Any) -> str:
    if isinstance(value, str) and value in WELL_KNOWN:
        return value
    return _numbers(value, (16, 16), _STANDARD)


def _large(value: Any) -> str:
    return _numbers(value, (32, 32, 32), _LARGE)


def _target(value: Any, what: str = _TARGET) -> str:
    """RFC 4360, section 3: 2-byte AS with 4 bytes, 4-byte AS or IPv4 address with 2 bytes."""
    head, _, tail = value.partition(":") if isinstance(value, str) else ("", "", "")
    try:
        if "." in head:
            return f"{IPv4Address(head)}:{_numbers(tail, (16,), what)}"
    except ValueError:
        raise wanted(what) from None
    two_bytes = re.fullmatch("[0-9]{1,10}", head) and int(head) <= 0xFFFF
    return _numbers(value, (16, 32) if two_bytes else (32, 16), what)


def _distinguisher(value: Any) -> str:
    """RFC 4364, section 4.2: of the same three forms as a route target."""
    return _target(value, _DISTINGUISHER)


def _extended(value: Any) -> str:
    kind, _, rest = value.partition(" ") if isinstance(value, str) else ("", "", "")
    if kind not in ("rt", "soo"):
        raise wanted(_EXTENDED)
    return f"{kind} {_target(rest, _EXTENDED)}"


def _shaped(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$", "examples": [*examples]})


_N = "[0-9]{1,10}"
_PAIR = rf"({_N}|[0-9]{{1,3}}(\.[0-9]{{1,3}}){{3}}):{_N}"

Community = Annotated[
    str,
    PlainValidator(_standard),
    _shaped("|".join((f"{_N}:{_N}", *WELL_KNOWN)), "65001:100", "no-export"),
]
LargeCommunity = Annotated[str, PlainValidator(_large), _shaped(f"{_N}:{_N}:{_N}", "65001:1:2")]
ExtendedCommunity = Annotated[
    str, PlainValidator(_extended), _shaped(f"(rt|soo) {_PAIR}", "rt 65001:100", "soo 192.0.2.1:5")
]
RouteTarget = Annotated[str, PlainValidator(_target), _shaped(_PAIR, "65001:100")]
RouteDistinguisher = Annotated[str, PlainValidator(_distinguisher), _shaped(_PAIR, "192.0.2.1:100")]


_REGEX = r"[0-9A-Za-z_^$.*+?()\[\]{}|:,\\ -]{1,200}"


def _regex(value: Any) -> str:
    """A regular expression as FRR takes it (POSIX, '_' for a border); on one line, without blanks at ends."""
    if not isinstance(value, str) or not re.fullmatch(_REGEX, value):
        raise wanted("a regular expression of digits, '_', '^', '$', '.', '*', '+', '?', '|' and brackets")
    # vtysh reads '|' as a pipe, even within a file.
    if "|" in value:
        raise ValueError("'|' is not possible, vtysh takes it for a pipe; write an entry for each branch")
    if value != value.strip():
        raise ValueError("blanks at its ends are not possible")
    try:
        with warnings.catch_warnings():  # Python's doubts are about its own syntax
            warnings.simplefilter("ignore")
            re.compile(value)
    except (re.error, RecursionError, OverflowError):
        raise ValueError("not a regular expression") from None
    return value


Regex = Annotated[str, PlainValidator(_regex), _shaped(_REGEX.replace("|", ""), "^65001_")]


_READ = {"standard": _standard, "extended": _extended, "large": _large}


def _is_of(kind: str, community: str) -> bool:
    """Whether it is a community of this type of lists."""
    try:
        _READ[kind](community)
    except ValueError:
        return False
    return True


class CommunityEntry(SpecModel):
    """Routes that carry all of these communities, or one that the expression matches."""

    seq: Seq
    action: Action = Field(description="what happens to those that match")
    communities: tuple[Community | LargeCommunity | ExtendedCommunity, ...] = Field(
        default=(), max_length=32, description="all of them must be there, as '65001:100' or no-export"
    )
    regex: Regex | None = Field(default=None, description="instead of communities: a regular expression")

    @model_validator(mode="after")
    def _one_way(self) -> CommunityEntry:
        if not self.communities and self.regex is None:
            raise ValueError("give communities or regex")
        if self.communities and self.regex is not None:
            raise wrong_field("give either communities or regex", "regex")
        return self


class CommunityListSpec(SpecModel):
    """A list of communities; what no entry matches is denied."""

    type: Literal["standard", "extended", "large"] = Field(default="standard", description="of communities")
    description: Text = Field(default="", description="free text, one line")
    entries: tuple[CommunityEntry, ...] = Field(
        min_length=1, max_length=10_000, description="tried in the order of their sequence numbers"
    )

    @model_validator(mode="after")
    def _consistent(self) -> CommunityListSpec:
        in_order(self.entries)
        by_regex = self.entries[0].regex is not None
        for i, entry in enumerate(self.entries):
            if (entry.regex is not None) != by_regex:
                message = "communities and regex cannot stand in one list; FRR keeps them apart"
                raise wrong_field(message, "entries", i, "communities" if by_regex else "regex")
            for j, community in enumerate(entry.communities):
                if not _is_of(self.type, community):
                    message = f"{community} is no {self.type} community, as type says"
                    raise wrong_field(message, "entries", i, "communities", j)
        return self
