"""A batch: the rows of one stream that are sent, acknowledged and counted as one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from smartxd.records import ADDED, SPANS

MAX_ROWS = 65_536
"""Bound on the rows of a batch, and with it on a request to the centre."""


@dataclass(frozen=True, slots=True, order=True)
class BatchKey:
    """Names a batch everywhere and for ever; ``seq`` counts up within a store's ``epoch``."""

    box: str
    stream: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What the rows of a batch add up to; times in nanoseconds since the epoch.

    Rows that have no packets or bytes add up to 0 of them.
    """

    rows: int
    packets: int
    bytes: int
    t_min_ns: int
    t_max_ns: int

    @classmethod
    def of(cls, stream: str, table: pa.Table) -> Sums:
        """The sums of a table that is not empty."""
        first, last = SPANS[stream]
        return cls(
            table.num_rows,
            _sum(table, "packets"),
            _sum(table, "bytes"),
            pc.min(table[first]).as_py(),
            pc.max(table[last]).as_py(),
        )


def _sum(table: pa.Table, name: str) -> int:
    return int(pc.sum(table[name]).as_py()) if name in table.column_names else 0


def split(table: pa.Table) -> Iterator[pa.Table]:
    """The table in batches of at most MAX_ROWS rows, in order; nothing for an empty one."""
    for start in range(0, table.num_rows, MAX_ROWS):
        yield table.slice(start, MAX_ROWS)


def checksum(table: pa.Table) -> str:
    """32 hex digits over the content: names, types, validity and values, in row order.

    Computed from values, not from an encoding, so that rows read back from SQLite or from the wire give the
    same digits as the rows that were captured. SQLite's own integrity check does not see a flipped bit.
    A column that older releases lack counts only where it says more than they could: their digits stay right.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(table.num_rows.to_bytes(8, "little"))
    for field in table.schema:
        column = table[field.name].combine_chunks()
        if field.name in ADDED and _all_are(column, ADDED[field.name]):
            continue
        digest.update(f"{field.name}:{field.type};".encode())
        digest.update(pc.is_valid(column).to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_string(field.type) or pa.types.is_binary(field.type):
            texts = pc.fill_null(column, "" if pa.types.is_string(field.type) else b"")
            digest.update(pc.binary_length(texts).to_numpy(zero_copy_only=False).astype("<i4").tobytes())
            digest.update(_joined(texts))
        else:
            values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _all_are(column: pa.Array, value: int | None) -> bool:
    if value is None:
        return bool(column.null_count == len(column))
    return bool(pc.all(pc.equal(column, value), skip_nulls=False).as_py())


def _joined(texts: pa.Array) -> memoryview:
    """The bytes of all texts, one behind the other, none of them null: as Arrow keeps them."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return memoryview(b"")
    at = memoryview(offsets).cast("i")
    return memoryview(data)[at[texts.offset] : at[texts.offset + len(texts)]]
