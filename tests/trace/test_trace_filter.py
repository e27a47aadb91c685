"""Filters as the kernel runs them: what libpcap says of a frame, the program says of it too."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pcap_oracle
import pytest
import trace_frames as f

from smartxd.planes.trace import sources
from smartxd.planes.trace.filter import Code, c_function
from smartxd.spec.pcap import FilterError, compiled

SEED = 20240611
FILTERS, BATCH = 240, 60
Frame = tuple[bytes, int]
"""Bytes, and the VLAN tag that the kernel holds beside them: TPID << 16 | TCI, or 0."""

ATOMS = (
    *("ip", "ip6", "arp", "rarp", "tcp", "udp", "icmp", "icmp6", "sctp", "ip multicast", "ether broadcast"),
    *("ether multicast", "ip6 multicast", "vlan", "vlan 100", "vlan 7", "mpls", "pppoes", "llc", "stp"),
    *("ether host 02:00:00:00:00:0a", "ether dst 02:00:00:00:00:0b", "ether proto 0x8100", "ip proto 47"),
    *("host 192.0.2.1", "dst host 198.51.100.2", "net 192.0.2.0/24", "src net 10.0.0.0/8", "ip6 proto 17"),
    *("host 2001:db8::1", "dst net 2001:db8:1::/48", "port 53", "src port 1000", "dst portrange 20-90"),
    *("udp port 4789", "tcp dst port 443", "tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & 0x12 = 0x12"),
    *("icmp[icmptype] = icmp-echo", "icmp6[icmp6type] = 128", "ip[6:2] & 0x1fff = 0", "ip[8] < 65"),
    *("len > 60", "len <= 42", "less 64", "greater 100", "ip[2:2] - ((ip[0] & 0xf) << 2) = 8"),
    *("ether[12:2] = 0x800", "ether[10:4] = 0x000a0800", "ether[11:2] > 0x0a00", "ether[13:4] != 0"),
    *("ether[9] = 0", "ether[15:2] & 0xff = 0", "ether[60:4] = 0", "ether[4000:2] = 5", "ether[14:1] = 69"),
    *("ether[ether[20]:2] = 5", "ether[ether[13]:4] > 9", "ether[ether[14] & 15] = 2", "ether[len - 1] = 0"),
    *("ip[9] * 2 = 34", "ip[9] / 3 = 2", "ip[8] % 7 = 1", "ip[2:2] / ip[1] = 0", "ip[2:2] % ip[1] = 0"),
    *("udp[4:2] = udp[2:2]", "ip[8] << 3 = 512", "ip[8] >> (ip[9] & 7) = 1", "len << ether[14] > 3"),
    *("ip[9] ^ 17 = 0", "-ip[9] < 5", "(ip[8] | ip[9]) - 1 > 64", "ether[14:4] + ether[18:4] > 0x70000000"),
)


def expressions() -> Iterator[str]:
    """Each atom, and then atoms joined by chance."""
    yield from ATOMS
    chance = random.Random(SEED)
    while True:
        parts = [f"{chance.choice(('', '', 'not '))}({atom})" for atom in chance.sample(ATOMS, 4)]
        joints = chance.choices((" and ", " or "), k=3)
        yield "".join(itertools.chain(*zip(parts, (*joints, ""), strict=True)))


def some_filters(count: int) -> list[tuple[Code, ...]]:
    found: list[tuple[Code, ...]] = []
    for text in expressions():
        try:
            program = tuple((i.code, i.jt, i.jf, i.k) for i in compiled(text))
        except FilterError:
            continue  # it could never match
        found.append(program)
        if len(found) == count:
            return found
    raise AssertionError


def packets() -> Iterator[bytes]:
    """What follows an Ethernet header and its tags: EtherType and payload."""
    dns, web = f.udp(1000, 53, bytes(40)), f.tcp(1000, 443, 2, payload=b"\5" * 30)
    for inner in (dns, web, f.icmp(8, 0), f.udp(50, 50), f.sctp(53, 1000)):
        number = {dns: 17, web: 6, f.icmp(8, 0): 1, f.udp(50, 50): 17}.get(inner, 132)
        yield b"\x08\0" + f.ip4(number, inner)
        yield b"\x08\0" + f.ip4(number, inner, options=b"\1" * 8)
        yield b"\x08\0" + f.ip4(number, inner, src="10.1.2.3", fragment=0x2003)
        yield b"\x86\xdd" + f.ip6(number, inner)
        yield b"\x86\xdd" + f.ip6(0, f.ip6_extension(number) + inner)
    yield b"\x08\0" + f.ip4(17, f.udp(1, 4789, f.vxlan(5, f.ethernet(0x0800, f.ip4(17, dns)))))
    yield b"\x08\x06" + bytes.fromhex("0001080006040001") + bytes(38)
    yield b"\x88\x47" + bytes.fromhex("00064140") + f.ip4(17, dns)
    yield b"\x00\x26" + bytes.fromhex("424203") + bytes(35)


def frames() -> list[Frame]:
    """Each packet untagged, tagged in-band, tagged beside, tagged twice; whole, cut short, and with noise."""
    chance, found = random.Random(SEED), list[Frame]()
    tags = (("", 0), ("81000064", 0), ("", 0x81000064), ("81000007", 0x88A80064), ("", 0x81000007))
    for packet in packets():
        for inband, beside in tags:
            whole = f.ETHERNET + bytes.fromhex(inband) + packet
            found.append((whole, beside))
            found.append((whole[: chance.randrange(14, len(whole))], beside))
            noisy = bytearray(whole)
            for _ in range(3):
                noisy[chance.randrange(12, len(noisy))] = chance.randrange(256)
            found.append((bytes(noisy), beside))
    whole = f.ETHERNET + b"\x08\0" + f.ip4(17, f.udp(1000, 53, bytes(40)))
    found += [(whole[:cut], tag) for cut in range(14, 48) for tag in (0, 0x81000064)]
    return found


def on_the_wire(frame: Frame) -> bytes:
    whole, tag = frame
    return whole[:12] + tag.to_bytes(4, "big") + whole[12:] if tag else whole


def kernel_says(
    programs: Sequence[tuple[Code, ...]], given: Sequence[Frame], *, inner: bool = False
) -> list[list[int]]:
    """What each program returns for each frame; 2 would be a frame that could not be made."""
    names = [f"f{i}" for i in range(len(programs))]
    asked = {
        "sources": str(sources.directory()),
        "functions": {name: c_function(name, program) for name, program in zip(names, programs, strict=True)},
        "frames": [(frame.hex(), tag) for frame, tag in given],
        "inner": inner,
    }
    argv = [sys.executable, str(Path(__file__).with_name("run_filters.py"))]
    done = subprocess.run(
        argv, input=json.dumps(asked), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    return [said[name] for name in names]


@pytest.mark.kernel
@pytest.mark.parametrize("batch", range(FILTERS // BATCH))
def test_the_kernel_and_libpcap_agree_on_each_frame(batch: int) -> None:
    programs, given = some_filters(FILTERS)[batch * BATCH :][:BATCH], frames()
    matched = 0
    for program, said in zip(programs, kernel_says(programs, given), strict=True):
        expected = [int(pcap_oracle.matches(program, on_the_wire(frame))) for frame in given]
        for frame, here, there in zip(given, said, expected, strict=True):
            assert here == there, (program, frame[0].hex(), frame[1])
        matched += sum(expected)
    assert 0.05 < matched / (len(programs) * len(given)) < 0.95
