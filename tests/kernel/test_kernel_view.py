from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from kernel_chaos import Chaos

from smartxd.errors import PlaneError
from smartxd.planes.kernel import observe
from smartxd.planes.kernel.multicast import BUFFER_BYTES, Changes, Multicast
from smartxd.planes.kernel.observed import KernelObserved
from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.view import View

pytestmark = pytest.mark.kernel


class Sight:
    """A view of a box, and fresh ones to compare it with."""

    def __init__(self, box: Any, buffer_bytes: int) -> None:
        self._box = box
        with box.inside():
            self.rtnl = Rtnl()
            self.view = View(self.rtnl, buffer_bytes)

    def close(self) -> None:
        self.view.close()
        self.rtnl.close()

    def fresh(self) -> KernelObserved:
        with self._box.inside():
            view = View(self.rtnl)
        try:
            return view.observed()
        finally:
            view.close()

    def check(self, what: object = "") -> KernelObserved:
        """The view is what a fresh look shows, as soon as the box rests."""
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            kept = self.view.observed()
            fresh = self.fresh()
            found = differences(kept, fresh)
            # The kernel tells of an IPv6 address later than it shows it.
            late = all(line.startswith("('") and "::" in line for line in found) and found
            if self.view.observed() is kept and not late:
                assert not found, f"{found} after {what}"
                assert kept == fresh
                return kept
            time.sleep(0.02)
        raise AssertionError(f"the box does not rest after {what}")


def differences(kept: KernelObserved, fresh: KernelObserved) -> list[str]:
    found = []
    for table in ("links", "addresses", "routes"):
        old, new = getattr(kept, table), getattr(fresh, table)
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                found.append(f"{key}: kept {old.get(key)}, fresh {new.get(key)}")
    return found


@contextmanager
def sight(box: Any, buffer_bytes: int = BUFFER_BYTES) -> Iterator[Sight]:
    made = Sight(box, buffer_bytes)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def looked(box: Any) -> Iterator[Sight]:
    with sight(box) as made:
        yield made


def test_without_a_change_it_is_the_same_object(box: Any, looked: Sight) -> None:
    box.quiet()
    first = looked.check()
    box.ip("link set wan mtu 1400")
    box.ip("link set wan mtu 1500")
    assert looked.view.observed() is first
    looked.view.resync()
    assert looked.view.observed() is first
    box.ip("link set wan mtu 1400")
    second = looked.view.observed()
    assert second is not first
    assert second.links["wan"].mtu == 1400
    assert second.links["wan-peer"] is first.links["wan-peer"]


def test_routes_that_vanish_without_a_word(box: Any, looked: Sight) -> None:
    for lines in (
        ["link set wan down", "link set wan up"],
        ["address del 192.0.2.1/24 dev wan", "address add 192.0.2.1/24 dev wan"],
        ["link del wan"],
    ):
        box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
        assert looked.check().routes
        box.batch(lines)
        assert not looked.check(lines).routes


def test_a_link_that_is_seen_down_is_seen_without_its_routes(box: Any, looked: Sight) -> None:
    """The kernel tells that the link goes down before it drops the routes, and does not tell that."""
    box.batch([f"link add b{n} up type bridge" for n in range(20)])
    for _ in range(50):
        box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
        assert looked.view.observed().routes
        hand = threading.Thread(target=box.ip, args=["link set wan down"])
        hand.start()
        while (observed := looked.view.observed()).links["wan"].up:
            pass
        hand.join()
        assert not observed.routes
        box.ip("link set wan up")


def test_a_hand_that_never_rests(box: Any, looked: Sight) -> None:
    lines = []
    for n in range(40):
        lines += [
            f"link add c{n % 7} up type bridge",
            f"address add 10.{n % 7}.0.1/24 dev c{n % 7}",
            f"route add 10.10{n % 7}.0.0/16 via 10.{n % 7}.0.9 proto 83",
            f"link set wan-peer master c{n % 7}",
            f"link del c{(n + 3) % 7}",
        ]
    looked.check()
    enough = threading.Event()

    def change() -> None:
        box.batch(lines, force=True)
        while not enough.is_set():
            box.batch(lines, force=True)

    hand = threading.Thread(target=change)
    hand.start()
    looks = 0
    while hand.is_alive():
        with suppress(PlaneError):  # It is busy.
            looked.view.observed()
            looks += 1
        if looks > 5:
            enough.set()
    hand.join()
    assert looked.check().routes


def test_a_route_of_ours_that_a_hand_replaces(box: Any, looked: Sight) -> None:
    box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
    assert looked.check().routes
    box.ip("route replace 10.0.0.0/8 via 192.0.2.8")
    assert not looked.check().routes


def test_names_are_swapped(box: Any, looked: Sight) -> None:
    box.ip("link add sw1 type bridge")
    box.ip("link add sw2 type bridge")
    box.ip("link set wan master sw1")
    box.ip("route add 10.0.0.0/8 via 192.0.2.9 proto 83")
    looked.check()
    box.batch(
        [
            "link set sw1 name sw3",
            "link set sw2 name sw1",
            "link set sw3 name sw2",
            "link set wan-peer name end",
        ]
    )
    assert looked.check().links["wan"].master == "sw2"


def test_a_veth_whose_other_end_moves(box: Any, looked: Sight, namespace: Any) -> None:
    one, two = namespace(), namespace()
    looked.check()

    def peer() -> str | None:
        return looked.check().links["wan"].peer_namespace

    box.ip(f"link set wan-peer netns {one.name}")
    assert peer() == one.name
    one.ip("link set wan-peer up")
    assert peer() == one.name
    one.ip(f"link set wan-peer netns {two.name}")
    assert peer() == two.name
    two.ip(f"link set wan-peer netns {box.name}")
    assert peer() is None


