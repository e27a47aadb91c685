"""Packets of a policy that hides addresses, of every frame of the oracle, by the real programs and ring."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from oracle_frames import ETHERNET_BYTES, ODD, SOUND, pcaps
from scapy.layers.inet6 import IPv6
from scapy.packet import NoPayload, Packet
from trace_box import Box, Collected, tracer
from tshark_oracle import OPTIONS

from smartxd.capture.tracing import Tracing
from smartxd.export.pcapng import Blocks
from smartxd.records import PACKET
from smartxd.terms import Privacy

pytestmark = pytest.mark.kernel

HIDDEN = {"truncate": Privacy("truncate"), "pseudonym": Privacy("pseudonym", key="people")}
ADDRESSES = ("src_ip", "dst_ip", "inner_src_ip", "inner_dst_ip")
CHANGED = {*ADDRESSES, "digest", "data", "time_ns"}
"""Columns of a packet that hiding changes, or that change from time to time."""
PAYLOAD = {"load", "data", "icv"}
FIELDS = (
    "ip.addr",
    "ipv6.addr",
    "tcp.port",
    "udp.port",
    "sctp.port",
    "vxlan.vni",
    "eth.addr",
    "icmp.type",
    "icmpv6.type",
)
PORTS = ("src_port", "dst_port", "inner_src_port", "inner_dst_port")
WITH_PORTS, ICMP = (6, 17, 132), (1, 58)

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Trace:
    """What was stored of all frames, in their order, under each privacy ("keep" too), and of their twins."""

    frames: list[bytes]
    wholes: list[int]
    """The numbers of those that are not cut off."""
    secrets: list[set[bytes]]
    """The addresses in each frame."""
    rows: dict[str, Rows]
    twins: Rows
    """Of frames with other addresses, under truncate: their prefixes are the same."""


def fields(packet: Packet) -> Iterator[tuple[Packet, str, Any]]:
    """All that is set in a packet, its options included, layer by layer."""
    while not isinstance(packet, NoPayload):
        for name, value in list(packet.fields.items()):
            yield packet, name, value
            for item in value if isinstance(value, list) else ():
                if isinstance(item, Packet):
                    yield from fields(item)
        packet = packet.payload


def bits(value: str) -> bytes | None:
    """An address, as it stands in a frame."""
    if value.count(":") == 5 and "::" not in value:
        return bytes.fromhex(value.replace(":", ""))
    try:
        return ipaddress.ip_address(value).packed
    except ValueError:
        return None


def addresses(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and bits(one) is not None:
            yield one


def other(address: str) -> str:
    """Another one of the same /24 or /48; of Ethernet, which is a group as well if this one is."""
    if (raw := bits(address)) is not None and len(raw) == 6:
        return bytes(byte ^ (0xFF if at else 0xFE) for at, byte in enumerate(raw)).hex(":")
    ip = ipaddress.ip_address(address)
    return str(type(ip)(int(ip) ^ (0xFF if ip.version == 4 else (1 << 80) - 1)))


def twin(packet: Packet) -> Packet:
    """The same packet with other addresses and other payload, and what follows from them."""
    made = packet.copy()
    for layer, name, value in fields(made):
        if isinstance(layer, IPv6):
            layer.fields["fl"] = 0xABCDE  # some make it of the addresses
        if name in PAYLOAD and isinstance(value, bytes):
            layer.fields[name] = bytes(byte ^ 0x3C for byte in value)
        elif isinstance(value, str) and any(addresses(value)):
            layer.fields[name] = other(value)
        elif isinstance(value, list) and value and len(list(addresses(value))) == len(value):
            layer.fields[name] = [other(one) for one in value]
    return made


def arrives(frame: bytes) -> bool:
    """The kernel drops what begins with a tag and ends there, before it shows it to any program."""
    return len(frame) >= ETHERNET_BYTES + 4 + 2 or frame[12:14] not in (b"\x81\x00", b"\x88\xa8")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    folder = tmp_path_factory.mktemp("hidden")
    files, twins = pcaps(), pcaps(twin)
    box = Box(folder)
    try:
        box.secrets_dir.mkdir()
        key = box.secrets_dir / "people"
        key.touch(0o600)
        key.write_text("k" * 64)
        tracing = Tracing(store := Collected(), pytest.fail, box.secrets_dir)

        def stored(privacy: Privacy | None, frames: Iterator[bytes]) -> Rows:
            store.packet_tables.clear()
            policy = tracer("wan", flows_max=None, snap_length="headers", privacy=privacy)
            assert box.converge(policy) == []
            box.send(*filter(arrives, frames))
            with box.inside():
                tracing.drain(box.manifest)
            return store.packets

        def every(of: dict[str, list[bytes]]) -> Iterator[bytes]:
            return (frame for file in of.values() for frame in file)

        rows = {"keep": stored(None, every(files))}
        rows |= {name: stored(privacy, every(files)) for name, privacy in HIDDEN.items()}
        named = [(name, n, frame) for name, file in files.items() for n, frame in enumerate(file)]
        named = [one for one in named if arrives(one[2])]
        packets = SOUND | ODD
        inside = {
            name: {bits(one) or b"" for *_, value in fields(packet) for one in addresses(value)}
            for name, packet in packets.items()
        }
        yield Trace(
            frames=[frame for *_, frame in named],
            wholes=[at for at, (_, n, _) in enumerate(named) if n == 0],
            secrets=[inside[name] for name, *_ in named],
            rows=rows,
            twins=stored(HIDDEN["truncate"], every(twins)),
        )
        tracing.close()
    finally:
        box.delete()


def test_frames_that_differ_in_what_is_hidden_are_stored_alike(trace: Trace) -> None:
    """So nothing of it can be worked out from what is stored, digests aside, which have a key."""
    assert len(trace.twins) == len(trace.frames) > 1600
    for row, twin_, frame in zip(trace.rows["truncate"], trace.twins, trace.frames, strict=True):
        same = {name for name in row if row[name] == twin_[name]}
        assert same >= row.keys() - {"digest", "time_ns"}, frame.hex()


@pytest.mark.parametrize("how", HIDDEN)
def test_no_address_is_in_what_is_stored_and_the_rest_is_as_it_was(trace: Trace, how: str) -> None:
    found: set[bytes] = set()
    for row, clear, frame, secrets in zip(
        trace.rows[how], trace.rows["keep"], trace.frames, trace.secrets, strict=True
    ):
        assert [row[name] for name in row.keys() - CHANGED] == [clear[name] for name in row.keys() - CHANGED]
        assert len(row["data"]) <= len(clear["data"])
        assert not [secret.hex() for secret in secrets if secret in row["data"]], frame.hex()
        found |= {secret for secret in secrets if secret in clear["data"]}
        for name in ADDRESSES:
            assert (row[name] is None) == (clear[name] is None)
            assert row[name] is None or row[name] != clear[name]
    assert {len(address) for address in found} == {4, 6, 16}


@pytest.mark.parametrize("how", HIDDEN)
def test_a_digest_tells_the_same_packets_from_others_as_one_in_clear(trace: Trace, how: str) -> None:
    pairs = {
        (row["digest"], clear["digest"])
        for row, clear in zip(trace.rows[how], trace.rows["keep"], strict=True)
    }
    assert len(pairs) == len(set(dict(pairs))) == len(set(dict(pairs).values())) > 100
    assert all(hidden != clear and 0 <= hidden < 1 << 53 for hidden, clear in pairs)


@pytest.mark.parametrize("how", HIDDEN)
def test_tshark_reads_in_the_frames_what_the_columns_say(trace: Trace, how: str, tmp_path: Path) -> None:
    rows = trace.rows[how]
    blocks = Blocks("box", ())
    table = pa.Table.from_pylist(rows, schema=PACKET)
    file = tmp_path / "hidden.pcapng"
    file.write_bytes(b"".join([blocks.begin(), *blocks.packets(table), *blocks.end()]))
    shown = read_by_tshark(file)
    for at, (row, said) in enumerate(zip(rows, shown, strict=True)):
        ips = [row[name] for name in ADDRESSES if row[name] is not None]
        assert sorted(said["ip.addr"] + said["ipv6.addr"]) == sorted(ips), trace.frames[at].hex()
        assert set(said["eth.addr"]) == {"00:00:00:00:00:00"}
        read = [said[name] for name in ("tcp.port", "udp.port", "sctp.port")]
        types = [said[name] for name in ("icmp.type", "icmpv6.type")]
        ports, first = at_ends(row, PORTS, WITH_PORTS), at_ends(row, PORTS[::2], ICMP)
        if at in trace.wholes:
            assert (as_numbers(*read), as_numbers(*types)) == (ports, first), trace.frames[at].hex()
            assert as_numbers(said["vxlan.vni"]) == [vni for vni in [row["vni"]] if vni is not None]
        else:
            assert set(as_numbers(*read)) <= set(ports)


def at_ends(row: dict[str, Any], names: tuple[str, ...], protocols: tuple[int, ...]) -> list[int]:
    """Ports of a packet, in layers of these protocols."""
    protocol = {name: row["inner_protocol" if name.startswith("inner_") else "protocol"] for name in names}
    return sorted(row[name] for name in names if row[name] is not None and protocol[name] in protocols)


def as_numbers(*words: list[str]) -> list[int]:
    return sorted(int(word) for some in words for word in some)


def read_by_tshark(file: Path) -> list[dict[str, list[str]]]:
    """The fields of each frame, those of all its layers."""
    options = [word for option in OPTIONS for word in ("-o", option)]
    options += [word for name in FIELDS for word in ("-e", name)]
    argv = ["tshark", "-n", "-r", str(file), "-T", "fields", "-E", "separator=|", *options]
    done = subprocess.run(argv, check=True, timeout=120, capture_output=True, text=True)
    return [
        {
            name: [word for word in text.split(",") if word]
            for name, text in zip(FIELDS, line.split("|"), strict=True)
        }
        for line in done.stdout.splitlines()
    ]
