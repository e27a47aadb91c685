"""What libpcap itself says of a frame: pcap_offline_filter."""

from __future__ import annotations

import ctypes

from smartxd.planes.trace.filter import Code
from smartxd.spec.pcap import _Insn, _libpcap, _Program


class _Header(ctypes.Structure):
    _fields_ = (
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("caplen", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
    )


def matches(program: tuple[Code, ...], frame: bytes) -> bool:
    function = _libpcap().pcap_offline_filter
    function.argtypes = (ctypes.POINTER(_Program), ctypes.POINTER(_Header), ctypes.c_char_p)
    insns = (_Insn * len(program))(*(_Insn(*code) for code in program))
    header = _Header(0, 0, len(frame), len(frame))
    built = _Program(len(program), ctypes.cast(insns, ctypes.POINTER(_Insn)))
    return function(ctypes.byref(built), ctypes.byref(header), frame) != 0
