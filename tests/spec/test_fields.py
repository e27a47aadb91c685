"""Values that are text are taken as they are written, or not at all: no field reads as Python reads."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from smartxd.spec.addresses import MAC, HostAddress, LinkAddress, MulticastGroup, Prefix
from smartxd.spec.fields import ASN, VLANRange
from smartxd.spec.kinds.communitylist import Community, ExtendedCommunity, LargeCommunity, RouteTarget
from smartxd.spec.kinds.port import NetworkNamespace
from smartxd.spec.kinds.routemap import MetricChange

RIGHT: dict[str, tuple[Any, list[str]]] = {
    "asn": (ASN, ["65001", "1.10", "0.1", "4294967294"]),
    "vlans": (VLANRange, ["10", "10-20"]),
    "host": (HostAddress, ["192.0.2.1", "2001:db8::1"]),
    "link": (LinkAddress, ["192.0.2.1/24", "2001:db8::1/64"]),
    "prefix": (Prefix, ["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "::/0"]),
    "group": (MulticastGroup, ["239.1.1.100", "ff08::100"]),
    "mac": (MAC, ["02:00:00:00:00:01"]),
    "community": (Community, ["65001:100", "no-export"]),
    "large community": (LargeCommunity, ["65001:1:2"]),
    "extended community": (ExtendedCommunity, ["rt 65001:100", "soo 192.0.2.1:5"]),
    "route target": (RouteTarget, ["65001:100", "192.0.2.1:100"]),
    "metric": (MetricChange, ["+10", "-5"]),
    "namespace": (NetworkNamespace, ["blue"]),
}
FIELDS = {name: TypeAdapter(kind) for name, (kind, _) in RIGHT.items()}
SCHEMAS = {name: Draft202012Validator(field.json_schema()) for name, field in FIELDS.items()}
EACH = [(name, text) for name, (_, texts) in RIGHT.items() for text in texts]


def takes(name: str, value: object) -> bool:
    try:
        FIELDS[name].validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("name", "text"), EACH)
def test_what_is_right_is_right_by_the_schema(name: str, text: str) -> None:
    assert takes(name, text)
    assert SCHEMAS[name].is_valid(text)


def mangled(text: str) -> st.SearchStrategy[str]:
    """The text with something in it that ``int`` or ``ipaddress`` might pass over."""
    odd = st.sampled_from([" ", "\t", "\n", "_", "\u0661", "\u00a0", "\ufeff", "%eth0", "\0", "\uff11"])
    places = st.integers(0, len(text))
    return st.builds(lambda i, extra: text[:i] + extra + text[i:], places, odd)


@given(st.sampled_from(EACH).flatmap(lambda each: st.tuples(st.just(each[0]), mangled(each[1]))))
def test_nothing_is_passed_over_in_a_value(mangled: tuple[str, str]) -> None:
    name, text = mangled
    # A name of a file may have '_'; the digits of others are in no name.
    assert not takes(name, text) or (name == "namespace" and "_" in text)


@given(st.sampled_from(sorted(FIELDS)), st.text("0123456789abcdefF.:/+-_ rt\u0661", max_size=24))
def test_what_a_field_takes_its_schema_takes(name: str, text: str) -> None:
    if takes(name, text):
        assert SCHEMAS[name].is_valid(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("asn", text) for text in ("65_001", "+65001", " 65001", "065001", "65001.", "01.10", "65536.1")),
        *(("vlans", text) for text in ("010", "+10", "10 - 20", "20-10", "4095")),
        *(("link", f"192.0.2.1/{text}") for text in ("024", "+24", "255.255.255.0", "0.0.0.255", "", "33")),
        *(("link", text) for text in ("127.0.0.1/8", "::1/128", "::ffff:192.0.2.1/120", "fe80::1%a/64")),
        *(("prefix", f"192.0.2.0/{text}") for text in ("024", "255.255.255.0", "0.0.0.255", "")),
        *(("host", text) for text in ("192.0.2.01", "192.0.2", "3221225985", "::ffff:192.0.2.1")),
        *(("mac", text) for text in ("02-00-00-00-00-01", "0200.0000.0001", "2:0:0:0:0:1")),
        *(("metric", text) for text in ("+4294967296", "++1", "+")),
    ],
)
def test_other_ways_to_write_a_value_are_refused(name: str, text: str) -> None:
    assert not takes(name, text)


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0xFF << 120, 2**128 - 1).map(IPv6Address))
def test_a_group_that_is_taken_is_one_that_any_source_reaches(address: IPv4Address | IPv6Address) -> None:
    if takes("group", str(address)):
        assert address.is_multicast
        text = address.exploded
        assert not text.startswith(("232.", "224.0.0."))
        assert not (text.startswith("ff3") and text[4:10] == ":0000:")


@pytest.mark.parametrize("text", ["232.0.0.0", "232.255.255.255", "ff35::1", "ff3e::8000:1", "ff3e:0:1::1"])
def test_a_source_specific_group_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValidationError, match=r"is source-specific, .*; use one of "):
        FIELDS["group"].validate_python(text)


@pytest.mark.parametrize(
    "text", ["231.255.255.255", "233.0.0.1", "224.0.1.1", "ff3e:30:2001:db8::1", "ff15::1"]
)
def test_other_groups_are_taken(text: str) -> None:
    assert takes("group", text)
