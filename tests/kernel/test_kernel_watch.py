from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from smartxd.planes.kernel.watch import RESYNC, KernelWatch

pytestmark = pytest.mark.kernel


@pytest.fixture
def heard() -> queue.SimpleQueue[str]:
    return queue.SimpleQueue()


@pytest.fixture
def watch(box: Any, heard: queue.SimpleQueue[str]) -> Iterator[KernelWatch]:
    made = KernelWatch(heard.put)
    with box.inside():
        made.start()
    try:
        yield made
    finally:
        made.stop()


def hear(heard: queue.SimpleQueue[str], what: str) -> float:
    """When it was heard; whatever else was said before is skipped."""
    while heard.get(timeout=5) != what:
        pass
    return time.monotonic()


def test_a_deletion_is_heard_at_once(box: Any, watch: KernelWatch, heard: queue.SimpleQueue[str]) -> None:
    box.ip("link add br0 type bridge")
    hear(heard, "link br0 changed")
    box.ip("address add 10.0.0.1/24 dev br0")
    hear(heard, "address 10.0.0.1/24 dev br0 added")
    box.ip("address del 10.0.0.1/24 dev br0")
    hear(heard, "address 10.0.0.1/24 dev br0 deleted")
    before = time.monotonic()
    box.ip("link del br0")
    # The limit is wide for a busy machine and includes starting `ip`; a poll interval would still exceed it.
    assert hear(heard, "link br0 deleted") - before < 1.0


def test_a_port_that_leaves_a_bridge_is_not_said_to_be_deleted(
    box: Any, watch: KernelWatch, heard: queue.SimpleQueue[str]
) -> None:
    box.batch(["link add br0 type bridge", "link set wan master br0", "link set wan nomaster"])
    box.ip("link add mark type bridge")
    said = []
    while (what := heard.get(timeout=5)) != "link mark changed":
        said.append(what)
    assert "link wan changed" in said
    assert "link wan deleted" not in said


def test_other_namespaces_are_not_heard(
    box: Any, namespace: Any, watch: KernelWatch, heard: queue.SimpleQueue[str]
) -> None:
    namespace().ip("link add elsewhere type bridge")
    box.ip("link add here type bridge")
    said = []
    while (what := heard.get(timeout=5)) != "link here changed":
        said.append(what)
    assert not [what for what in said if "elsewhere" in what]


def test_an_idle_watch_costs_no_cpu_and_stops_at_once(box: Any, heard: queue.SimpleQueue[str]) -> None:
    watch = KernelWatch(heard.put)
    with box.inside():
        watch.start()
    thread = next(t for t in threading.enumerate() if t.name == "kernel-watch")
    ticks_before = _cpu_ticks(thread)
    time.sleep(1.0)  # Idleness is what is measured: there is no event to wait for.
    assert _cpu_ticks(thread) - ticks_before <= 1
    before = time.monotonic()
    watch.stop()
    assert time.monotonic() - before < 1.0
    assert not thread.is_alive()
    watch.stop()


def _cpu_ticks(thread: threading.Thread) -> int:
    with open(f"/proc/self/task/{thread.native_id}/stat") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_more_than_can_be_read_in_time_asks_for_a_resync(box: Any) -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    hold, held = threading.Event(), threading.Event()

    def slow(what: str) -> None:
        heard.put(what)
        held.set()
        hold.wait(30)

    watch = KernelWatch(slow)
    with box.inside():
        watch.start()
    try:
        box.ip("link add br0 type bridge")
        assert held.wait(5)
        box.batch([f"link set br0 mtu {mtu}" for mtu in range(1000, 3000)])
        hold.set()
        hear(heard, RESYNC)
    finally:
        hold.set()
        watch.stop()
