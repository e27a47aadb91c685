"""Flows as Parquet, CSV and IPFIX, packets as pcapng: a writer each, which holds no more than a table."""

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
def parquet(to: BinaryIO, box: str) -> Iterator[Writer]:
    """The columns of ``records.FLOW``, compressed; the box is in the file's metadata."""
    schema = FLOW.with_metadata({"smartx.box": box})
    with pq.ParquetWriter(to, schema, compression="zstd") as writer:
        yield _Arrow(writer)


@contextmanager
def csv(to: BinaryIO, box: str) -> Iterator[Writer]:  # noqa: ARG001 (a CSV file has no place for it)
    """The columns of ``records.FLOW`` under their names; what is null is empty."""
    with pa_csv.CSVWriter(to, FLOW) as writer:
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


FORMATS = {"parquet": parquet, "csv": csv, "ipfix": ipfix}
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
