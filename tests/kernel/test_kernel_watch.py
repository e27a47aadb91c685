from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.view import View
from smartxd.planes.kernel.watch import KernelWatch

pytestmark = pytest.mark.kernel


class Heard:
    """Counts what is told, and lets one wait for the next."""

    def __init__(self) -> None:
        self.count = 0
        self._news = threading.Condition()

    def __call__(self) -> None:
        with self._news:
            self.count += 1
            self._news.notify_all()

    def more_than(self, count: int, patience_s: float = 30) -> bool:
        with self._news:
            return self._news.wait_for(lambda: self.count > count, patience_s)

    def rest(self) -> int:
        """The count once nothing follows by itself: the states of links may be a second late."""
        count = self.count
        while self.more_than(count, 1.5):
            count = self.count
        return count


def made_view(box: Any, buffer_bytes: int) -> View:
    """Made by another thread, in another namespace than the watch is."""
    made: list[View] = []

    def make() -> None:
        with box.inside():
            made.append(View(Rtnl(), buffer_bytes))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(10)
    return made[0]


@pytest.fixture
def buffer_bytes() -> int:
    return 16 << 20


@pytest.fixture
def view(box: Any, buffer_bytes: int) -> Iterator[View]:
    box.quiet()
    made = made_view(box, buffer_bytes)
    made.observed()
    try:
        yield made
    finally:
        made.close()
        made._rtnl.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watch(view: View, heard: Heard) -> Iterator[KernelWatch]:
    made = KernelWatch(view, heard)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_whoever_is_told_finds_what_has_changed(
    box: Any, view: View, watch: KernelWatch, heard: Heard
) -> None:
    box.ip("link add br0 up type bridge")
    assert heard.more_than(0)
    count = heard.rest()
    view.observed()
    box.ip("link del br0")
    assert heard.more_than(count)
    assert "br0" not in view.observed().links


def test_it_is_told_again_where_nobody_has_looked(box: Any, watch: KernelWatch, heard: Heard) -> None:
    for mtu in (1400, 1401, 1402):
        count = heard.count
        box.ip(f"link set wan mtu {mtu}")
        assert heard.more_than(count)


@pytest.mark.parametrize("buffer_bytes", [4096])
def test_it_is_told_again_where_nobody_has_looked_until_there_was_no_room(
    box: Any, view: View, watch: KernelWatch, heard: Heard
) -> None:
    box.ip("link add br0 type bridge")
    box.batch([f"link set br0 mtu {mtu}" for mtu in range(1000, 3000)])
    count = heard.rest()
    box.ip("link set br0 mtu 1000")
    assert heard.more_than(count)
    assert view.observed().links["br0"].mtu == 1000


def test_a_burst_is_told_in_few_words(box: Any, watch: KernelWatch, heard: Heard) -> None:
    box.ip("link add br0 type bridge")
    before = time.monotonic()
    box.batch([f"link set br0 mtu {mtu}" for mtu in range(1000, 6000)])
    assert heard.more_than(0)
    assert heard.count < 20 + 110 * (time.monotonic() - before)


def test_other_namespaces_are_not_heard(box: Any, namespace: Any, watch: KernelWatch, heard: Heard) -> None:
    other = namespace()
    count = heard.rest()
    other.ip("link add elsewhere type bridge")
    assert not heard.more_than(count, 0.3)


def test_an_idle_watch_costs_no_cpu_and_stops_at_once(view: View, heard: Heard) -> None:
    watch = KernelWatch(view, heard)
    watch.start()
    thread = next(t for t in threading.enumerate() if t.name == "kernel-watch")
    heard.rest()
    ticks_before = _cpu_ticks(thread)
    time.sleep(1.0)  # Idleness is what is measured: there is no event to wait for.
    assert _cpu_ticks(thread) - ticks_before <= 1
    watch.stop()
    assert not thread.is_alive()
    watch.stop()


def _cpu_ticks(thread: threading.Thread) -> int:
    with open(f"/proc/self/task/{thread.native_id}/stat") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
