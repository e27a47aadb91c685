"""Where fields are by BTF, of a kernel that is written here by hand, and of the one that runs."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from smartxd.btf import NoType, Types
from smartxd.errors import PlaneError
from smartxd.planes.trace import fields
from smartxd.planes.trace.probes import CONNECTIONS, DROPS

INT, POINTER, STRUCT, UNION, ENUM, TYPEDEF, CONST, PROTOTYPE = 1, 2, 4, 5, 6, 8, 10, 13
BITS = 1 << 31
"""In a struct: places of members say the width of bit fields too. In an enum: it has negative values."""


class Writer:
    """Types of BTF, numbered from 1 as they are added."""

    def __init__(self) -> None:
        self.types, self.strings = b"", b"\0"

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, name: str, kind: int, size: int, *rest: tuple[object, ...], flag: int = 0) -> None:
        """A type; each of ``rest`` a member, an enumerator or a parameter, text first where it has a name."""
        count = 0 if kind == INT else len(rest)
        self.types += struct.pack("=III", self.name(name), kind << 24 | count | flag, size)
        for words in rest:
            numbers = [self.name(w) if isinstance(w, str) else w for w in words]
            self.types += struct.pack(f"={len(numbers)}I", *numbers)

    def data(self) -> bytes:
        lengths = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, *lengths) + self.types + self.strings


@pytest.fixture
def old_kernel() -> Types:
    """One in which a bit says that an skb has a VLAN tag, and kfree_skb gives no receiver."""
    made = Writer()
    made.add("u32", INT, 4, (32,))
    made.add("", POINTER, 0)
    made.add("", UNION, 8, ("dev", 2, 0), ("scratch", 2, 0))
    made.add("", STRUCT, 16, ("next", 2, 0), ("", 3, 64))
    made.add("ns_common", STRUCT, 12, ("count", 1, 0), ("inum", 1, 64))
    made.add("nested", TYPEDEF, 5)
    made.add("", CONST, 6)
    made.add("sk_buff", STRUCT, 64, ("", 4, 0), ("vlan_present", 1, 1 << 24 | 259), ("ns", 7, 320), flag=BITS)
    made.add("skb_drop_reason", ENUM, 4, ("LESS", 0xFFFFFFFF), ("SKB_CONSUMED", 1), flag=BITS)
    made.add("", PROTOTYPE, 0, ("", 2), ("skb", 2), ("location", 2), ("reason", 9))
    made.add("", POINTER, 10)
    made.add("btf_trace_kfree_skb", TYPEDEF, 11)
    return Types(made.data())


def test_fields_are_found_in_what_has_no_name_behind_aliases_and_as_bits(old_kernel: Types) -> None:
    assert old_kernel.size("sk_buff") == 64
    assert old_kernel.place("sk_buff", "dev").offset == 8
    assert old_kernel.place("sk_buff", "ns.inum").offset == 48
    assert old_kernel.arguments("btf_trace_kfree_skb") == 4
    assert old_kernel.enum("skb_drop_reason") == {"LESS": -1, "SKB_CONSUMED": 1}
    assert list(fields._tag_flags(old_kernel)) == [
        *("-DSK_BUFF_VLAN_PRESENT=32", "-DSK_BUFF_VLAN_PRESENT_BIT=3")
    ]


def test_what_a_kernel_has_not_is_named(old_kernel: Types, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("vlan_all", "dev.ifindex", "ns.count.bit"):
        with pytest.raises(NoType, match=path):
            old_kernel.place("sk_buff", path)
    with pytest.raises(NoType, match="no struct net_device"):
        old_kernel.place("net_device", "ifindex")
    monkeypatch.setattr(Types, "of_kernel", lambda: old_kernel)
    with pytest.raises(PlaneError, match="_skb_refdst") as caught:
        fields.flags(DROPS)
    assert caught.value.reason == "DropsUnavailable"


@pytest.mark.parametrize("data", [b"", b"\0" * 24, b"\xeb\x9f" * 12])
def test_what_is_no_btf_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no BTF"):
        Types(data)


@pytest.mark.kernel
def test_this_kernel_has_each_field_at_a_place_of_its_own() -> None:
    types = Types.of_kernel()
    for structs in fields.FIELDS.values():
        for name, paths in structs.items():
            places = sorted(types.place(name, path).offset for path in paths)
            assert all(a < b for a, b in pairwise(places)), name
    assert fields.refusals() == {}


def test_a_kernel_that_lacks_a_field_of_a_probe_refuses_that_probe_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = {**fields.FIELDS, CONNECTIONS.name: {"tcp_sock": ("no_such_field",)}}
    monkeypatch.setattr(fields, "FIELDS", lacking)
    fields.refusals.cache_clear()
    try:
        ((name, why),) = fields.refusals().items()
    finally:
        fields.refusals.cache_clear()
    assert name == CONNECTIONS.name
    assert "no_such_field" in why
