"""Field types for addresses: each refuses what the kernel or FRR would, with a message that says why."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Any, Literal, TypeVar

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Family = Literal["ipv4", "ipv6"]

PREFIX_BITS_MIN: dict[int, int] = {4: 8, 6: 32}
"""The shortest prefix of a link's subnet, by IP version: a shorter one takes over most routes of a box."""

_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
_SOURCE_SPECIFIC = IPv4Network("232.0.0.0/8")

_T = TypeVar("_T")


def family_of(address: Address | Interface | Network) -> Family:
    """The address family."""
    return "ipv4" if address.version == 4 else "ipv6"


def wanted(what: str) -> PydanticCustomError:
    """The error of a value that is no such thing; several of one field become one sentence."""
    return PydanticCustomError("wanted", "must be {what}", {"what": what})


def _written(value: Any, what: str) -> str:
    """Text; a number is no address, though ipaddress makes one of it, and a zone is a box's own affair."""
    if not isinstance(value, str) or "%" in value:
        raise wanted(what)
    return value


def _parsed(value: Any, make: Callable[[str], _T], what: str) -> _T:
    try:
        return make(_written(value, what))
    except ValueError:
        raise wanted(what) from None


_EXAMPLES = {
    None: ("an IP address, as 192.0.2.1 or 2001:db8::1", "192.0.2.1/24 or 2001:db8::1/64"),
    4: ("an IPv4 address, as 192.0.2.1", "192.0.2.1/24"),
    6: ("an IPv6 address, as 2001:db8::1", "2001:db8::1/64"),
}


def _of_version(value: Any, version: int | None) -> Address:
    what = _EXAMPLES[version][0]
    address = _parsed(value, ip_address, what)
    if version not in (None, address.version):
        raise wanted(what)
    return address


def _not_mapped(address: Address) -> None:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError("an IPv4 address written as IPv6; write it as IPv4")


def _unicast(address: Address, *, link_local: bool = False) -> None:
    if address.is_loopback:
        raise ValueError(f"{'127.0.0.0/8' if address.version == 4 else address} means each box itself")
    _not_mapped(address)
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        raise ValueError("not the address of a host")
    if address.version == 6 and address.is_link_local and not link_local:
        raise ValueError("link-local addresses are the kernel's; give a global or unique local one")


def _host(version: int | None, *, link_local: bool = False) -> Callable[[Any], Address]:
    def check(value: Any) -> Address:
        address = _of_version(value, version)
        _unicast(address, link_local=link_local)
        return address

    return check


def _link(version: int | None) -> Callable[[Any], Interface]:
    what = f"an address with its prefix length, as {_EXAMPLES[version][1]}"

    def check(value: Any) -> Interface:
        if "/" not in _written(value, what):
            raise ValueError(f"give the prefix length too, as in {_EXAMPLES[version][1]}")
        given = _parsed(value, _with_length, what)
        if version not in (None, given.version):
            raise wanted(what)
        network, shortest = given.network, PREFIX_BITS_MIN[given.version]
        if network.prefixlen < shortest:
            raise ValueError(f"the prefix length is from {shortest} to {network.max_prefixlen}")
        # RFC 3021 and RFC 6164: both addresses of a point-to-point link are hosts.
        reserved = {network.network_address}
        if network.version == 4:
            reserved.add(network.broadcast_address)
        if network.prefixlen < network.max_prefixlen - 1 and given.ip in reserved:
            raise ValueError(f"{given.ip} is no host of {network}")
        _unicast(given.ip)
        return given

    return check


def _with_length(text: str) -> Interface:
    """An address with its prefix length; not with a mask, which ipaddress takes for one too."""
    if not _LENGTH.fullmatch(text.partition("/")[2]):
        raise ValueError(text)
    return ip_interface(text)


