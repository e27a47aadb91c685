"""BPF_PROG_TEST_RUN: a classifier over one frame, as often as wanted."""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum

from smartxd import bpfsys


class _Command(IntEnum):
    PROG_TEST_RUN = 10


_CONTEXT_BYTES = 192
_GSO_SEGS, _GSO_SIZE = 164, 176
"""Where ``struct __sk_buff`` has them."""


def run(program: int, frame: bytes, repeat: int = 1, gso_size: int = 0, gso_segs: int = 0) -> int:
    """Nanoseconds of a run, the mean of all. OSError for what is no frame; the interface is ``lo``."""
    data, context = ctypes.create_string_buffer(frame, len(frame)), (ctypes.c_char * _CONTEXT_BYTES)()
    struct.pack_into("=I", context, _GSO_SEGS, gso_segs)
    struct.pack_into("=I", context, _GSO_SIZE, gso_size)
    attr = bytearray(
        struct.pack(
            "=IIIIQQIIIIQ",
            *(program, 0, len(frame), 0, ctypes.addressof(data), 0, repeat, 0),
            *(_CONTEXT_BYTES, 0, ctypes.addressof(context)),
        )
    )
    bpfsys._bpf(_Command.PROG_TEST_RUN, attr)  # type: ignore[arg-type]
    return int(struct.unpack_from("=I", attr, 36)[0])
