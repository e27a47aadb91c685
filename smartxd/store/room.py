"""Room for what is captured: which files go when, whole, by what ``smartxd.toml`` says of all."""

from __future__ import annotations

import os
from pathlib import Path

from smartxd.config import CaptureConfig
from smartxd.records import SYNCED
from smartxd.store.connection import files, size
from smartxd.store.index import Index
from smartxd.store.view import Segment


class Room:
    """The bounds of a directory of captures."""

    def __init__(self, directory: Path, config: CaptureConfig, index: Index, reserve_bytes: int) -> None:
        """``reserve_bytes`` of the file system are to be left free."""
        self._directory = directory
        self._config = config
        self._index = index
        self._reserve_bytes = reserve_bytes

    def make(self, now_s: int, more_bytes: int = 0) -> None:
        """Unlink the closed files that are old and settled; and the oldest while there is too much.

        ``more_bytes`` are about to be written beside what is always written.
        """
        disk = os.statvfs(self._directory)
        excess = max(
            size(*self._directory.iterdir()) - self._config.disk_max_bytes,
            self._reserve_bytes + more_bytes - disk.f_bavail * disk.f_frsize,
        )
        for segment in self._index.segments()[:-1]:
            if excess > 0:
                excess -= size(*files(self._directory / segment.name))
                self._index.retire(segment, "disk_max_bytes reached, or the disk nearly full")
            elif self._aged(segment, now_s) and self._all_settled(segment):
                self._index.retire(segment, "retention_s reached")

    def _aged(self, segment: Segment, now_s: int) -> bool:
        return segment.closed_s is not None and now_s - segment.closed_s > self._config.retention_s

    def _all_settled(self, segment: Segment) -> bool:
        spans = self._index.spans_of(segment)
        return all(
            s.last_seq <= self._index.ledger(s.stream).settled_seq for s in spans if s.stream in SYNCED
        )
