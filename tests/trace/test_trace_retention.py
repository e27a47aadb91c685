"""How long a policy's rows are kept is told to the capture process, which keeps them no longer."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
import trace_frames as f
from capture_process import Capture
from trace_box import Box, Collected, tracer

from smartxd import bpfsys
from smartxd.capture.maps import PolicyMaps
from smartxd.capture.tracing import Tracing
from smartxd.manifest import Manifest
from smartxd.planes.trace.state import Tracer
from smartxd.reconcile.plan import Verb
from smartxd.terms import PIN, RECORD_BYTES, Retention, Terms

pytestmark = pytest.mark.kernel
FRAME = f.ethernet(0x0800, f.ip4(17, f.udp(1111, 2222)))
HOUR = Retention(hours=1)


def grow_old(capture: Capture) -> None:
    """Stop the capture process; let two hours pass for what it has stored."""
    assert capture.stop() == ""
    for path in capture.captures.glob("flows-*.sqlite"):
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE batches SET t_max_ns = t_max_ns - 7200 * 1000000000")


def test_what_is_asked_of_a_policy_that_runs_holds_for_its_rows_also_when_it_is_gone(
    capture: Capture,
) -> None:
    box, asked = capture.box, tracer("wan", retention=HOUR)
    assert box.converge(tracer("wan")) == []
    pinned = box.policy().pin_dir
    box.send(FRAME)
    capture.start()
    capture.wait_for_packets(1)
    grow_old(capture)
    (action,) = box.plan(asked).actions
    assert action.verb is Verb.UPDATE
    assert [(c.field, c.old, str(c.new)) for c in action.changes] == [("retention", None, "1 h")]
    assert box.converge(asked) == []
    assert box.plan(asked).actions == ()
    assert box.policy().pin_dir == pinned  # without a new build
    capture.start()
    capture.wait_for(lambda r: r.streams[0].tombstoned_rows == 1)
    box.send(FRAME)
    capture.wait_for_packets(2)
    assert capture.stored_packets() == 1
    # The policy goes, and what it has promised stays.
    assert box.converge() == []
    capture.wait_for(lambda _: not pinned.exists())
    grow_old(capture)
    capture.start()
    report = capture.wait_for(lambda r: r.streams[0].tombstoned_rows == 2)
    assert (report.streams[0].captured_rows, report.streams[0].pending_rows) == (2, 0)
    assert capture.stored_packets() == 0
    assert capture.stop() == ""


def test_of_two_builds_of_a_policy_the_one_that_runs_says_how_long(box: Box) -> None:
    tracing = Tracing(Collected(), pytest.fail, box.secrets_dir)

    def told(*tracers: Tracer) -> dict[str, Retention | None]:
        assert box.converge(*tracers) == []
        with box.inside():
            tracing.drain(Manifest.read(box.manifest_path))
        return tracing.retentions

    assert told(tracer("wan", retention=HOUR)) == {"wan": HOUR}
    assert told(tracer("wan", flows_max=32)) == {"wan": None}
    assert told(tracer("wan", flows_max=32, retention=HOUR)) == {"wan": HOUR}
    assert told() == {"wan": HOUR}  # its last drain
    assert told() == {}
    tracing.close()


def test_terms_of_another_release_are_of_no_use_and_the_policy_is_built_anew(box: Box) -> None:
    asked = tracer("wan", retention=Retention(24, 500))
    assert box.converge(asked) == []
    for size in (RECORD_BYTES - 6, RECORD_BYTES + 64):
        before = box.policy().pin_dir
        (before / PIN).unlink()
        fd = bpfsys.create_map(bpfsys.MapType.ARRAY, 4, size, 1)
        bpfsys.pin(fd, before / PIN)
        os.close(fd)
        (action,) = box.plan(asked).actions
        assert (action.verb, action.old.terms) == (Verb.RECREATE, Terms())
        assert box.converge(asked) == []
        assert box.plan(asked).actions == ()
        assert box.policy().pin_dir != before
    maps = PolicyMaps(box.policy().pin_dir)
    assert maps.terms() == asked.terms
    maps.close()
