"""The bpf(2) system call: pinned objects, maps in bulk, links. Raw, small, typed; OSError is what it raises.

At the root because both wings need it: the trace plane pins and attaches, the capture process reads maps.
Buffers are anything with the buffer protocol, numpy arrays above all; nothing here imports numpy.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_ATTR_BYTES = 128
_BPF_FS_MAGIC = 0xCAFE4A11
_STATFS_BYTES = 256

_libc = ctypes.CDLL(None, use_errno=True)


class _Command(IntEnum):
    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_GET_FD_BY_ID = 13
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    LINK_CREATE = 28
    LINK_DETACH = 34


class MapType(IntEnum):
    """The types of maps that are made here; a program's own maps are made by BCC."""

    HASH = 1
    ARRAY = 2
    ARRAY_OF_MAPS = 12
    RINGBUF = 27


class ProgramType(IntEnum):
    """The types of programs that are made here, or asked for."""

    CLASSIFIER = 3
    RAW_TRACEPOINT = 17


_TCX_ATTACH_TYPE = {"ingress": 46, "egress": 47}
_BPF_F_BEFORE = 1 << 3
_LINK_TYPE_TCX = 11


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map; sizes in bytes."""

    id: int
    key_size: int
    value_size: int
    max_entries: int


def _bpf(command: _Command, attr: bytearray) -> int:
    try:
        number = _SYS_BPF[platform.machine()]
    except KeyError:
        raise OSError(errno.ENOSYS, f"no bpf(2) known on {platform.machine()}") from None
    attr.extend(bytes(_ATTR_BYTES - len(attr)))
    buffer = (ctypes.c_char * len(attr)).from_buffer(attr)
    result = int(_libc.syscall(number, int(command), buffer, len(attr)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf {command.name}: {os.strerror(code)}")
    return result


def _attr(layout: str, *values: int) -> bytearray:
    return bytearray(struct.pack("=" + layout, *values))


def _address(buffer: Any, size: int) -> int:
    """Where the buffer's memory is; ValueError when it is smaller than what the kernel would write."""
    view = (ctypes.c_char * size).from_buffer(buffer)
    return ctypes.addressof(view)


def pin(fd: int, path: Path) -> None:
    """Pin a map, program or link at a path of a bpffs."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(_Command.OBJ_PIN, _attr("QII", ctypes.addressof(name), fd, 0))


def open_pin(path: Path) -> int:
    """A descriptor of what is pinned at ``path``; FileNotFoundError when nothing is."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_Command.OBJ_GET, _attr("QII", ctypes.addressof(name), 0, 0))


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """``open_pin`` for the length of a ``with`` block."""
    fd = open_pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


def is_bpffs(path: Path) -> bool:
    """Whether what is at ``path`` is of a bpffs; FileNotFoundError when nothing is there."""
    name, found = ctypes.create_string_buffer(os.fsencode(path)), ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(name, found) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    # f_type comes first, a long or, on s390x, an int: all of the machines above agree on its first half.
    return bool(struct.unpack_from("=I", found)[0] == _BPF_FS_MAGIC)


def remove_pins(directory: Path) -> None:
    """Remove a folder of pins: what is pinned in it and its empty folders; one that is gone is not an error.

    It goes no deeper, so that a folder which holds more than pins and markers stays, with what it holds.
    OSError for a folder that is not of a bpffs: what it holds are files.
    """
    with suppress(FileNotFoundError):
        if not is_bpffs(directory):
            raise OSError(errno.EMEDIUMTYPE, "not a bpffs, nothing is removed", str(directory))
        for entry in list(directory.iterdir()):
            with suppress(FileNotFoundError):
                if stat.S_ISDIR(entry.lstat().st_mode):
                    remove_empty(entry)
                else:
                    entry.unlink()
        remove_empty(directory)


def remove_empty(directory: Path) -> None:
    """Remove a folder if there is nothing in it; one that is gone is not an error."""
    try:
        directory.rmdir()
    except OSError as err:
        if err.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise


def create_map(
    kind: MapType, key_size: int, value_size: int, max_entries: int, inner_fd: int | None = None
) -> int:
    """A descriptor of a new map."""
    return _bpf(_Command.MAP_CREATE, _attr("6I", kind, key_size, value_size, max_entries, 0, inner_fd or 0))


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of ``key``, None when there is none; not for per-CPU maps."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_size)
    try:
        _bpf(_Command.MAP_LOOKUP_ELEM, _attr("IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))
    except FileNotFoundError:
        return None
    return v.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set the value of ``key``, be it there or not; in a map of maps the value is a descriptor."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_Command.MAP_UPDATE_ELEM, _attr("IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))


def delete(fd: int, key: bytes) -> None:
    """Remove ``key``; one that is not there is not an error."""
    k = ctypes.create_string_buffer(key, len(key))
    with suppress(FileNotFoundError):
        _bpf(_Command.MAP_DELETE_ELEM, _attr("IIQQQ", fd, 0, ctypes.addressof(k), 0, 0))


def lookup_batch(
    fd: int, keys: Any, values: Any, entry_bytes: tuple[int, int], count: int, *, remove: bool = False
) -> int:
    """Read a hash map or an array of at most ``count`` entries into two buffers in one call; how many.

    ``entry_bytes`` are the sizes of a key and of a value in the buffers (of all CPUs in a per-CPU map). With
    ``remove`` the entries read are removed. A count of the map's max_entries reads it whole, which needs no
    cursor to go on from: a bucket never holds more than all of it.
    """
    command = _Command.MAP_LOOKUP_AND_DELETE_BATCH if remove else _Command.MAP_LOOKUP_BATCH
    cursor = (ctypes.c_char * 8)()
    attr = _attr(
        "QQQQIIQQ",
        0,
        ctypes.addressof(cursor),
        _address(keys, entry_bytes[0] * count),
        _address(values, entry_bytes[1] * count),
        count,
        fd,
        0,
        0,
    )
    with suppress(FileNotFoundError):  # the end of the map was reached: the usual way to finish
        _bpf(command, attr)
    return int(struct.unpack_from("=I", attr, 32)[0])