def test_a_namespace_that_gets_its_name_late(box: Any, looked: Sight, namespace: Any) -> None:
    other = namespace()
    box.ip(f"link set wan-peer netns {other.name}")
    looked.check()
    late = f"{other.name}-x"
    other_path = f"/run/netns/{late}"
    with open(other_path, "w"):  # noqa: PTH123
        pass
    try:
        looked.check()
        box.run(f"mount --bind {other.path} {other_path}", check=False)
    finally:
        box.run(f"umount {other_path}", check=False)
        box.run(f"rm -f {other_path}")
    assert looked.check().links["wan"].peer_namespace == other.name


@pytest.mark.parametrize("buffer_bytes", [BUFFER_BYTES, 4096], ids=["roomy", "tiny"])
def test_a_burst(box: Any, buffer_bytes: int) -> None:
    with sight(box, buffer_bytes) as looked:
        looked.check()
        box.batch([f"link add b{n} type bridge" for n in range(50)])
        box.batch([f"link set b{n % 50} mtu {1300 + n % 90}" for n in range(5000)])
        looked.check()
        box.batch([f"link del b{n}" for n in range(0, 50, 2)])
        looked.check()


def test_a_reading_that_fails_is_made_up_for(
    box: Any, looked: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked.check()
    box.ip("link add sw1 type bridge")
    box.ip("address add 10.0.0.1/24 dev sw1")

    def fails(*_: object) -> Any:
        raise OSError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(observe, "addresses", fails)
        with pytest.raises(PlaneError, match="no memory"):
            looked.view.observed()
    assert ("sw1", "10.0.0.1/24") in looked.check().addresses


def test_what_is_doubted_is_read(box: Any, looked: Sight) -> None:
    looked.check()
    box.ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev wan nud permanent")
    looked.check()
    box.ip("neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev wan nud permanent protocol 83")
    box.ip("link add br0 up type bridge")
    box.ip("link set wan-peer master br0")
    box.ip("address add 2001:db8::1/64 dev br0")
    looked.view.doubt(["wan", "br0"])
    observed = looked.view.observed()
    assert observed.links["wan"].hosts
    assert ("br0", "2001:db8::1/64") in observed.addresses


def test_what_does_not_matter_is_dropped_by_the_kernel(box: Any) -> None:
    box.quiet()
    with box.inside():
        heard = Multicast()
    try:
        box.batch(["link add br0 type bridge", "link set wan master br0", "link set br0 up"])
        box.ip("link add vx0 up type vxlan id 7 dstport 4789 local 192.0.2.1")
        heard.drain(Changes())

        def told(line: str) -> Changes:
            """What is told then; of links it may be more, whose states follow by themselves."""
            changes = Changes()
            box.run(line)
            heard.drain(changes)
            return changes

        route, mac = "10.0.0.0/24 via 192.0.2.9", "02:00:00:00:00"
        for how in ("add", "replace", "del"):
            assert not told(f"ip route {how} {route} proto bgp").routes
        assert told(f"ip route add {route} proto 83").routes
        assert told(f"ip route replace {route}").routes
        assert not told(f"bridge fdb add {mac}:01 dev wan master dynamic").fdb
        assert not told(f"bridge fdb append {mac}:01 dev vx0 dst 192.0.2.2 self extern_learn").fdb
        assert told(f"bridge fdb append {mac}:11 dev vx0 dst 192.0.2.2 self").fdb
        host = f"192.0.2.100 lladdr {mac}:01 dev br0"
        assert not told(f"ip neigh replace {host} nud reachable").hosts
        assert told(f"ip neigh replace {host} nud permanent protocol 83").hosts
        assert told(f"ip neigh del {host}").hosts
    finally:
        heard.close()


@pytest.mark.parametrize(
    ("seed", "changes", "buffer_bytes", "idle"),
    [(1, 300, BUFFER_BYTES, 60), (2, 150, BUFFER_BYTES, 0), (3, 150, 4096, 60)],
    ids=["one-by-one", "all-at-once", "lost"],
)
def test_after_any_change_the_view_is_what_a_fresh_look_shows(
    box: Any, namespace: Any, seed: int, changes: int, buffer_bytes: int, idle: int
) -> None:
    # Among many links what changes is read one by one, among few all at once.
    box.batch([f"link add idle{n} up type bridge" for n in range(idle)])
    for where in ("all", "default", "wan", "wan-peer"):  # Addresses are told of at once, or nearly so.
        box.run(f"sysctl -qw net/ipv6/conf/{where}/accept_dad=0")
    chaos = Chaos(box, namespace(), seed)
    past: list[str] = []
    with sight(box, buffer_bytes) as looked:
        looked.check()
        for step in range(changes):
            if "wan" not in looked.view.observed().links:
                box.batch(
                    [
                        f"link add wan type veth peer name n{step}end",
                        "address add 192.0.2.1/24 dev wan",
                        "link set wan up",
                    ]
                )
            chaos.links = looked.view.observed().links
            past += [chaos.change() for _ in range(1 + (step % 10 == 9) * 5)]
            looked.check(past[-8:])
    assert sum(chaos.done.values()) > changes / 2, chaos.done
    assert min(chaos.done.values()) > 0, chaos.done
