"""Rows to store: numbered, so that every one of them can be told from the others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from smartxd.config import CaptureConfig
from smartxd.records import DROP, FLOW, LOSS, PACKET, TCP
from smartxd.store.batch import checksum
from smartxd.store.packed import TABLES

OLDER = FLOW.remove(FLOW.get_field_index("sampled_one_in")).remove(len(FLOW) - 2)
"""The flows of the release that knew no sampling, and no flows that end."""


def bounded(disk_max_bytes: int, **more: int) -> CaptureConfig:
    """A configuration whose bound a test can reach; a file's must be 64 MiB or more."""
    return CaptureConfig.model_construct(disk_max_bytes=disk_max_bytes, **more)


def flow_rows(first: int, count: int, *, policy: str = "wan", at_ns: int = 10**18) -> pa.Table:
    """Flows whose packets are ``first``, ``first`` + 1, …"""
    numbers = range(first, first + count)
    values = {
        "policy": [policy] * count,
        "commit_id": ["c0ffee"] * count,
        "interface": ["eth1"] * count,
        "direction": ["ingress" if n % 2 else "egress" for n in numbers],
        "ethertype": [0x0800] * count,
        "src_ip": [f"10.0.{n // 250 % 250}.{n % 250}" if n % 3 else None for n in numbers],
        "dst_ip": ["192.0.2.1"] * count,
        "protocol": [17] * count,
        "packets": list(numbers),
        "skbs": list(numbers),
        "bytes": [n * 100 for n in numbers],
        "tcp_flags": [0] * count,
        "sampled_one_in": [1] * count,
        "first_ns": [at_ns + n for n in numbers],
        "last_ns": [at_ns + n + 5 for n in numbers],
    }
    columns = [pa.array(values.get(f.name, [None] * count), f.type) for f in FLOW]
    return pa.table(columns, schema=FLOW)


def packet_rows(*rows: dict[str, object]) -> pa.Table:
    """Packets that say this; else each is one of ten bytes that came in at eth1."""
    usual = {
        **{"policy": "wan", "commit_id": "c0ffee", "interface": "eth1", "direction": "ingress"},
        **{"ethertype": 0x0800, "packets": 1, "bytes": 60, "length": 60, "tcp_flags": 0, "sampled_one_in": 1},
        **{"digest": (1 << 53) - 1, "time_ns": 10**18, "data": bytes(range(10))},
    }
    return pa.Table.from_pylist([usual | row for row in rows], schema=PACKET)


def drop_rows(*rows: dict[str, object]) -> pa.Table:
    """Drops that say this; else each is a packet of 100 bytes that came to a port where nobody listens."""
    usual = {
        **{"policy": "wan", "commit_id": "c0ffee", "interface": "eth1", "reason": "NO_SOCKET"},
        **{"location": "udp_rcv+0x1", "ethertype": 0x0800, "src_ip": "10.0.0.1", "dst_ip": "192.0.2.1"},
        **{"protocol": 17, "src_port": 40000, "dst_port": 53, "packets": 1, "skbs": 1, "bytes": 100},
        **{"tcp_flags": 0, "first_ns": 10**18, "last_ns": 10**18},
    }
    return pa.Table.from_pylist([usual | row for row in rows], schema=DROP)


def connection_rows(*rows: dict[str, object]) -> pa.Table:
    """Connections that say this; else each is one of a client, of which it is told that it is there."""
    usual = {
        **{"policy": "wan", "commit_id": "c0ffee", "interface": "eth1"},
        **{"local_ip": "192.0.2.1", "local_port": 443, "remote_ip": "10.0.0.1", "remote_port": 40000},
        **dict.fromkeys(("state_changes", "retransmits", "resets_sent", "resets_received"), 0),
        **{"events": 1, "first_ns": 10**18, "last_ns": 10**18},
    }
    return pa.Table.from_pylist([usual | row for row in rows], schema=TCP)


def loss_rows(count: int) -> pa.Table:
    """Losses of three packets each."""
    values = {
        **dict.fromkeys(("policy", "commit_id", "interface"), ["x"] * count),
        **{"direction": ["ingress"] * count, "cause": ["overflow"] * count},
        **dict.fromkeys(("packets", "skbs"), [3] * count),
        **{"bytes": [300] * count, "at_ns": [10**18] * count},
    }
    return pa.table([pa.array(values[f.name], f.type) for f in LOSS], schema=LOSS)


def make_older(path: Path) -> None:
    """Make a file that is open nowhere one of a release that knew no sampling, packets, retention."""
    with closing(sqlite3.connect(path)) as db, db:
        for table in TABLES.keys() - {"flows", "losses"}:
            db.execute(f"DROP TABLE IF EXISTS {table}")
        for column in FLOW.names:
            if column not in OLDER.names:
                db.execute(f"ALTER TABLE flows DROP COLUMN {column}")
        names = ", ".join(OLDER.names)
        batches = "SELECT rowid, first_row, last_row FROM batches WHERE stream = 'flows'"
        for batch, *rows in db.execute(batches).fetchall():
            found = db.execute(f"SELECT {names} FROM flows WHERE rowid BETWEEN ? AND ?", rows).fetchall()
            table = pa.Table.from_pylist([dict(zip(OLDER.names, row, strict=True)) for row in found], OLDER)
            db.execute("UPDATE batches SET checksum = ? WHERE rowid = ?", (checksum(table), batch))
        columns = [row[1] for row in db.execute("PRAGMA table_info(batches)")]
        for name in {"policy", "stored_bytes", "gone"}.intersection(columns):  # the centre's has none of them
            db.execute(f"ALTER TABLE batches DROP COLUMN {name}")
        db.execute("PRAGMA user_version=1")


def make_older_index(path: Path) -> None:
    """The same of the index."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM ledger WHERE stream NOT IN ('flows', 'losses')")
        for name in ("batches", "rows", "packets", "bytes"):
            db.execute(f"ALTER TABLE spans DROP COLUMN gone_{name}")
        db.execute("DROP TABLE retentions")
        db.execute("PRAGMA user_version=1")
