"""Packets as a segment keeps them: a batch is one row, a compressed Arrow stream (docs/decisions/0013)."""

from __future__ import annotations

import pyarrow as pa

from smartxd.records import STREAMS
from smartxd.store import openflows

CHUNK = pa.schema([pa.field("chunk", pa.binary(), nullable=False)])

TABLES: dict[str, pa.Schema] = {**STREAMS, "packets": CHUNK, openflows.TABLE: openflows.SCHEMA}
"""The rows of each table in a segment: of each stream, and the flows that go on."""

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def packed(stream: str, table: pa.Table) -> pa.Table:
    """What is written of a batch: its rows, or a single one that holds them all."""
    if TABLES[stream] is not CHUNK:
        return table
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table.combine_chunks())
    return pa.table([pa.array([sink.getvalue().to_pybytes()], pa.binary())], schema=CHUNK)


def unpacked(stream: str, table: pa.Table) -> pa.Table:
    """The rows of a batch again; ArrowException when they are none."""
    if TABLES[stream] is not CHUNK:
        return table
    return pa.ipc.open_stream(table["chunk"][0].as_buffer()).read_all()
