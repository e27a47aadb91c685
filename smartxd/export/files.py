"""Flows as Parquet, CSV and IPFIX, drops and connections as the first two, packets as pcapng."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from smartxd.export.ipfix import Messages
from smartxd.export.pcapng import Blocks
from smartxd.records import FLOW


class Writer(Protocol):
    """Takes tables of one schema, in order."""

    def write(self, table: pa.Table) -> None:
        """Append the rows."""


@contextmanager
def parquet(to: BinaryIO, box: str, schema: pa.Schema = FLOW) -> Iterator[Writer]:
    """The columns of a schema of ``records``, compressed; the box is in the file's metadata."""
    named = schema.with_metadata({"smartx.box": box})
    with pq.ParquetWriter(to, named, compression="zstd") as writer:
        yield _Arrow(writer)


@contextmanager
def csv(
    to: BinaryIO,
    box: str,  # noqa: ARG001 (a CSV file has no place for it)
    schema: pa.Schema = FLOW,
) -> Iterator[Writer]:
    """The columns of a schema of ``records`` under their names; what is null is empty."""
    with pa_csv.CSVWriter(to, schema) as writer:
        yield _Arrow(writer)


@contextmanager
def ipfix(to: BinaryIO, box: str) -> Iterator[Writer]:
    """An IPFIX file (RFC 5655)."""
    messages = Messages(box, int(time.time()))
    to.write(messages.begin())
    yield _Ipfix(to, messages)


@contextmanager
def pcapng(to: BinaryIO, box: str, losses: Iterable[dict[str, Any]] = ()) -> Iterator[Writer]:
    """A pcapng file of packets; ``losses`` says where some are missing."""
    blocks = Blocks(box, losses)
    to.write(blocks.begin())
    yield _Pcapng(to, blocks)
    to.writelines(blocks.end())


TABLES = {"parquet": parquet, "csv": csv}
"""Of rows of any schema."""

FORMATS = {**TABLES, "ipfix": ipfix}
"""Of flows."""


@dataclass(frozen=True, slots=True)
class _Arrow:
    writer: pq.ParquetWriter | pa_csv.CSVWriter

    def write(self, table: pa.Table) -> None:
        self.writer.write_table(table)


@dataclass(frozen=True, slots=True)
class _Ipfix:
    to: BinaryIO
    messages: Messages

    def write(self, table: pa.Table) -> None:
        for message in self.messages.flows(table):
            self.to.write(message)


@dataclass(frozen=True, slots=True)
class _Pcapng:
    to: BinaryIO
    blocks: Blocks

    def write(self, table: pa.Table) -> None:
        self.to.writelines(self.blocks.packets(table))
