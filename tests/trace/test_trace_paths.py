"""Two ways through the program, in place and header by header: they say the same of every packet."""

from __future__ import annotations

import errno
import random
import shutil
import socket
import struct
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trace_frames as f
from test_trace_parser import CASES, INNER_TCP, PLAIN_UDP, V4, tunnel
from trace_box import Box, Collected, tracer

from benchmarks.testrun import run
from smartxd import bpfsys
from smartxd.capture.layout import FLOW_KEY, LEDGER_VALUE
from smartxd.capture.maps import PolicyMaps
from smartxd.planes.trace import bpffs, pins, program, sources
from smartxd.planes.trace.state import LEDGER_MAX

pytestmark = pytest.mark.kernel
SLOWLY = ("enum shape shape = recognise(skb, &outer, &inner, &vni)", "enum shape shape = UNUSUAL")
NOTHING = ("#ifdef OUTER_FILTER\n\tif", "\treturn false;\n#ifdef OUTER_FILTER\n\tif")
COUNTERS = LEDGER_VALUE.names or ()
SEED = 20
SOL_PACKET, PACKET_VNET_HDR = 263, 15


class Trial:
    """A program that runs over frames, and what it has counted."""

    def __init__(self, pin_dir: Path) -> None:
        self._program = bpfsys.open_pin(pin_dir / "ingress")
        self._maps = PolicyMaps(pin_dir)

    def run(self, frame: bytes, **gso: int) -> None:
        run(self._program, frame, **gso)

    def flows(self) -> dict[bytes, tuple[int, ...]]:
        """Counts by key; the kind of map that a flow is in does not show."""
        found = self._maps.flows(0)
        names = ["skbs", "bytes", "more_packets", "tcp_flags"]
        rows = found.values[names].tolist()
        flows = {key.tobytes(): row for key, row in zip(found.keys, rows, strict=True)}
        assert len(flows) == len(rows)
        return flows

    def ledger(self) -> dict[str, int]:
        """The counters of the only interface and direction; nothing before the first packet."""
        rows = self._maps.ledger(0).values.tolist()
        assert len(rows) <= 1
        return dict(zip(COUNTERS, rows[0], strict=True)) if rows else {}

    def close(self) -> None:
        self._maps.close()


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    """Makes trials; each takes the texts to replace in the sources before they are built."""
    root = bpffs.MOUNT_POINT / f"smxt-{uuid.uuid4().hex[:10]}"
    bpffs.ensure(root)
    made: list[Trial] = []

    def make(*changes: tuple[str, str]) -> Trial:
        folder = Path(shutil.copytree(sources.directory(), tmp_path / f"bpf{len(made)}"))
        for old, new in changes:
            (file,) = [p for p in folder.glob("*.[ch]") if old in p.read_text()]
            file.write_text(file.read_text().replace(old, new))
        pin_dir = pins.fresh_dir(root, f"p{len(made)}", "00000000")
        program.build(program.Request(str(folder), str(pin_dir), 1 << 15, LEDGER_MAX))
        made.append(Trial(pin_dir))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.close()
        pins.remove_all(root)


def _drawn_frames(draw: random.Random) -> Iterator[bytes]:
    """Each case whole, cut off everywhere, and with bytes and bits that are others."""
    for frame, *_ in (*CASES.values(), *DAMAGE.values()):
        yield frame
        yield frame + bytes(18)  # Ethernet's padding
        for size in range(15, len(frame)):
            yield frame[:size]
        for _ in range(120):
            changed = bytearray(frame)
            for _ in range(draw.choice((1, 1, 1, 2, 5))):
                place = draw.randrange(12, len(frame))
                changed[place] = draw.choice((changed[place] ^ 1 << draw.randrange(8), draw.randrange(256)))
            yield bytes(changed[: draw.choice((len(frame), len(frame), draw.randrange(15, len(frame) + 1)))])


def test_in_place_and_header_by_header_agree_on_every_frame(trial: Callable[..., Trial]) -> None:
    fast, slow = trial(), trial(SLOWLY)
    count = size = 0
    refused: set[int | None] = set()
    draw = random.Random(SEED)
    for frame in _drawn_frames(draw):
        gso = draw.choice(({}, {}, {"gso_size": 20, "gso_segs": 3}, {"gso_size": 20}))
        try:
            fast.run(frame, **gso)
        except OSError as err:
            refused.add(err.errno)
            continue
        slow.run(frame, **gso)
        count, size = count + 1, size + len(frame)
    assert count > 3000
    assert refused <= {errno.EINVAL}  # of the kernel, before any program: frames with next to nothing in them
    assert fast.flows() == slow.flows()
    assert fast.ledger() == slow.ledger()
    counted, flows = fast.ledger(), fast.flows().values()
    assert counted["seen_skbs"] == count == sum(skbs for skbs, *_ in flows)
    assert counted["seen_bytes"] == sum(bytes_ for _, bytes_, *_ in flows) > size
    assert counted["seen_packets"] == count + sum(more for _, _, more, _ in flows)


