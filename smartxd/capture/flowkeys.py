"""What tells one flow from another in the store, and says nothing of it."""

from __future__ import annotations

import hashlib
import os

from smartxd.capture.conceal import Conceal
from smartxd.capture.decode import Records

_BYTES = 16
_ALL_ONES = (b"\xff" * 4, b"\xff" * 16)


class FlowKeys:
    """Keyed hashes of the kernel's keys, by a secret that nobody else has and that ends with the process.

    A flow's addresses may be kept from the store, and from a hash without a secret they could be found out.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)

    def of(self, keys: Records, commit_id: str, sampled_one_in: int, conceal: Conceal | None) -> list[bytes]:
        """A key for each flow: another one under another commit, sampling interval, or way to conceal."""
        common = hashlib.blake2b(digest_size=_BYTES, key=self._secret)
        common.update(f"{commit_id} {sampled_one_in} ".encode())
        if conceal is not None:
            common.update(b"".join(conceal(address) for address in _ALL_ONES))
        raw, size = keys.tobytes(), keys.dtype.itemsize
        found = []
        for at in range(0, len(raw), size):
            digest = common.copy()
            digest.update(raw[at : at + size])
            found.append(digest.digest())
        return found
