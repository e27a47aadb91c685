"""Addresses of links."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from smartxd.planes.kernel.decode.wire import attributes, ip

_IFA_ADDRESS, _IFA_LOCAL, _IFA_PROTO = 1, 2, 11
_IFADDRMSG = struct.Struct("=BBBBI")


def by_link(payloads: Iterable[bytes]) -> dict[int, tuple[tuple[str, int], ...]]:
    """Each address with its prefix length, and the protocol that it bears, by the index of its link."""
    found: dict[int, list[tuple[str, int]]] = {}
    for payload in payloads:
        _, prefix_length, _, _, index = _IFADDRMSG.unpack_from(payload)
        attrs = attributes(payload, _IFADDRMSG.size)
        # On a point-to-point link IFA_ADDRESS is the far end.
        local = ip(attrs.get(_IFA_LOCAL) or attrs.get(_IFA_ADDRESS))
        if local:
            found.setdefault(index, []).append((f"{local}/{prefix_length}", attrs.get(_IFA_PROTO, b"\0")[0]))
    return {index: tuple(addresses) for index, addresses in found.items()}
