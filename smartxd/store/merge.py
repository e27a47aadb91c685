"""Gathers rows of one segment after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from smartxd.store.connection import OWN, Connection
from smartxd.store.schema import check_version


class SegmentMerge(Connection):
    """Gathers what queries give in one segment after the other.

    A database of nobody else's in a temporary file, which goes with the connection: SQLite keeps in memory no
    more of it than of any other.
    """

    SCHEMA = "segment"
    """By this name a query finds the tables of the segment that is attached."""

    def __init__(self, columns: Sequence[str]) -> None:
        """Make the table ``merged`` with these columns."""
        super().__init__(None)
        names = ", ".join(f'"{name}"' for name in columns)
        self.run(f"CREATE TABLE merged ({names})")

    @contextmanager
    def attached(self, path: Path) -> Iterator[None]:
        """Open a segment for reading; StoreError names it, also for what is asked meanwhile."""
        self.path = path
        try:
            self.run(f"ATTACH ? AS {self.SCHEMA}", (f"{path.absolute().as_uri()}?mode=ro",))
            try:
                version = self.run(f"PRAGMA {self.SCHEMA}.user_version")
                check_version(int(version[0][0]), path)
                with self.view():  # flows that end meanwhile are moved from one table to the other
                    yield
            finally:
                self.run(f"DETACH {self.SCHEMA}")
        finally:
            self.path = OWN

    def add(self, select: str, args: Sequence[object]) -> None:
        """Append the rows of a query to ``merged``, all or none."""
        self.run(f"INSERT INTO merged {select}", args)
