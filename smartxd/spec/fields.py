"""The field types of specs: each refuses what the kernel or FRR would, with a message that says why."""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


PREFIX_BITS_MIN = 8
"""The shortest prefix of a link's subnet: a shorter one takes over most of the routes of a box."""


class SpecModel(BaseModel):
    """Base of everything in a spec: unknown fields are errors, YAML names are camelCase, objects frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "use lower-case letters, digits and '-', at most 63, starting and ending with no '-'"
        )
    return value


def _interface(value: str) -> str:
    if not 0 < len(value.encode()) <= 15:
        raise ValueError("an interface name has 1 to 15 bytes")
    if value in {".", ".."} or not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ValueError("an interface name has letters, digits, '_', '.' and '-' only")
    if value in {"all", "default"}:
        raise ValueError("the kernel's name for the settings of every interface")
    return value


def _new_interface(value: str) -> str:
    if value == "lo":
        raise ValueError("the loopback of every box; choose another name")
    return value


def _text(value: str) -> str:
    # Free text ends up on a line of FRR's configuration: it must not be able to begin another one.
    if any(unicodedata.category(ch) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for ch in value):
        raise ValueError("control characters and line breaks are not allowed")
    return value.strip()


def _multicast(value: IPv4Address) -> IPv4Address:
    if not value.is_multicast:
        raise ValueError("not a multicast group; use one of 239.0.0.0/8")
    if value in _LINK_LOCAL_GROUPS:
        raise ValueError("224.0.0.0/24 belongs to routing protocols; use one of 239.0.0.0/8")
    return value


_LINK_LOCAL_GROUPS = frozenset(IPv4Address(int(IPv4Address("224.0.0.0")) + i) for i in range(256))


def _unicast(value: IPv4Address) -> IPv4Address:
    if value.is_multicast or value.is_unspecified or int(value) == 0xFFFFFFFF:
        raise ValueError("not the address of a host")
    return value


def _host(value: IPv4Address) -> IPv4Address:
    if value.is_loopback:
        raise ValueError("127.0.0.0/8 means each box itself")
    return _unicast(value)


def _host_of_a_subnet(value: IPv4Interface) -> IPv4Interface:
    network = value.network
    if network.prefixlen < PREFIX_BITS_MIN:
        raise ValueError(f"the prefix length is from {PREFIX_BITS_MIN} to 32")
    if network.prefixlen < 31 and value.ip in {network.network_address, network.broadcast_address}:
        raise ValueError(f"{value.ip} is no host of {network}")
    _unicast(value.ip)
    return value


def _with_length(value: str) -> str:
    if "/" not in value:
        raise ValueError("give the prefix length too, as in 192.0.2.1/24")
    return value


def _prefix(value: str) -> str:
    try:
        given = IPv4Interface(value)
    except ValueError:
        return value  # no prefix at all, as the type itself says
    if given.ip != given.network.network_address:
        raise ValueError(f"host bits are set; the prefix is {given.network}")
    return value


def _written(value: Any) -> Any:
    """A number is no address, though ipaddress makes one of it."""
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be text")
    return value


def one_of(*words: str) -> PlainValidator:
    """What takes these words alone; as Literal does, for words that are known when the module is read."""
    expected = " or ".join(filter(None, (", ".join(map(repr, words[:-1])), repr(words[-1]))))

    def check(value: Any) -> Any:
        if value not in words:
            raise PydanticCustomError("literal_error", "must be {expected}", {"expected": expected})
        return value

    return PlainValidator(check)


def _asn(value: Any) -> Any:
    """4-byte AS numbers may be written asdot (RFC 5396): 1.10 is 65546."""
    if isinstance(value, str) and (m := re.fullmatch(r"(\d{1,5})\.(\d{1,5})", value)):
        high, low = int(m[1]), int(m[2])
        if high <= 0xFFFF and low <= 0xFFFF:
            return (high << 16) | low
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number")
    if isinstance(value, float):
        # What was written, 1.10, is already 1.1 here: it must not be repeated.
        raise PydanticCustomError("asdot", "an AS number with a dot must be in quotes, as '1.10'")
    return value


Name = Annotated[str, AfterValidator(_name)]
InterfaceName = Annotated[str, AfterValidator(_interface)]
NewInterfaceName = Annotated[InterfaceName, AfterValidator(_new_interface)]
"""The name of an interface that smartxd makes."""
Text = Annotated[str, Field(max_length=200), AfterValidator(_text)]
Labels = dict[Annotated[Text, Field(min_length=1)], Text]
MulticastGroup = Annotated[IPv4Address, BeforeValidator(_written), AfterValidator(_multicast)]
HostAddress = Annotated[IPv4Address, BeforeValidator(_written), AfterValidator(_host)]
LinkAddress = Annotated[
    IPv4Interface, BeforeValidator(_with_length), BeforeValidator(_written), AfterValidator(_host_of_a_subnet)
]
"""The address of a link with the prefix length of its subnet."""
Prefix = Annotated[IPv4Network, BeforeValidator(_prefix), BeforeValidator(_written)]
Whole = Annotated[int, Field(strict=True)]
"""A number that was written as one: neither text nor true."""
VNI = Annotated[Whole, Field(ge=1, le=0xFFFFFF)]
ASN = Annotated[int, BeforeValidator(_asn), Field(ge=1, le=0xFFFFFFFE)]
UDPPort = Annotated[Whole, Field(ge=1, le=0xFFFF)]
MTU = Annotated[Whole, Field(ge=576, le=65535)]


class BoxSelector(SpecModel):
    """Which boxes an object is for: by names, or by labels that all have to match."""

    names: tuple[Name, ...] | None = Field(default=None, min_length=1, description="names of Box objects")
    match_labels: Labels | None = Field(
        default=None, min_length=1, description="every Box that carries all of these labels"
    )

    @model_validator(mode="after")
    def _one_way(self) -> BoxSelector:
        if (self.names is None) == (self.match_labels is None):
            raise ValueError("give either names or matchLabels")
        return self