def test_a_flow_has_one_entry_whichever_way_its_packets_take(trial: Callable[..., Trial]) -> None:
    """IPv4 options and a first fragment are read header by header, a plain packet is not."""
    fast = trial()
    for name in ("udp", "ip4-options", "ip4-first-fragment"):
        fast.run(CASES[name][0])
    ((skbs, *_),) = fast.flows().values()
    assert skbs == 3


def test_what_is_not_selected_is_counted_as_filtered_in_wire_packets_and_bytes(
    trial: Callable[..., Trial],
) -> None:
    nothing, everything = trial(NOTHING), trial()
    segment = 100
    whole = f.ethernet(0x0800, f.ip4(6, f.tcp(1, 2, 0x10, payload=bytes(3 * segment))))
    for each in (nothing, everything):
        each.run(CASES["udp"][0])
        each.run(CASES["arp"][0])
        each.run(whole, gso_size=segment, gso_segs=3)
        each.run(whole, gso_size=segment)  # the kernel does not say how many
    assert nothing.flows() == {}
    filtered, seen = nothing.ledger(), everything.ledger()
    for what in ("packets", "skbs", "bytes"):
        assert filtered[f"filtered_{what}"] == filtered[f"seen_{what}"] == seen[f"seen_{what}"]
    assert (seen["seen_packets"], seen["seen_skbs"], seen["filtered_skbs"]) == (8, 4, 0)
    assert seen["seen_bytes"] == sum(len(CASES[n][0]) for n in ("udp", "arp")) + 2 * (len(whole) + 2 * 54)


WELL = f.ethernet(0x0800, f.ip4(17, PLAIN_UDP))
WELL_TCP = f.ethernet(0x0800, f.ip4(6, f.tcp(1, 2, 0x10)))
WELL_6 = f.ethernet(0x86DD, f.ip6(17, PLAIN_UDP))
SHORTENED = f.ethernet(0x0800, INNER_TCP[:-1])


def _with(frame: bytes, place: int, value: int) -> bytes:
    return frame[:place] + bytes([value]) + frame[place + 1 :]


DAMAGE: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "none": (WELL, "", {"dst_port": 2222}),
    "padding": (WELL + bytes(20), "", {"dst_port": 2222}),
    "no-ip4-header": (WELL[:33], "truncated", {"src_ip": None}),
    "payload-cut-off": (WELL[:-1], "truncated", {"dst_port": 2222}),
    "udp-header-cut-off": (WELL[:40], "truncated", {"dst_port": 2222}),
    "ports-cut-off": (WELL[:37], "truncated", {"protocol": 17, "dst_port": None}),
    "ports-in-the-padding": (
        f.ethernet(0x0800, f.ip4(17, b"\x01\x02") + bytes(30)),
        "truncated",
        {"protocol": 17, "dst_port": None},
    ),
    "ip4-version": (_with(WELL, 14, 0x55), "malformed", {"src_ip": None}),
    "ip4-header-length": (_with(WELL, 14, 0x44), "malformed", {"src_ip": None}),
    "ip4-options-cut-off": (_with(WELL, 14, 0x4F), "malformed", {"dst_port": None}),
    "ip4-total-length": (_with(WELL, 17, 19), "malformed", {"src_ip": "192.0.2.1"}),
    "udp-length-too-small": (_with(WELL, 39, 7), "malformed", {"dst_port": 2222}),
    "udp-length-too-large": (_with(WELL, 39, 99), "truncated", {"dst_port": 2222}),
    "tcp-header-length": (_with(WELL_TCP, 46, 0x40), "malformed", {"dst_port": 2}),
    "tcp-options-cut-off": (_with(WELL_TCP, 46, 0x60), "truncated", {"dst_port": 2}),
    "ip6-version": (_with(WELL_6, 14, 0x40), "malformed", {"src_ip": None}),
    "ip6-payload-cut-off": (WELL_6[:-1], "truncated", {"dst_port": 2222}),
    "ip6-jumbogram": (_with(WELL_6, 19, 0), "", {"dst_port": 2222}),
    "vlan-tag-cut-off": (
        f.ethernet(0x0800, b"", (0x8100, 5), (0x8100, 6))[:20],
        "truncated",
        {"ethertype": 0x8100, "vlan": 5},
    ),
    "vxlan-header-cut-off": (
        f.ethernet(0x0800, f.ip4(17, f.udp(5555, 4789, bytes(7)))),
        "truncated",
        {"dst_port": 4789, "vni": None},
    ),
    "vxlan-inner-cut-off": (
        tunnel(f.ethernet(0x0800, INNER_TCP)[:-1]),
        "truncated",
        {"vni": 0x123456, "inner_dst_port": 80},
    ),
    "vxlan-inner-ends-behind-the-outer": (
        f.ethernet(0x0800, f.ip4(17, f.udp(5555, 4789, f.vxlan(0x123456, SHORTENED)))) + INNER_TCP[-1:],
        "truncated",
        {"vni": 0x123456, "inner_dst_port": 80},
    ),
    "vxlan-inner-version": (
        tunnel(f.ethernet(0x0800, _with(INNER_TCP, 0, 0x55))),
        "malformed",
        {"vni": 0x123456, "inner_src_ip": None},
    ),
}


