"""VLANs of bridges and their ports."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from smartxd.planes.kernel.decode.wire import attributes, each
from smartxd.planes.kernel.state import VlanRange

# linux/if_bridge.h
_ENTRY = 1
_ENTRY_INFO, _ENTRY_RANGE = 1, 2
_PVID, _UNTAGGED = 0x2, 0x4
_BR_VLAN_MSG = struct.Struct("=BxHI")
_INFO = struct.Struct("=HH")


def by_link(payloads: Iterable[bytes]) -> dict[int, tuple[VlanRange, ...]]:
    """As few ranges as can be, sorted, by the index of the bridge or port."""
    found: dict[int, list[VlanRange]] = {}
    for payload in payloads:
        _, _, index = _BR_VLAN_MSG.unpack_from(payload)
        for type_, entry in each(payload, _BR_VLAN_MSG.size):
            attrs = attributes(entry) if type_ == _ENTRY else {}
            if _ENTRY_INFO in attrs:
                flags, first = _INFO.unpack(attrs[_ENTRY_INFO])
                last = struct.unpack("=H", attrs[_ENTRY_RANGE])[0] if _ENTRY_RANGE in attrs else first
                made = VlanRange(first, last, bool(flags & _PVID), bool(flags & _UNTAGGED))
                found.setdefault(index, []).append(made)
    return {index: joined(ranges) for index, ranges in found.items()}


def joined(ranges: Iterable[VlanRange]) -> tuple[VlanRange, ...]:
    """The same VLANs in as few ranges as can be, sorted."""
    made: list[VlanRange] = []
    for one in sorted(ranges):
        before = made[-1] if made else None
        if (
            before is not None
            and before.last + 1 == one.first
            and (before.pvid, before.untagged) == (one.pvid, one.untagged)
        ):
            made[-1] = VlanRange(before.first, one.last, one.pvid, one.untagged)
        else:
            made.append(one)
    return tuple(made)
