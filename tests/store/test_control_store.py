"""The daemon's memory: what it keeps, over restarts and kills."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smartxd.errors import StoreError
from smartxd.objects import Condition, ConditionType, Event, ObjectRef, OwnedObject
from smartxd.store import control
from smartxd.store.control import ControlStore

A = ObjectRef("Tunnel", "a")
NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


def test_inventory_conditions_history_and_commit_survive_a_restart(tmp_path: Path) -> None:
    link = OwnedObject("kernel", "link vx100", A)
    ready = Condition(A, ConditionType.READY, True, "Converged", "fine", "c1", NOW)
    event = Event(NOW, "c1", A, "Applied", "create link vx100")
    store = ControlStore(tmp_path / "control.sqlite")
    store.claim([link])
    store.save([ready], [event], "c1")
    store.close()
    store = ControlStore(tmp_path / "control.sqlite")
    assert store.owned() == {link}
    assert store.conditions() == (ready,)
    assert store.events(10) == (event,)
    assert store.commit() == "c1"
    store.release([link])
    assert store.owned() == frozenset()
    store.close()


def test_claiming_again_changes_the_owner(tmp_path: Path) -> None:
    store = ControlStore(tmp_path / "control.sqlite")
    store.claim([OwnedObject("kernel", "link x", A)])
    other = OwnedObject("kernel", "link x", ObjectRef("Tunnel", "b"))
    store.claim([other])
    assert store.owned() == {other}
    store.close()


def test_history_is_bounded_and_the_oldest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "EVENTS_MAX", 5)
    store = ControlStore(tmp_path / "control.sqlite")
    for n in range(12):
        store.save([], [Event(NOW + timedelta(seconds=n), "c", A, "Applied", str(n))], "c")
    assert [e.message for e in store.events(100)] == ["7", "8", "9", "10", "11"]
    store.close()


def test_what_was_claimed_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    script = (
        "import sys; from pathlib import Path; from smartxd.objects import *; "
        "from smartxd.store.control import ControlStore; store = ControlStore(Path(sys.argv[1])); "
        "store.claim([OwnedObject('kernel', 'link x', ObjectRef('Tunnel', 'a'))]); "
        "print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "claimed\n"
        os.kill(child.pid, signal.SIGKILL)
    store = ControlStore(path)
    assert {o.id for o in store.owned()} == {"link x"}
    store.close()


def test_a_file_of_a_newer_smartxd_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="newer smartxd"):
        ControlStore(path)


@pytest.mark.parametrize("page", [0, 1])
def test_a_damaged_file_is_set_aside_and_a_new_one_made(
    tmp_path: Path, page: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sqlite"
    store = ControlStore(path)
    store.claim([OwnedObject("kernel", f"link {n}", A) for n in range(500)])
    store.close()
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)
    store = ControlStore(path)
    assert store.owned() == frozenset()
    store.close()
    assert path.with_suffix(".damaged").exists()
    assert "was damaged" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_what_was_known_stays_readable(tmp_path: Path) -> None:
    store = ControlStore(tmp_path / "control.sqlite")
    store.claim([OwnedObject("kernel", "link x", A)])
    pages = store._connection.execute("pragma page_count").fetchone()[0]
    store._connection.execute(f"pragma max_page_count={pages}")  # SQLite's own way to be full
    with pytest.raises(StoreError, match="full"):
        store.claim([OwnedObject("kernel", f"link {n}", A) for n in range(5000)])
    assert {o.id for o in store.owned()} == {"link x"}
    store.close()


def test_two_threads_may_claim_and_release_at_once(tmp_path: Path) -> None:
    store = ControlStore(tmp_path / "control.sqlite")

    def work(plane: str) -> None:
        for n in range(100):
            mine = OwnedObject(plane, f"thing {n}", A)
            store.claim([mine])
            assert mine in store.owned()
            store.save([], [Event(NOW, "c", A, "Applied", mine.id)], "c")
            if n % 2:
                store.release([mine])
                assert mine not in store.owned()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(work, plane) for plane in ("kernel", "frr")]:
            done.result(60)
    kept = {OwnedObject(p, f"thing {n}", A) for p in ("kernel", "frr") for n in range(0, 100, 2)}
    assert store.owned() == kept
    assert len(store.events(1000)) == 200
    store.close()
    again = ControlStore(tmp_path / "control.sqlite")
    assert again.owned() == kept
    again.close()
