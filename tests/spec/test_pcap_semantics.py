"""What compiled filters do with frames, on a classic-BPF machine of the test's own."""

from __future__ import annotations

import pytest

from smartxd.spec.pcap import Instruction, compiled

MASK = 0xFFFFFFFF
ALU = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x20: lambda a, b: a * b,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << b,
    0x70: lambda a, b: a >> b,
    0x90: lambda a, b: a % b,
    0xA0: lambda a, b: a ^ b,
}
JUMPS = {
    0x10: lambda a, b: a == b,
    0x20: lambda a, b: a > b,
    0x30: lambda a, b: a >= b,
    0x40: lambda a, b: bool(a & b),
}


def run(program: tuple[Instruction, ...], frame: bytes) -> int:
    """What the filter returns for a frame, by the BPF paper (McCanne, Jacobson 1993); 0 is no match."""
    a = x = pc = 0
    memory = [0] * 16
    while True:
        insn = program[pc]
        pc += 1
        kind, operand = insn.code & 0x07, x if insn.code & 0x08 else insn.k
        if kind in {0x00, 0x01}:  # a load
            value = load(insn, frame, x, memory)
            if value is None:
                return 0
            a, x = (value, x) if kind == 0x00 else (a, value)
        elif kind in {0x02, 0x03}:
            memory[insn.k] = a if kind == 0x02 else x
        elif kind == 0x04:
            a = -a & MASK if insn.code & 0xF0 == 0x80 else ALU[insn.code & 0xF0](a, operand) & MASK
        elif kind == 0x05:
            name = insn.code & 0xF0
            pc += insn.k if name == 0 else insn.jt if JUMPS[name](a, operand) else insn.jf
        elif kind == 0x06:
            return a if insn.code & 0x18 == 0x10 else insn.k
        else:
            a, x = (x, x) if insn.code & 0x80 else (a, a)


def load(insn: Instruction, frame: bytes, x: int, memory: list[int]) -> int | None:
    mode, size = insn.code & 0xE0, {0x00: 4, 0x08: 2, 0x10: 1}[insn.code & 0x18]
    if mode == 0xA0:  # four times the low half of a byte: the length of an IPv4 header
        return 4 * (frame[insn.k] & 0x0F) if insn.k < len(frame) else None
    if mode in {0x20, 0x40}:
        at = insn.k + (x if mode == 0x40 else 0)
        return int.from_bytes(frame[at : at + size], "big") if at + size <= len(frame) else None
    return {0x00: insn.k, 0x60: memory[insn.k % 16], 0x80: len(frame)}[mode]


MACS = bytes.fromhex("020000000002 020000000001")


def in_ipv4(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    head = bytes([0x45 + len(options) // 4, 0]) + (20 + len(options) + len(payload)).to_bytes(2, "big")
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return (
        bytes.fromhex("0800") + head + bytes([0, 0, 0, 0, 64, protocol, 0, 0]) + addresses + options + payload
    )


def ports(source: int, destination: int) -> bytes:
    return source.to_bytes(2, "big") + destination.to_bytes(2, "big")


def in_ipv6(protocol: int, payload: bytes) -> bytes:
    address = bytes.fromhex("20010db8") + bytes(11)
    head = bytes([0x60, 0, 0, 0]) + len(payload).to_bytes(2, "big") + bytes([protocol, 64])
    return bytes.fromhex("86dd") + head + address + b"\1" + address + b"\2" + payload


VXLAN = MACS + in_ipv4(17, ports(50000, 4789) + bytes(12))
VXLAN_BEHIND_OPTIONS = MACS + in_ipv4(17, ports(50000, 4789) + bytes(12), options=b"\1" * 8)
DNS = MACS + in_ipv4(17, ports(50000, 53) + bytes(12))
SYN = MACS + in_ipv4(6, ports(50000, 4789) + bytes(8) + b"\x50\x02" + bytes(6))
VXLAN6 = MACS + in_ipv6(17, ports(50000, 4789) + bytes(4))
TAGGED = MACS + bytes.fromhex("8100 0064") + VXLAN[12:]


@pytest.mark.parametrize(
    ("expression", "matching", "others"),
    [
        (
            "udp port 4789",
            [VXLAN, VXLAN_BEHIND_OPTIONS, VXLAN6],
            [DNS, SYN, TAGGED, VXLAN[:30], b""],
        ),
        ("tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", [SYN], [VXLAN, VXLAN6]),
        ("vlan 100 and udp dst port 4789", [TAGGED], [VXLAN]),
        ("vlan 101", [], [TAGGED, VXLAN]),
        ("net 10.0.0.0/31", [VXLAN, SYN], [VXLAN6]),
        ("dst net 10.0.0.0/31", [], [VXLAN, VXLAN6]),
        ("ip6 src host 2001:db8::1", [VXLAN6], [VXLAN]),
        ("ip6 dst host 2001:db8::1", [], [VXLAN6, VXLAN]),
        ("ip[2:2] - ((ip[0]&0xf)<<2) = 16", [VXLAN, VXLAN_BEHIND_OPTIONS], [SYN]),
        ("portrange 4788-4790 and not tcp", [VXLAN, VXLAN6], [SYN, DNS]),
        ("len > 50", [VXLAN_BEHIND_OPTIONS, SYN], [VXLAN]),
        (r"ether src 02:00:00:00:00:01 and ether proto \ip6", [VXLAN6], [VXLAN]),
    ],
)
def test_a_program_matches_the_frames_that_its_filter_means(
    expression: str, matching: list[bytes], others: list[bytes]
) -> None:
    program = compiled(expression)
    assert [bool(run(program, frame)) for frame in matching] == [True] * len(matching)
    assert [bool(run(program, frame)) for frame in others] == [False] * len(others)
