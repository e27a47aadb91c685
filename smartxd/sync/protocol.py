"""How a batch travels: ``PUT`` of an Arrow IPC stream in zstd, to a path that is the batch's key.

At least once on the wire, exactly once in effect: the same key may be sent again, and the centre answers 200
for what it has. The checksum is over the content, so it holds from capture to the centre's tables.
"""

from __future__ import annotations

from urllib.parse import quote

import pyarrow as pa

from smartxd.records import without
from smartxd.store.batch import BatchKey

API = "/api/v1"
CONTENT_TYPE = "application/vnd.apache.arrow.stream+zstd"
CHECKSUM = "X-SmartX-Checksum"

BODY_MAX = 16 << 20
"""Bytes of a compressed body."""
CONTENT_MAX = 64 << 20
"""Bytes of an unpacked body."""
REPORT_MAX = 4 << 20
"""Bytes of a box's report."""


def ingest_path(key: BatchKey) -> str:
    """Where a batch is PUT."""
    return f"{API}/ingest/{quote(key.box, safe='')}/{quote(key.stream)}/{quote(key.epoch)}/{key.seq}"


def report_path(box: str) -> str:
    """Where a box POSTs its report."""
    return f"{API}/boxes/{quote(box, safe='')}/report"


def encode(table: pa.Table) -> bytes:
    """The body of a batch."""
    sink = pa.BufferOutputStream()
    with (
        pa.CompressedOutputStream(sink, "zstd") as packed,
        pa.ipc.new_stream(packed, table.schema) as stream,
    ):
        stream.write_table(table)
    return bytes(sink.getvalue())


def decode(body: bytes, schema: pa.Schema, max_rows: int) -> pa.Table:
    """The table in a body, validated in full; ValueError says in a line what is wrong with it.

    A box of an older release does not send the columns that came after it: they are filled in.
    The body may be hostile: nothing is allocated beyond CONTENT_MAX, whatever lengths it claims.
    """
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as packed:
            content = packed.read(CONTENT_MAX + 1)
        if len(content) > CONTENT_MAX:
            raise ValueError(f"unpacks to more than {CONTENT_MAX} bytes")
        table = _read(content, schema, max_rows)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as err:
        line = (str(err).splitlines() or [type(err).__name__])[0]
        raise ValueError(f"not an Arrow IPC stream in zstd: {line}") from err
    return table


def _read(content: bytes, schema: pa.Schema, max_rows: int) -> pa.Table:
    for message in pa.ipc.MessageReader.open_stream(content):
        if message.type == "record batch" and _compressed(bytes(message.metadata)):
            raise ValueError("record batches must not be compressed again inside the stream")
    with pa.ipc.open_stream(content) as stream:
        added = without(schema, stream.schema.names)
        sent = pa.schema([field for field in schema if field.name not in added])
        if not stream.schema.equals(sent):
            raise ValueError(f"another schema: {_difference(stream.schema, sent)}")
        batches: list[pa.RecordBatch] = []
        rows = 0
        for batch in stream:
            rows += batch.num_rows
            if rows > max_rows:
                raise ValueError(f"more than {max_rows} rows")
            batches.append(batch)
    table = pa.Table.from_batches(batches, sent)
    for name, value in added.items():
        values = pa.repeat(pa.scalar(value, schema.field(name).type), rows)
        table = table.add_column(schema.get_field_index(name), schema.field(name), values)
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name} has nulls")
    return table


def _compressed(metadata: bytes) -> bool:
    """Whether a record batch's header has the field ``compression``, read from the flatbuffer itself.

    A compressed buffer claims its own unpacked size, which pyarrow allocates before it unpacks.
    """
    try:
        message = _u32(metadata, 0)
        header_at = message + _field(metadata, message, 2)
        header = header_at + _u32(metadata, header_at)
        return _field(metadata, header, 3) != 0
    except IndexError:
        raise ValueError("a message header is cut short") from None


def _field(metadata: bytes, table: int, slot: int) -> int:
    """The offset of a field within a flatbuffer table; 0 when it is absent."""
    vtable = table - int.from_bytes(_slice(metadata, table, 4), "little", signed=True)
    at = 4 + 2 * slot
    if int.from_bytes(_slice(metadata, vtable, 2), "little") <= at:
        return 0
    return int.from_bytes(_slice(metadata, vtable + at, 2), "little")


def _u32(metadata: bytes, at: int) -> int:
    return int.from_bytes(_slice(metadata, at, 4), "little")


def _slice(metadata: bytes, at: int, length: int) -> bytes:
    if at < 0 or at + length > len(metadata):
        raise IndexError(at)
    return metadata[at : at + length]


def _difference(found: pa.Schema, wanted: pa.Schema) -> str:
    for field in wanted:
        index = found.get_field_index(field.name)
        if index < 0:
            return f"column {field.name} is missing"
        if not found.field(index).equals(field):
            return f"column {field.name} is {found.field(index).type}, not {field.type}"
    extra = [name for name in found.names if name not in wanted.names]
    return f"column {extra[0]} is unknown" if extra else "columns in another order, or doubled"
