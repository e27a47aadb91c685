"""Two ways through the program, in place and header by header: they say the same of every packet."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import trace_frames as f
from oracle_frames import ODD, SOUND
from trace_box import Box, Collected, tracer
from trace_trial import FLOWS_MAX, Trial

from smartxd.capture.layout import FLOW_KEY
from smartxd.capture.maps import PolicyMaps

pytestmark = pytest.mark.kernel
SLOWLY = ("enum shape shape = recognise(c, direction, fits, plain, key)", "enum shape shape = UNUSUAL")
OWN_PLACES_ONLY = ("flow = flow_of(odd, key, now)", "flow = is_plain ? 0 : flow_of(odd, key, now)")
TAKE = "__sync_val_compare_and_swap(half, 0, mine)"
CROWDED = (
    ("#define GROUPS ((FLOWS_MAX + GROUP - 1) / GROUP)", "#define GROUPS 1"),
    (TAKE, f"({{ for (int n = 0; n < 100; n++) bpf_ktime_get_ns(); {TAKE}; }})"),
    (
        "int ingress(struct __sk_buff *skb)\n{\n",
        "int ingress(struct __sk_buff *skb)\n{\n"
        "u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;\n"
        "if (data + ETH_HLEN + 28 <= end)\n\t*(u16 *)(data + 36) = be16(bpf_get_prandom_u32() % 8);\n",
    ),
)
"""Four places for eight flows, in no order, and time to get in each other's way between look and exchange."""
NOTHING = ("#ifdef OUTER_FILTER\n\tif", "\treturn false;\n#ifdef OUTER_FILTER\n\tif")
SEED = 20
SOL_PACKET, PACKET_VNET_HDR = 263, 15
FRAMES = {name: bytes(packet) for name, packet in (SOUND | ODD).items()}
UDP = f.ethernet(0x0800, f.ip4(17, f.udp(1111, 2222, b"x" * 9)))
VNI = 0x123456


def _drawn_frames(draw: random.Random) -> Iterator[bytes]:
    """Each frame whole, cut off anywhere, and with bytes and bits that are others."""
    for frame in FRAMES.values():
        yield frame
        yield frame + bytes(18)  # Ethernet's padding
        for _ in range(30):
            yield frame[: draw.randrange(15, len(frame))]
        for _ in range(60):
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


def test_where_a_quarter_of_the_places_would_do_nearly_every_flow_finds_its_own(
    trial: Callable[..., Trial],
) -> None:
    """Of scans of ports and of hosts, whose keys differ in little."""
    lonely, count = trial(OWN_PLACES_ONLY), FLOWS_MAX // 4
    for n in range(count):
        host, port = (f"10.9.{n >> 8}.{n & 255}", 53) if n % 2 else ("10.9.0.0", n)
        lonely.run(f.ethernet(0x0800, f.ip4(17, f.udp(40000, port), dst=host)))
    lost = lonely.ledger()["overflow_skbs"]
    assert len(lonely.flows()) == count - lost
    assert 0 < lost < count / 100


def test_a_flow_that_two_cpus_see_first_at_once_has_one_entry(trial: Callable[..., Trial]) -> None:
    crowded, rounds, packets = trial(*CROWDED), 1000, 40
    usable = sorted(os.sched_getaffinity(0))
    start = Barrier(2)

    def see(cpu: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {cpu})
        start.wait()
        crowded.run(UDP, repeat=packets)

    with ThreadPoolExecutor(2) as cpus:
        for round in range(rounds):
            list(cpus.map(see, (usable[0], usable[-1])))
            assert sum(skbs for skbs, *_ in crowded.flows().values()) == 2 * packets, round
            crowded.forget()


def test_a_flow_has_one_entry_whichever_way_its_packets_take(trial: Callable[..., Trial]) -> None:
    """IPv4 options and a first fragment are read header by header, a plain packet is not."""
    fast = trial()
    for name in ("udp", "ip-options", "ip-first-fragment"):
        fast.run(FRAMES[name])
    ((skbs, *_),) = fast.flows().values()
    assert skbs == 3


def test_what_is_not_selected_is_counted_as_filtered_in_wire_packets_and_bytes(
    trial: Callable[..., Trial],
) -> None:
    nothing, everything = trial(NOTHING), trial()
    segment = 100
    whole = f.ethernet(0x0800, f.ip4(6, f.tcp(1, 2, 0x10, payload=bytes(3 * segment))))
    for each in (nothing, everything):
        each.run(FRAMES["udp"])
        each.run(FRAMES["arp"])
        each.run(whole, gso_size=segment, gso_segs=3)
        each.run(whole, gso_size=segment)  # the kernel does not say how many
    assert nothing.flows() == {}
    filtered, seen = nothing.ledger(), everything.ledger()
    for what in ("packets", "skbs", "bytes"):
        assert filtered[f"filtered_{what}"] == filtered[f"seen_{what}"] == seen[f"seen_{what}"]
    assert (seen["seen_packets"], seen["seen_skbs"], seen["filtered_skbs"]) == (8, 4, 0)
    assert seen["seen_bytes"] == sum(len(FRAMES[n]) for n in ("udp", "arp")) + 2 * (len(whole) + 2 * 54)


def test_the_times_of_a_flow_are_unix_times(box: Box) -> None:
    box.converge(tracer("wan"))
    before_ns = time.time_ns()
    box.send(*[UDP] * 4)
    store = Collected()
    box.drain(store)
    (row,) = store.flows
    coarse_clock_ns = 20_000_000
    assert before_ns - coarse_clock_ns <= row["first_ns"] <= row["last_ns"] <= time.time_ns()


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
        f.ethernet(0x0800, f.ip4(17, f.udp(5555, 4789, f.vxlan(VNI, inner)))),
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
    assert [r["inner_dst_port"] for r in store.flows if r["vni"] == VNI] == [80]
    assert ledger["truncated_skbs"] == ledger["malformed_skbs"] == 0


def test_interfaces_of_any_number_are_told_apart(box: Box) -> None:
    """Two that share a place in the ledger's array, and one whose number no small key can hold."""
    places = {"wan1": 1000, "wan2": 1000 + 256, "wan3": 1000 + 512, "big": (1 << 23) + 1000}
    for name, index in places.items():
        box.run(f"ip link add {name} index {index} type veth peer name {name}p")
        box.run(f"ip link set {name} up")
        box.run(f"ip link set {name}p up")
    box.converge(tracer(*places, directions=("ingress", "egress")))
    for _ in range(3):
        store = Collected()
        for repeats, name in enumerate(places, 1):
            box.send(*[UDP] * repeats, out=f"{name}p")
            box.send(*[UDP] * repeats, out=name)
        box.drain(store)
        assert {(r["interface"], r["direction"], r["packets"], r["src_ip"]) for r in store.flows} == {
            (name, direction, repeats, "192.0.2.1")
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
    for name in ("udp", "tcp", "icmp", "sctp", "ip-first-fragment"):
        small.run(FRAMES[name])
        large.run(FRAMES[name])
    assert small.flows() == large.flows()
    keys = np.frombuffer(b"".join(small.flows()), FLOW_KEY)
    assert {socket.inet_ntoa(k["outer"]["src_ip"][:4].tobytes()) for k in keys} == {"192.0.2.1"}
