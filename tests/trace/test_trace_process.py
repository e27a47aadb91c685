"""``smartxd capture`` as it is run: a process of its own in the box's namespace."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import trace_frames as f
from capture_process import PATIENCE_S, Capture
from trace_box import Box, Collected, stored_flows, tracer

from smartxd.capture.tracing import Tracing
from smartxd.manifest import Manifest
from smartxd.report import TracerReport
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.queries import scan

pytestmark = pytest.mark.kernel
FRAME = f.ethernet(0x0800, f.ip4(17, f.udp(1111, 2222)))


def test_it_drains_reports_and_drains_a_last_time_when_it_is_stopped(capture: Capture) -> None:
    box = capture.box
    box.converge(tracer("wan", directions=("ingress", "egress")))
    capture.start()
    truncated, malformed = FRAME[:-2], FRAME[:14] + b"\x44" + FRAME[15:]
    box.send(*[FRAME] * 4, truncated, *[malformed] * 2)
    report = capture.wait_for_packets(7)
    egress, ingress = report.tracers
    assert ingress == TracerReport(
        policy="wan",
        interface="wan",
        direction="ingress",
        attached=True,
        packets=7,
        bytes=7 * len(FRAME) - 2,
        lost_packets=0,
        truncated_skbs=1,
        malformed_skbs=2,
        packets_per_s=ingress.packets_per_s,
        flows=ingress.flows,
    )
    assert (egress.direction, egress.packets) == ("egress", 0)
    box.send(FRAME)
    assert capture.stop() == ""
    assert capture.stored_packets() == 8


def test_flows_end_by_the_time_outs_of_their_policy_which_change_without_a_build(capture: Capture) -> None:
    box = capture.box
    box.converge(tracer("wan", active_timeout_s=3600, idle_timeout_s=3600))
    (built,) = box.manifest.policies
    box.send(FRAME)
    capture.start()
    capture.wait_for_packets(1)
    assert _ended(capture) == []
    assert box.converge(tracer("wan", active_timeout_s=3600, idle_timeout_s=1)) == []
    assert [p.incarnation for p in box.manifest.policies] == [built.incarnation]
    capture.wait_for(lambda _: _ended(capture) == [("wan", 1, "idle")])
    box.send(FRAME)
    capture.wait_for_packets(2)
    box.converge()
    capture.wait_for(lambda _: _ended(capture) == [("wan", 1, "idle"), ("wan", 1, "stopped")])
    assert capture.stop() == ""


def _ended(capture: Capture) -> list[tuple[Any, ...]]:
    rows = [row for table in scan(capture.captures, FlowFilter(), _fail) for row in table.to_pylist()]
    return [(row["policy"], row["packets"], row["end_reason"]) for row in rows]


def _fail(err: object) -> None:
    raise AssertionError(err)


def test_a_retired_policy_is_drained_a_last_time_and_its_pins_removed(capture: Capture) -> None:
    box = capture.box
    box.converge(tracer("wan"), tracer("wan", name="kept"))
    box.send(*[FRAME] * 3)
    box.converge(tracer("wan", name="kept"))
    (retired,) = [p for p in box.manifest.policies if p.retired]
    capture.start()
    capture.wait_for_packets(3)  # of the one that is kept
    capture.wait_for(lambda _: not retired.pin_dir.exists())
    assert capture.stop() == ""
    assert stored_flows(capture.captures, "select policy, interface, packets from flows order by 1") == [
        ("kept", "wan", 3),
        ("wan", "wan", 3),
    ]
    box.converge(tracer("wan", name="kept"))
    assert [p.name for p in box.manifest.policies] == ["kept"]


def test_a_store_that_is_deleted_ends_it_in_one_line_and_costs_no_count(capture: Capture) -> None:
    box = capture.box
    box.converge(tracer("wan"), tracer("wan", name="old"))
    process = capture.start()
    box.send(FRAME)
    capture.wait_for(lambda r: sum(t.packets for t in r.tracers) == 2)
    box.converge(tracer("wan"))  # the last counts of a retired policy are what could be lost
    capture.hold()
    shutil.rmtree(capture.captures)
    box.send(*[FRAME] * 5)
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1
    assert "removed while it was written" in said
    assert "hint: smartxd capture starts a new one" in said
    assert "Traceback" not in said
    capture.running.clear()
    capture.start()
    capture.wait_for_packets(6)
    capture.stop()
    assert capture.stored_packets() == 5


def test_a_failing_store_never_costs_a_retired_policy_its_counts(box: Box) -> None:
    class Failing(Collected):
        def append(self, *_: object, **__: object) -> None:
            raise FileNotFoundError("the store's directory")

    box.converge(tracer("wan"))
    box.send(*[FRAME] * 3)
    box.converge()
    (retired,) = box.manifest.policies
    said: list[str] = []
    for store in (Failing(), good := Collected()):
        assert retired.pin_dir.exists()
        tracing = Tracing(store, said.append, box.secrets_dir)
        tracing.drain(box.manifest)
        tracing.close()
    assert not retired.pin_dir.exists()
    assert sum(flow["packets"] for flow in good.flows) == 3
    assert len(said) == 1


def test_what_another_release_left_is_discarded_and_that_is_said(box: Box) -> None:
    box.converge(tracer("wan"))
    box.send(FRAME)
    box.converge()
    (retired,) = box.manifest.policies
    (retired.pin_dir / "cost").unlink()
    said: list[str] = []
    tracing = Tracing(Collected(), said.append, box.secrets_dir)
    for _ in range(2):
        assert tracing.drain(box.manifest) == ()
    tracing.close()
    (line,) = said
    assert "policy wan: what its old build held last is discarded: map cost is missing" in line
    assert not retired.pin_dir.exists()


def test_rows_name_an_interface_that_the_manifest_does_not_tell_yet(capture: Capture) -> None:
    """Programs count from when they are attached; the manifest is published after that."""
    box = capture.box
    box.converge(tracer("wan"))
    told = box.manifest
    early = Manifest(policies=tuple(p.model_copy(update={"interfaces": ()}) for p in told.policies))
    early.write(box.manifest_path)
    box.send(FRAME)
    capture.start()
    capture.wait_for(lambda r: sum(s.captured_rows for s in r.streams) == 1)
    told.write(box.manifest_path)
    capture.wait_for_packets(1)  # so its total was not forgotten meanwhile
    capture.stop()
    assert stored_flows(capture.captures, "select interface, packets from flows") == [("wan", 1)]


def test_a_second_one_is_refused_in_one_line(capture: Capture) -> None:
    capture.start()
    capture.wait_for(lambda r: r.at is not None)
    second = capture.start()
    said = second.communicate(timeout=PATIENCE_S)[1]
    assert second.returncode == 1
    assert "another smartxd capture runs for box b1" in said
    assert "Traceback" not in said


def test_a_policy_that_cannot_be_drained_stops_no_other_and_is_said_once(capture: Capture) -> None:
    box = capture.box
    box.converge(tracer("wan", name="broken"), tracer("wan"))
    (box.policy("broken").pin_dir / "flows0").unlink()
    capture.start()
    box.send(*[FRAME] * 3)
    capture.wait_for_packets(3)
    said = capture.stop().splitlines()
    assert len(said) == 1
    assert "policy broken: not drained" in said[0]


def test_a_manifest_that_cannot_be_read_is_said_and_survived(capture: Capture) -> None:
    box = capture.box
    box.converge(tracer("wan"))
    good = box.manifest_path.read_text()
    box.manifest_path.write_text("{")
    said = capture.start().stderr
    assert said is not None
    assert "not a trace manifest" in said.readline()
    box.send(FRAME)
    box.manifest_path.write_text(good)
    capture.wait_for_packets(1)


def test_it_costs_next_to_nothing_when_nothing_passes(capture: Capture) -> None:
    """At the default interval of 5 s; measured at 0.25 s, so a twentieth of what is seen here."""
    capture.configure(interval_s=0.25)
    capture.box.converge(tracer("wan", directions=("ingress", "egress")))
    process = capture.start()
    capture.wait_for(lambda r: bool(r.tracers))
    before_s, started_s = _cpu_s(process.pid), time.monotonic()
    time.sleep(3)
    share = (_cpu_s(process.pid) - before_s) / (time.monotonic() - started_s)
    assert share / 20 < 0.005


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
