"""What is recorded in place of an address: pure.

Methods of RFC 6235, section 4.1: truncation, and a keyed hash as permutation would be, but that two of n
addresses get one pseudonym with a chance of about n squared in 2 to the 33 (IPv4) or the 129 (IPv6).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import partial

from smartxd.terms import Privacy

Conceal = Callable[[bytes], bytes]
"""From an address of 4 or 16 bytes to what is recorded, as long."""


def concealer(privacy: Privacy, key: str) -> Conceal:
    """What a policy does to addresses; ``key`` is the secret that it names, if it does."""
    if privacy.addresses == "truncate":
        return partial(_truncated, {4: privacy.ipv4_prefix, 16: privacy.ipv6_prefix})
    return partial(_pseudonym, key.encode())


def _truncated(prefixes: dict[int, int], address: bytes) -> bytes:
    bits = 8 * len(address)
    gone = bits - prefixes[len(address)]
    return (int.from_bytes(address, "big") >> gone << gone).to_bytes(len(address), "big")


def _pseudonym(key: bytes, address: bytes) -> bytes:
    return hmac.digest(key, address, "sha256")[: len(address)]
