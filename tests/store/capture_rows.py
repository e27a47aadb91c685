"""Rows to store: numbered, so that every one of them can be told from the others."""

from __future__ import annotations

import pyarrow as pa

from smartxd.config import CaptureConfig
from smartxd.records import FLOW, LOSS


def bounded(disk_max_bytes: int, **more: int) -> CaptureConfig:
    """A configuration whose bound a test can reach; a file's must be 64 MiB or more."""
    return CaptureConfig.model_construct(disk_max_bytes=disk_max_bytes, **more)


def flow_rows(first: int, count: int) -> pa.Table:
    """Flows whose packets are ``first``, ``first`` + 1, …"""
    numbers = range(first, first + count)
    values = {
        "policy": ["wan"] * count,
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
        "first_ns": [10**18 + n for n in numbers],
        "last_ns": [10**18 + n + 5 for n in numbers],
    }
    columns = [pa.array(values.get(f.name, [None] * count), f.type) for f in FLOW]
    return pa.table(columns, schema=FLOW)


def loss_rows(count: int) -> pa.Table:
    """Losses of three packets each."""
    values = {
        **dict.fromkeys(("policy", "commit_id", "interface"), ["x"] * count),
        **{"direction": ["ingress"] * count, "cause": ["overflow"] * count},
        **dict.fromkeys(("packets", "skbs"), [3] * count),
        **{"bytes": [300] * count, "at_ns": [10**18] * count},
    }
    return pa.table([pa.array(values[f.name], f.type) for f in LOSS], schema=LOSS)