def _info(fd: int, size: int) -> bytes:
    info = ctypes.create_string_buffer(size)
    _bpf(_Command.OBJ_GET_INFO_BY_FD, _attr("IIQ", fd, size, ctypes.addressof(info)))
    return info.raw


def map_info(fd: int) -> MapInfo:
    """What kind of map it is."""
    _, id, key_size, value_size, max_entries = struct.unpack_from("=5I", _info(fd, 80))
    return MapInfo(id, key_size, value_size, max_entries)


def program_id(fd: int) -> int:
    """The number by which the kernel knows a program."""
    _, id = struct.unpack_from("=2I", _info(fd, 8))
    return int(id)


def missed_runs(fd: int) -> int:
    """How often the kernel left a tracing program out, as it was running on that CPU already (Linux 5.12)."""
    return int(struct.unpack_from("=Q", _info(fd, 224), 208)[0])


def program_name(program: int) -> str:
    """The name of the program of this number, empty where it has none; FileNotFoundError when it is gone."""
    fd = _bpf(_Command.PROG_GET_FD_BY_ID, _attr("I", program))
    try:
        return _info(fd, 80)[64:80].partition(b"\0")[0].decode("ascii", "replace")
    finally:
        os.close(fd)


KTIME_GET_TAI_NS = 208
"""The number of ``bpf_ktime_get_tai_ns``, of Linux 6.1."""


def has_helper(number: int) -> bool:
    """Whether programs for tc may call this helper, one without arguments."""
    try:
        os.close(_load((0x85, 0, 0, number)))  # call number; exit
    except OSError as err:
        if err.errno not in (errno.EINVAL, errno.EACCES):
            raise
        return False
    return True


def load_idle_program(kind: ProgramType = ProgramType.CLASSIFIER) -> int:
    """A descriptor of a new program that does nothing: to ask what the kernel can do."""
    return _load((0xB7, 0, 0, 0), kind)  # r0 = 0; exit


def _load(first: tuple[int, int, int, int], kind: ProgramType = ProgramType.CLASSIFIER) -> int:
    """A program of this instruction and an exit."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", *first, 0x95, 0, 0, 0))
    license = ctypes.create_string_buffer(b"Apache-2.0")
    instructions = 2
    return _bpf(
        _Command.PROG_LOAD,
        _attr("IIQQ", kind, instructions, ctypes.addressof(code), ctypes.addressof(license)),
    )


def tcx_programs(ifindex: int, direction: str) -> tuple[int, ...]:
    """The numbers of all programs that run there by TCX, in their order."""
    most = 64
    ids = (ctypes.c_uint32 * most)()
    attr = _attr("4IQI", ifindex, _TCX_ATTACH_TYPE[direction], 0, 0, ctypes.addressof(ids), most)
    _bpf(_Command.PROG_QUERY, attr)
    return tuple(ids[: struct.unpack_from("=I", attr, 24)[0]])


def is_loaded(program: int) -> bool:
    """Whether the kernel still has the program of this number; it goes a moment after its last user."""
    try:
        os.close(_bpf(_Command.PROG_GET_FD_BY_ID, _attr("I", program)))
    except FileNotFoundError:
        return False
    return True


def tcx_ifindex(fd: int) -> int:
    """The interface on which a TCX link runs; 0 when it is gone or the link was detached."""
    kind, _, _, _, ifindex = struct.unpack_from("=5I", _info(fd, 32))
    return int(ifindex) if kind == _LINK_TYPE_TCX else 0


def link_tcx(program_fd: int, ifindex: int, direction: str) -> int:
    """A descriptor of a new TCX link, before all programs that are there; it ends with its last reference."""
    attach_type = _TCX_ATTACH_TYPE[direction]
    return _bpf(
        _Command.LINK_CREATE, _attr("4I2IQ", program_fd, ifindex, attach_type, _BPF_F_BEFORE, 0, 0, 0)
    )


def link_raw_tracepoint(program_fd: int, name: str) -> int:
    """A descriptor of a new link by which a program runs at a tracepoint; it ends with its last reference."""
    word = ctypes.create_string_buffer(name.encode())
    return _bpf(_Command.RAW_TRACEPOINT_OPEN, _attr("QIIQ", ctypes.addressof(word), program_fd, 0, 0))


def detach_link(fd: int) -> None:
    """Detach a link; when this returns, its program runs no more. One that is detached is not an error."""
    try:
        _bpf(_Command.LINK_DETACH, _attr("I", fd))
    except OSError as err:
        if err.errno not in (errno.ENOLINK, errno.ENODEV):
            raise


def has_tcx(program_fd: int) -> bool:
    """Whether the kernel has TCX (Linux 6.6): one that has not refuses the type before the device."""
    no_such_ifindex = (1 << 31) - 1
    try:
        os.close(link_tcx(program_fd, no_such_ifindex, "ingress"))
    except OSError as err:
        return err.errno == errno.ENODEV
    return True


def possible_cpus() -> int:
    """How many CPUs the kernel reserves room for: the number of values of a per-CPU entry."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    spans = [r.partition("-") for r in ranges]
    return sum(int(last or first) - int(first) + 1 for first, _, last in spans)
