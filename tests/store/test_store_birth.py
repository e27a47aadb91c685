"""A store is there whole, or not at all: a reader never meets half of one."""

from __future__ import annotations

import threading
from pathlib import Path

from smartxd.config import CaptureConfig
from smartxd.errors import StoreError
from smartxd.store.captures import CaptureStore, read_report


def test_a_reader_sees_no_store_or_a_whole_one_while_it_is_made(tmp_path: Path) -> None:
    stop = threading.Event()
    seen: list[bool] = []
    failures: list[StoreError] = []
    current = tmp_path / "0"

    def read() -> None:
        while not stop.is_set():
            try:
                seen.append(read_report(current) is not None)
            except StoreError as err:
                failures.append(err)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(30):
            current = tmp_path / str(number)
            CaptureStore(current, CaptureConfig()).close()
    finally:
        stop.set()
        reader.join()
    assert failures == []
    assert set(seen) == {False, True}