def test_what_is_truncated_or_malformed_is_counted_as_such_and_as_a_packet(box: Box) -> None:
    box.converge(tracer("wan"))
    wrong: dict[str, Any] = {}
    for name, (frame, damage, fields) in DAMAGE.items():
        box.send(frame)
        store, maps = Collected(), PolicyMaps(box.policy().pin_dir)
        (ledger,) = maps.ledger(maps.generation).values
        maps.close()
        box.drain(store)
        (row,) = store.flows
        counted = {what: int(ledger[f"{what}_skbs"]) for what in ("seen", "truncated", "malformed")}
        found = {**counted, **{field: row[field] for field in fields}, "bytes": row["bytes"]}
        expected = {
            **{"seen": 1, "truncated": 0, "malformed": 0},
            **({damage: 1} if damage else {}),
            **fields,
            "bytes": len(frame),
        }
        if found != expected:
            wrong[name] = {k: (found[k], v) for k, v in expected.items() if found[k] != v}
    assert wrong == {}


def test_paged_packets_are_read_as_linear_ones(box: Box) -> None:
    """Frames of more than a page whose headers are not in the linear part of the skb."""
    for name in ("wan", "peer"):
        box.run(f"ip link set {name} mtu 9000")
    box.converge(tracer("wan"))
    payload = bytes(6000)
    inner = f.ethernet(0x0800, f.ip4(6, f.tcp(33, 80, 0x18, payload=payload), "10.0.0.1", "10.0.0.2"))
    frames = [
        f.ethernet(0x0800, f.ip4(17, f.udp(1111, 2222, payload))),
        f.ethernet(0x86DD, f.ip6(17, f.udp(1111, 2222, payload))),
        tunnel(inner),
    ]
    linear = (14, 33, 36, 60, 100, 110)
    with box.packet_socket("peer") as sending:
        sending.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        for frame in frames:
            for length in linear:
                sending.send(struct.pack("=BBHHHH", 0, 0, length, 0, 0, 0) + frame)
    store, maps = Collected(), PolicyMaps(box.policy().pin_dir)
    (ledger,) = maps.ledger(0).values
    maps.close()
    box.drain(store)
    assert [(r["packets"], r["bytes"]) for r in sorted(store.flows, key=lambda r: r["bytes"])] == [
        (len(linear), len(linear) * size) for size in sorted(map(len, frames))
    ]
    assert [r["inner_dst_port"] for r in store.flows if r["vni"] == 0x123456] == [80]
    assert ledger["truncated_skbs"] == ledger["malformed_skbs"] == 0


def test_interfaces_of_any_number_are_told_apart(box: Box) -> None:
    """Two that share a place in the ledger's array, and one whose number no small key can hold."""
    places = {"wan1": 1000, "wan2": 1000 + 256, "wan3": 1000 + 512, "big": (1 << 23) + 1000}
    for name, index in places.items():
        box.run(f"ip link add {name} index {index} type veth peer name {name}p")
        box.run(f"ip link set {name} up")
        box.run(f"ip link set {name}p up")
    box.converge(tracer(*places, directions=("ingress", "egress")))
    frame = f.ethernet(0x0800, f.ip4(17, PLAIN_UDP))
    for _ in range(3):
        store = Collected()
        for repeats, name in enumerate(places, 1):
            box.send(*[frame] * repeats, out=f"{name}p")
            box.send(*[frame] * repeats, out=name)
        box.drain(store)
        assert {(r["interface"], r["direction"], r["packets"], r["src_ip"]) for r in store.flows} == {
            (name, direction, repeats, V4["src_ip"])
            for repeats, name in enumerate(places, 1)
            for direction in ("ingress", "egress")
        }
    maps = PolicyMaps(box.policy().pin_dir)
    totals = maps.totals()
    assert not any(len(maps.ledger(g)) for g in (0, 1))
    maps.close()
    skbs = totals.values["sum"]["seen_skbs"].tolist()
    seen = dict(zip(totals.keys["ifindex"].tolist(), skbs, strict=True))
    assert seen == {index: 3 * repeats for repeats, index in enumerate(places.values(), 1)}


def test_small_keys_widen_to_what_the_large_ones_say(trial: Callable[..., Trial]) -> None:
    """The same flow by both kinds of key."""
    small, large = trial(), trial(("skb->ifindex <= PLAIN_IFINDEX_MAX", "0"))
    for name in ("udp", "tcp", "icmp", "sctp", "ip4-first-fragment"):
        small.run(CASES[name][0])
        large.run(CASES[name][0])
    assert small.flows() == large.flows()
    keys = np.frombuffer(b"".join(small.flows()), FLOW_KEY)
    assert {socket.inet_ntoa(k["outer"]["src_ip"][:4].tobytes()) for k in keys} == {V4["src_ip"]}
