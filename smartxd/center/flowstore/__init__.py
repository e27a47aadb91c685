"""Where the captures of all boxes are kept: a batch goes in whole and once, rows and totals come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import pyarrow as pa

from smartxd.errors import SmartxError
from smartxd.store.batch import BatchKey


class Put(Enum):
    """What became of a batch."""

    STORED = "stored"
    DUPLICATE = "duplicate"


class ConflictError(SmartxError):
    """The key is taken by a batch with other content."""


class OverflowingError(SmartxError):
    """The batch would carry a total over what can be counted."""


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """Which flows; None is any. ``since_ns`` is compared with the last packet of a flow."""

    since_ns: int
    box: str | None = None
    interface: str | None = None
    policy: str | None = None
    address: str | None = None
    """Source or destination, outer or inner."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything that ever came from one store of a box, deleted rows included.

    A gap above ``contiguous_seq`` is pending, tombstoned or refused.
    """

    box: str
    stream: str
    epoch: str
    batches: int
    rows: int
    packets: int
    bytes: int
    contiguous_seq: int
    """All batches up to this one have come."""
    max_seq: int


class FlowStore(Protocol):
    """SQLite now; larger engines fit behind the same methods."""

    def put_batch(self, key: BatchKey, table: pa.Table, checksum: str) -> Put:
        """Store the rows and the key in one transaction; ConflictError or OverflowingError change nothing."""
        ...

    def expire(self) -> bool:
        """Delete some of what is older than the retention; whether more is left to delete."""
        ...

    def reusable_bytes(self) -> int:
        """What the files hold beside their rows, for further rows."""
        ...

    def flows(self, wanted: FlowFilter, limit: int) -> pa.Table:
        """The newest flows, the column ``box`` first; StoreError when the search takes too long."""
        ...

    def totals(self, box: str | None = None) -> list[Totals]:
        """Per box, stream and epoch."""
        ...

    def close(self) -> None:
        """Close all files."""
        ...


_open: list[FlowStore] = []


def use(store: FlowStore) -> None:
    """Make ``store`` the one that the site's requests use."""
    _open[:] = [store]


def current() -> FlowStore:
    """The store of the site."""
    return _open[0]
