"""What tells one flow from another in the store, and says nothing of it."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pyarrow as pa

from smartxd.capture.decode import Origin, Records

_BYTES = 16
_ALL_ONES = (b"\xff" * 4, b"\xff" * 16)
_STEP_NS = 1_000_000_000


class FlowKeys:
    """Keyed hashes of the kernel's keys, by a secret that nobody else has and that ends with the process.

    A flow's addresses may be kept from the store, and from a hash without a secret they could be found out.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._unix_offset_ns: int | None = None
        self._steps = 0

    def of(self, keys: Records, origin: Origin) -> pa.Array:
        """16 bytes for each flow: others under another commit, sampling interval or way to conceal addresses.

        And others once the clock has made a step: no row has times of before and after.
        """
        common = hashlib.blake2b(digest_size=_BYTES, key=self._secret)
        common.update(
            f"{origin.commit_id} {origin.sampled_one_in} {self._step(origin.unix_offset_ns)} ".encode()
        )
        if origin.conceal is not None:
            common.update(b"".join(origin.conceal(address) for address in _ALL_ONES))
        raw, size, found = np.ascontiguousarray(keys).view("u1").data, keys.dtype.itemsize, bytearray()
        for at in range(0, len(raw), size):
            digest = common.copy()
            digest.update(raw[at : at + size])
            found += digest.digest()
        return pa.Array.from_buffers(pa.binary(_BYTES), len(keys), [None, pa.py_buffer(found)])

    def _step(self, unix_offset_ns: int) -> int:
        """How often the clock was set since the process started, or the machine slept."""
        before, self._unix_offset_ns = self._unix_offset_ns, unix_offset_ns
        self._steps += before is not None and abs(unix_offset_ns - before) > _STEP_NS
        return self._steps
