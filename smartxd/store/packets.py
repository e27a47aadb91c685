"""Packets out of the segments of a store, from any process, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from smartxd.records import PACKET
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.queries import Warn, left_out, segments
from smartxd.store.segments import SegmentReader, StoredBatch

STREAM = "packets"


def newest(directory: Path, wanted: FlowFilter, limit: int, warn: Warn) -> pa.Table:
    """The newest packets, the newest first."""
    best = PACKET.empty_table()
    for path in reversed(list(segments(directory, wanted))):
        with left_out(path, warn), SegmentReader(path) as reader:
            for batch in sorted(_batches(reader, wanted), key=lambda b: b.sums.t_max_ns, reverse=True):
                if best.num_rows == limit and batch.sums.t_max_ns < pc.min(best["time_ns"]).as_py():
                    break
                found = pa.concat_tables([best, wanted.chosen(reader.rows(batch))])
                best = found.sort_by([("time_ns", "descending")]).slice(0, limit)
    return best


def scan(directory: Path, wanted: FlowFilter, warn: Warn) -> Iterator[pa.Table]:
    """The packets in the order in which they were stored, at most a batch at a time."""
    for path in segments(directory, wanted):
        with left_out(path, warn), SegmentReader(path) as reader:
            for batch in _batches(reader, wanted):
                found = wanted.chosen(reader.rows(batch))
                if found.num_rows:
                    yield found


def _batches(reader: SegmentReader, wanted: FlowFilter) -> list[StoredBatch]:
    """Those that may hold packets of the time."""
    return [
        batch
        for batch in reader.batches(STREAM, 0)
        if not batch.gone and wanted.since_ns <= batch.sums.t_max_ns and batch.sums.t_min_ns < wanted.until_ns
    ]
