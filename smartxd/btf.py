"""What the running kernel says of its own types (BTF).

At the root because both wings need it: the trace plane builds a program with the places of fields, the
capture process names what such a program records. Kernels differ in both, so nothing of it is written down
anywhere else.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

VMLINUX = Path("/sys/kernel/btf/vmlinux")
_MAGIC = 0xEB9F
_HEADER = "=HBBIIIII"
_TYPE = struct.Struct("=III")
_MEMBER = struct.Struct("=III")
_ENUMERATOR = struct.Struct("=II")
_NESTING_MAX = 8


class _Kind(IntEnum):
    INT = 1
    POINTER = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    PROTOTYPE = 13
    VARIABLE = 14
    SECTION = 15
    TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_FIXED_BYTES = {_Kind.INT: 4, _Kind.ARRAY: 12, _Kind.VARIABLE: 4, _Kind.TAG: 4}
_EACH_BYTES = {
    **{_Kind.STRUCT: 12, _Kind.UNION: 12, _Kind.ENUM: 8},
    **{_Kind.PROTOTYPE: 8, _Kind.SECTION: 12, _Kind.ENUM64: 12},
}
_ALIASES = frozenset({_Kind.TYPEDEF, _Kind.VOLATILE, _Kind.CONST, _Kind.RESTRICT, _Kind.TYPE_TAG})


class NoType(LookupError):
    """The kernel has no such type, or the type no such field."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of a field in a struct."""

    bit: int
    """From the struct's beginning."""
    type_id: int

    @property
    def offset(self) -> int:
        """In bytes."""
        return self.bit // 8


class Types:
    """The types of a kernel; ValueError for data that is no BTF of this machine's byte order."""

    def __init__(self, data: bytes) -> None:
        """``data`` is what ``VMLINUX`` holds."""
        if len(data) < struct.calcsize(_HEADER):
            raise ValueError("no BTF: too short")
        magic, _, _, header, types, types_bytes, strings, strings_bytes = struct.unpack_from(_HEADER, data)
        if magic != _MAGIC:
            raise ValueError("no BTF: another magic number")
        self._data = data
        self._first, self._end = header + types, header + types + types_bytes
        self._strings, self._strings_end = header + strings, header + strings + strings_bytes
        self._places = array("I")

    @classmethod
    def of_kernel(cls, path: Path = VMLINUX) -> Types:
        """Those of the running kernel; OSError where it does not tell."""
        return cls(path.read_bytes())

    def has_name(self, name: str) -> bool:
        """Whether anything has this name; this costs little."""
        return self._name_at(name) is not None

    def enum(self, name: str) -> dict[str, int]:
        """The values of an enum by name; this costs little."""
        at = self._find(name, _Kind.ENUM)
        _, info, _ = _TYPE.unpack_from(self._data, at)
        signed = bool(info >> 31)
        values = {}
        for i in range(info & 0xFFFF):
            word, value = _ENUMERATOR.unpack_from(self._data, at + _TYPE.size + i * _ENUMERATOR.size)
            values[self._text(word)] = value - (1 << 32) if signed and value >> 31 else value
        return values

    def size(self, name: str) -> int:
        """Bytes of a struct."""
        return int(_TYPE.unpack_from(self._data, self._find(name, _Kind.STRUCT))[2])

    def place(self, name: str, path: str) -> Place:
        """Where a struct has a field: ``inner.field`` goes into structs, also through unnamed ones."""
        at, bit, type_id = self._find(name, _Kind.STRUCT), 0, 0
        for field in path.split("."):
            if type_id:
                at = self._resolved(type_id)
            found = self._member(at, field)
            if found is None:
                raise NoType(f"struct {name} of this kernel has no {path}")
            bit, type_id = bit + found.bit, found.type_id
        return Place(bit, type_id)

    def arguments(self, typedef: str) -> int:
        """How many arguments a function has whose type, or the type of a pointer to it, has this name."""
        at = self._find(typedef, _Kind.TYPEDEF)
        for _ in range(_NESTING_MAX):
            _, info, target = _TYPE.unpack_from(self._data, at)
            if info >> 24 & 31 == _Kind.PROTOTYPE:
                return int(info & 0xFFFF)
            at = self._at(target)
        raise NoType(f"{typedef} of this kernel is no function")

    def _member(self, at: int, field: str, nesting: int = 0) -> Place | None:
        _, info, _ = _TYPE.unpack_from(self._data, at)
        if info >> 24 & 31 not in (_Kind.STRUCT, _Kind.UNION) or nesting > _NESTING_MAX:
            return None
        for i in range(info & 0xFFFF):
            word, type_id, bit = _MEMBER.unpack_from(self._data, at + _TYPE.size + i * _MEMBER.size)
            if info >> 31:
                bit &= 0xFFFFFF  # above is the width of a bit field
            name = self._text(word)
            if name == field:
                return Place(bit, type_id)
            if not name:
                found = self._member(self._resolved(type_id), field, nesting + 1)
                if found is not None:
                    return Place(bit + found.bit, found.type_id)
        return None

    def _resolved(self, type_id: int) -> int:
        """Where the type is that an id stands for, behind other names of it."""
        at = self._at(type_id)
        for _ in range(_NESTING_MAX):
            _, info, target = _TYPE.unpack_from(self._data, at)
            if info >> 24 & 31 not in _ALIASES:
                break
            at = self._at(target)
        return at

    def _at(self, type_id: int) -> int:
        if not self._places:
            self._index()
        if not 0 < type_id <= len(self._places):
            raise NoType(f"type {type_id} of this kernel is void")
        return self._places[type_id - 1]

    def _index(self) -> None:
        """Note where each type is: they are numbered as they follow each other."""
        at = self._first
        while at < self._end:
            _, info, _ = _TYPE.unpack_from(self._data, at)
            self._places.append(at)
            kind = info >> 24 & 31
            each = _EACH_BYTES.get(kind, 0) * (info & 0xFFFF)
            at += _TYPE.size + _FIXED_BYTES.get(kind, 0) + each

    def _find(self, name: str, kind: _Kind) -> int:
        """Where a type of this name begins: found by its name's number, which nothing but names have."""
        word = self._name_at(name)
        if word is not None:
            wanted, at = struct.pack("=I", word), self._first - 1
            while (at := self._data.find(wanted, at + 1, self._end)) >= 0:
                if at % 4 == 0 and int(_TYPE.unpack_from(self._data, at)[1]) >> 24 & 0x1F == kind:
                    return at
        raise NoType(f"this kernel has no {kind.name.lower()} {name}")

    def _name_at(self, name: str) -> int | None:
        found = self._data.find(b"\0" + name.encode() + b"\0", self._strings, self._strings_end)
        return found + 1 - self._strings if found >= 0 else None

    def _text(self, word: int) -> str:
        start = self._strings + word
        return self._data[start : self._data.index(b"\0", start)].decode("ascii", "replace")
