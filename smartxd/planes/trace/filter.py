"""Classic BPF, as libpcap compiles filters to it, as the text of a C function: pure.

The function reads the frame as bpf/frame.h shows it, and means what libpcap's bpf_filter() means: a load from
behind the end and a division by zero are no match. Classic BPF only jumps forward, so there are no loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

Code = tuple[int, int, int, int]
"""An instruction: code, jt, jf and k of ``struct sock_filter`` in linux/filter.h."""

_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_SIZES = {0x00: 32, 0x08: 16, 0x10: 8}
_IMM, _ABS, _IND, _MEM, _LEN, _MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
_OPERATORS = {0x00: "+", 0x10: "-", 0x20: "*", 0x40: "|", 0x50: "&", 0xA0: "^"}
_SHIFTS = {0x60: "<<", 0x70: ">>"}
_DIVISIONS = {0x30: "/", 0x90: "%"}
_NEG, _JA, _TXA, _RET_A = 0x80, 0x00, 0x80, 0x10
_COMPARISONS = {0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&"}
_SHIFT_BITS = 32
_TAG_AT, _TAG_END, _ANYWHERE = 12, 16, 1 << 32
_DIRECT_MAX = 256
"""Instructions of a filter that reads the packet in place; a larger one calls, for clang's sake."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as an operator wrote it, and what libpcap made of it."""

    text: str
    program: tuple[Code, ...] = ()
    """Empty when it could not be compiled."""
    refused: str = ""
    """Why not."""

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=64)
def c_function(name: str, program: Sequence[Code]) -> str:
    """``bool name(struct frame *f)``: whether the program returns anything but 0 for the frame.

    ValueError for what is not a program of classic BPF that ends.
    """
    targets = {target for pc, code in enumerate(program) for target in _targets(pc, code)}
    if not program or max(targets, default=0) >= len(program):
        raise ValueError("a filter's program must end within itself")
    memory = sorted({k for code, _, _, k in program if _uses_memory(code)})
    words = ", ".join(f"{word} = 0" for word in ("a", "x", *(f"m{k}" for k in memory)))
    lines = [f"static __always_inline bool {name}(struct frame *f)", "{", f"\tu32 {words};", ""]
    reader = "load" if len(program) <= _DIRECT_MAX else "fetch"
    for pc, code in enumerate(program):
        if pc in targets:
            lines.append(f"l{pc}:")
        lines += [f"\t{statement};" for statement in _statements(pc, code, reader)]
    return "\n".join([*lines, "}", ""])


def _targets(pc: int, code: Code) -> Iterator[int]:
    """Where an instruction may go, other than to the next one."""
    op, jt, jf, k = code
    if op & 7 == _JMP:
        offsets = (k,) if op & 0xF0 == _JA else (jt, jf)
        yield from (pc + 1 + offset for offset in offsets if offset)


def _uses_memory(op: int) -> bool:
    return op & 7 in (_ST, _STX) or (op & 7 in (_LD, _LDX) and op & 0xE0 == _MEM)


def _statements(pc: int, code: Code, reader: str) -> Iterator[str]:
    op, _, _, k = code
    kind = op & 7
    if kind in (_LD, _LDX):
        yield from _load(op, k, reader)
    elif kind == _ST:
        yield f"m{k} = a"
    elif kind == _STX:
        yield f"m{k} = x"
    elif kind == _ALU:
        yield from _arithmetic(op, k)
    elif kind == _JMP:
        yield from _jump(pc, code)
    elif kind == _RET:
        yield "return a != 0" if op & 0x18 == _RET_A else f"return {'true' if k else 'false'}"
    else:
        yield "a = x" if op & 0xF8 == _TXA else "x = a"


def _load(op: int, k: int, reader: str) -> Iterator[str]:
    word, mode = "a" if op & 7 == _LD else "x", op & 0xE0
    if mode == _ABS:
        yield f"if (!{_read(reader, _SIZES[op & 0x18], k, k)}(f, {k}u, &{word})) return false"
    elif mode == _IND:
        place = f"{_read(reader, _SIZES[op & 0x18], k)}(f, x + {k}u, &{word})"
        yield f"if (x + {k}u < x || !{place}) return false"
    elif mode == _MSH:
        yield f"if (!{_read(reader, 8, k, k)}(f, {k}u, &x)) return false"
        yield "x = (x & 0xf) * 4"
    else:
        yield f"{word} = " + {_IMM: f"{k}u", _MEM: f"m{k}", _LEN: "f->length"}[mode]


def _read(reader: str, bits: int, lowest: int, highest: int = _ANYWHERE) -> str:
    """The cheapest of the reads of bpf/frame.h for offsets from lowest to highest."""
    if lowest >= _TAG_END:
        return f"{reader}{bits}_behind_tag"
    return f"{reader}{bits}_before_tag" if highest + bits // 8 <= _TAG_AT else f"{reader}{bits}"


def _arithmetic(op: int, k: int) -> Iterator[str]:
    by_x, name = bool(op & 8), op & 0xF0
    operand = "x" if by_x else f"{k}u"
    if name == _NEG:
        yield "a = -a"
    elif name in _OPERATORS:
        yield f"a = a {_OPERATORS[name]} {operand}"
    elif name in _SHIFTS and (by_x or k < _SHIFT_BITS):
        shifted = f"a {_SHIFTS[name]} {operand}"
        yield f"a = x < {_SHIFT_BITS} ? {shifted} : 0" if by_x else f"a = {shifted}"
    elif name in _SHIFTS:
        yield "a = 0"
    elif not by_x and k == 0:
        yield "return false"
    else:
        if by_x:
            yield "if (!x) return false"
        yield f"a = a {_DIVISIONS[name]} {operand}"


def _jump(pc: int, code: Code) -> Iterator[str]:
    op, jt, jf, k = code
    if op & 0xF0 == _JA:
        yield f"goto l{pc + 1 + k}" if k else ""
        return
    condition = f"a {_COMPARISONS[op & 0xF0]} {'x' if op & 8 else f'{k}u'}"
    if jt and jf:
        yield f"if ({condition}) goto l{pc + 1 + jt}"
        yield f"goto l{pc + 1 + jf}"
    elif jt:
        yield f"if ({condition}) goto l{pc + 1 + jt}"
    elif jf:
        yield f"if (!({condition})) goto l{pc + 1 + jf}"
