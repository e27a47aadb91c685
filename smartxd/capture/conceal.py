"""What is recorded in place of an address: pure.

Methods of RFC 6235, section 4.1: truncation, and a keyed hash as permutation would be, but that two of n
addresses get one pseudonym with a chance of about n squared in 2 to the 33 (IPv4) or the 129 (IPv6).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2s
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smartxd.capture.layout import HAS_IP4, HAS_IP6
from smartxd.terms import Privacy

Records = npt.NDArray[np.void]

_SIZES = ((HAS_IP4, 4), (HAS_IP6, 16))
"""Bits of ``has``, and how many bytes their addresses have."""


def distinct_addresses(
    raw: npt.NDArray[np.uint8], has: npt.NDArray[Any]
) -> Iterator[tuple[npt.NDArray[np.int64], int, list[bytes], npt.NDArray[np.int32]]]:
    """Of each family that is there: its rows, bytes of an address, each distinct one, and which a row has.

    ``raw`` has 16 bytes for each row.
    """
    for bit, size in _SIZES:
        rows = np.flatnonzero(has & bit)
        if len(rows):
            packed = pa.py_buffer(np.ascontiguousarray(raw[rows, :size]))
            found = pa.Array.from_buffers(pa.binary(size), len(rows), [None, packed]).dictionary_encode()
            yield rows, size, found.dictionary.to_pylist(), found.indices.to_numpy()


@dataclass(frozen=True, slots=True)
class Conceal:
    """What a policy does to addresses, and to what can be worked out from them."""

    _address: Callable[[bytes], bytes]
    _key: bytes

    def __call__(self, address: bytes) -> bytes:
        """What is recorded of an address of 4 or 16 bytes, as long."""
        return self._address(address)

    def addresses(self, raw: npt.NDArray[np.uint8], has: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The same of addresses in 16 bytes each, of the family that ``has`` says; none is zeros."""
        hidden = np.zeros_like(raw)
        for rows, size, distinct, places in distinct_addresses(raw, has):
            made = b"".join(map(self._address, distinct))
            hidden[rows, :size] = np.frombuffer(made, "u1").reshape(-1, size)[places]
        return hidden

    def keys(self, keys: Records) -> Records:
        """Keys of flows (``layout.FLOW_KEY``), with this in place of the addresses."""
        hidden = keys.copy()
        for layer in (hidden["outer"], hidden["inner"]):
            for end in ("src_ip", "dst_ip"):
                layer[end] = self.addresses(layer[end], layer["has"])
        return hidden

    def digests(self, digests: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """What is recorded of digests of packets, of 53 bits each as well: they are hashed with the key.

        By itself a digest is a hash of the addresses that anybody can do: who has it finds them by trial.
        """
        raw, made = digests.tobytes(), []
        keyed = blake2s(key=hmac.digest(self._key, b"digests", "sha256"), digest_size=8)
        for at in range(0, len(raw), 8):
            one = keyed.copy()  # by half of what a new one costs
            one.update(raw[at : at + 8])
            made.append(one.digest())
        return np.frombuffer(b"".join(made), "u8") >> np.uint64(11)


def concealer(privacy: Privacy, key: str) -> Conceal:
    """What a policy asks for; ``key`` is the secret that it names, or one that nobody has."""
    secret = key.encode()
    if privacy.addresses == "truncate":
        return Conceal(partial(_truncated, {4: privacy.ipv4_prefix, 16: privacy.ipv6_prefix}), secret)
    return Conceal(partial(_pseudonym, secret), secret)


def _truncated(prefixes: dict[int, int], address: bytes) -> bytes:
    bits = 8 * len(address)
    gone = bits - prefixes[len(address)]
    return (int.from_bytes(address, "big") >> gone << gone).to_bytes(len(address), "big")


def _pseudonym(key: bytes, address: bytes) -> bytes:
    return hmac.digest(key, address, "sha256")[: len(address)]