def _prefix(value: Any) -> Network:
    what = "a prefix, as 192.0.2.0/24 or 2001:db8::/32"
    if "/" not in _written(value, what):
        raise ValueError(f"give the prefix length too, as in {_parsed(value, ip_interface, what).network}")
    given = _parsed(value, _with_length, what)
    if given.ip != given.network.network_address:
        raise ValueError(f"host bits are set; the prefix is {given.network}")
    return ip_network(given.network)


def _group(value: Any) -> Address:
    address = _of_version(value, None)
    advice = "use one of 239.0.0.0/8" if address.version == 4 else "use one of ff05::/16 or ff08::/16"
    if not address.is_multicast:
        raise ValueError(f"not a multicast group; {advice}")
    if address in IPv4Network("224.0.0.0/24"):
        raise ValueError(f"224.0.0.0/24 belongs to routing protocols; {advice}")
    if _source_specific(address):
        which = _SOURCE_SPECIFIC if address.version == 4 else "ff3x::/32"
        raise ValueError(f"{which} is source-specific, and a VTEP joins a group from all sources; {advice}")
    # RFC 4291, section 2.7: scopes 0 to 2 do not leave a node or a link.
    if isinstance(address, IPv6Address) and address.packed[1] & 0x0F <= 2:
        raise ValueError(f"the scope of {address} ends at the link; {advice}")
    return address


def _source_specific(group: Address) -> bool:
    """Whether routers carry the group for those alone who name the source (RFC 4607, section 1)."""
    if isinstance(group, IPv4Address):
        return group in _SOURCE_SPECIFIC
    # ff3x::/32: any scope, and zeros for the length of a prefix.
    return group.packed[0] == 0xFF and group.packed[1] >> 4 == 3 and group.packed[2:4] == b"\0\0"


_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def _mac(value: Any) -> str:
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise wanted("a MAC address in quotes, as '02:00:00:00:00:01'")
    if int(value[:2], 16) & 1 or not int(value.replace(":", ""), 16):
        raise ValueError("not the MAC address of one host")
    return value.lower()


def _shaped(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$", "examples": [*examples]})


_V4 = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
_V6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"

_V4_LINK = rf"{_V4}/({_LENGTH.pattern})"
_V6_LINK = rf"{_V6}/({_LENGTH.pattern})"
_ANY = _shaped(f"{_V4}|{_V6}", "192.0.2.1", "2001:db8::1")
_ANY_LINK = _shaped(f"{_V4_LINK}|{_V6_LINK}", "192.0.2.1/24", "2001:db8::1/64")

HostAddress = Annotated[Address, PlainValidator(_host(None)), _ANY]
RouterAddress = Annotated[Address, PlainValidator(_host(None, link_local=True)), _ANY]
"""Of the next router, which IPv6 often knows by its link-local address."""
HostAddress4 = Annotated[IPv4Address, PlainValidator(_host(4)), _shaped(_V4, "192.0.2.1")]
HostAddress6 = Annotated[IPv6Address, PlainValidator(_host(6)), _shaped(_V6, "2001:db8::1")]
LinkAddress = Annotated[Interface, PlainValidator(_link(None)), _ANY_LINK]
"""The address of a link with the prefix length of its subnet."""
LinkAddress4 = Annotated[IPv4Interface, PlainValidator(_link(4)), _shaped(_V4_LINK, "192.0.2.1/24")]
LinkAddress6 = Annotated[IPv6Interface, PlainValidator(_link(6)), _shaped(_V6_LINK, "2001:db8::1/64")]
Prefix = Annotated[
    Network, PlainValidator(_prefix), _shaped(f"{_V4_LINK}|{_V6_LINK}", "192.0.2.0/24", "2001:db8::/32")
]
MulticastGroup = Annotated[
    Address,
    PlainValidator(_group),
    _shaped(rf"(22[4-9]|23[0-9])(\.[0-9]{{1,3}}){{3}}|[Ff]{{2}}{_V6}", "239.1.1.100", "ff08::100"),
]
MAC = Annotated[str, PlainValidator(_mac), _shaped(_MAC.pattern, "02:00:00:00:00:01")]
"""Lower case, with colons; of one host."""
