"""From the kernel's records to Arrow tables: pure, and a column at a time."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smartxd.capture import layout
from smartxd.capture.conceal import Conceal, distinct_addresses
from smartxd.capture.layout import (
    CLOCK_IS_TAI,
    DIRECTIONS,
    HAS_IP4,
    HAS_IP6,
    HAS_PORTS,
    HAS_VLAN,
    HAS_VNI,
    TCP_LIFE,
    TCP_STATES,
)
from smartxd.capture.skeleton import skeletons
from smartxd.records import DROP, FLOW, LOSS, PACKET, TCP

Records = npt.NDArray[np.void]
Words = npt.NDArray[np.uint64]
Starts = npt.NDArray[np.int64]


_CAUSES = {"overflow": "overflow", "ring-full": "ring_full"}
"""Causes of loss, and what the ledger calls them."""
_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}
"""Of addresses, by their bytes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from: what every row says that the kernel does not know."""

    policy: str
    commit_id: str
    interfaces: Mapping[int, str]
    """Names by ifindex; one that is gone and was never told is called ``ifN``."""
    unix_offset_ns: int
    """What CLOCK_MONOTONIC lacks to the Unix epoch."""
    sampled_one_in: int = 1
    """The sampling interval that held, of flows; a packet's record says it."""
    tai_offset_ns: int = 0
    """The same of CLOCK_TAI."""
    conceal: Conceal | None = None
    """None: addresses are recorded as they are."""


def decode_flows(keys: Records, values: Records, origin: Origin) -> pa.Table:
    """Rows of ``records.FLOW``, one for each entry of a flow map, in its order."""
    columns = _identity(keys, origin) | _amounts(values, origin)
    columns["sampled_one_in"] = pa.array(np.full(len(keys), origin.sampled_one_in, "u4"))
    columns["end_reason"] = pa.nulls(len(keys), pa.string())  # they go on
    return pa.table([columns[name] for name in FLOW.names], schema=FLOW)


def decode_drops(
    keys: Records,
    values: Records,
    origin: Origin,
    reasons: Mapping[int, str],
    locations: Mapping[int, str],
) -> pa.Table:
    """Rows of ``records.DROP``, one for each entry of a map of drops, in its order; names by number."""
    columns = _identity(keys["flow"], origin) | _amounts(values, origin)
    columns["reason"] = _named(keys["reason"], reasons)
    columns["location"] = _named(keys["location"], locations)
    return pa.table([columns[name] for name in DROP.names], schema=DROP)


def decode_connections(keys: Records, values: Records, origin: Origin) -> pa.Table:
    """Rows of ``records.TCP``, one for each entry of a map of connections, in its order."""
    columns = {
        "policy": pa.repeat(origin.policy, len(keys)),
        "commit_id": pa.repeat(origin.commit_id, len(keys)),
        "interface": _interfaces(keys["ifindex"], origin, keys["ifindex"] == 0),
        "states": _states(values["states"]),
        "state": _choose(list(TCP_STATES), values["state"].astype("i4"), values["state"] == 0),
    }
    for end in ("local", "remote"):
        raw = keys[f"{end}_ip"]
        hidden = raw if origin.conceal is None else origin.conceal.addresses(raw, keys["has"])
        columns[f"{end}_ip"] = _addresses(hidden, keys["has"])
        columns[f"{end}_port"] = pa.array(keys[f"{end}_port"])
    for name in ("events", "retransmits", "resets_sent", "resets_received", "state_changes"):
        columns[name] = pa.array(values[name])
    for name in ("srtt_last_us", "srtt_min_us", "srtt_max_us"):
        columns[name] = _nullable(values[name].astype("u4"), values[name])
    columns |= _times(values, origin)
    return pa.table([columns[name] for name in TCP.names], schema=TCP)


def _states(masks: npt.NDArray[np.uint64]) -> pa.Array:
    """The states that are in a mask, in their order in time; null where there are none."""
    unique, places = np.unique(masks, return_inverse=True)
    words = [",".join(TCP_STATES[n] for n in TCP_LIFE if mask >> n & 1) for mask in unique.tolist()]
    return _choose(words, places.astype("i4"), masks == 0)


def packet_records(words: Words, starts: Starts) -> Records:
    """The records of packets, as ``layout.PACKET``, that begin at these words of a ring."""
    return _gathered(words, starts, layout.PACKET.itemsize // 8).view(layout.PACKET).ravel()


def decode_packets(records: Records, words: Words, starts: Starts, origin: Origin) -> pa.Table:
    """Rows of ``records.PACKET``, one for each of the ``packet_records``; their bytes stand behind them."""
    keys = _hidden(records["key"], origin)
    columns = _columns(keys, origin)
    for name in ("packets", "bytes", "length", "sampled_one_in", "tcp_flags"):
        columns[name] = pa.array(records[name]).cast(PACKET.field(name).type)
    columns["gso_size"] = _nullable(records["gso_size"], records["gso_size"])
    digests = records["digest"]
    data = _data(words, starts + layout.PACKET.itemsize // 8, records["captured"])
    if origin.conceal is not None:
        digests = origin.conceal.digests(digests)
        data = skeletons(data, keys, records["gso_size"] > 0)
    columns["digest"] = pa.array(digests.astype("i8"))
    columns["data"] = data
    offset_ns = np.where(records["clock"] == CLOCK_IS_TAI, origin.tai_offset_ns, origin.unix_offset_ns)
    columns["time_ns"] = pa.array(records["time_ns"].astype("i8") + offset_ns)
    return pa.table([columns[name] for name in PACKET.names], schema=PACKET)


def _gathered(words: Words, starts: Starts, count: int) -> Words:
    """So many words from each start on, a row for each."""
    gathered: Words = np.lib.stride_tricks.sliding_window_view(words, count)[starts] if count else words[:0]
    return gathered.reshape(len(starts), count)


def _data(words: Words, starts: Starts, lengths: npt.NDArray[np.uint16]) -> pa.Array:
    """So many bytes from each start on: those of one length together, which are then put in order."""
    order = np.argsort(lengths, kind="stable")
    kinds, counts = np.unique(lengths, return_counts=True)
    parts = [
        _gathered(words, rows, -(-length // 8)).view("u1")[:, :length].ravel()
        for length, rows in zip(kinds.tolist(), np.split(starts[order], np.cumsum(counts)[:-1]), strict=True)
    ]
    ends = np.concatenate([[0], np.cumsum(lengths[order], dtype="i4")]).astype("i4")
    data = np.concatenate(parts) if parts else np.zeros(0, "u1")
    sorted_ = pa.BinaryArray.from_buffers(
        pa.binary(), len(starts), [None, pa.py_buffer(ends), pa.py_buffer(data)]
    )
    return sorted_ if len(kinds) == 1 else sorted_.take(pa.array(np.argsort(order)))


def _hidden(keys: Records, origin: Origin) -> Records:
    """The keys with their addresses as they are recorded."""
    return keys if origin.conceal is None else origin.conceal.keys(keys)


def _identity(keys: Records, origin: Origin) -> dict[str, pa.Array]:
    """The columns that say what and where a flow or a packet was."""
    return _columns(_hidden(keys, origin), origin)


def _columns(keys: Records, origin: Origin) -> dict[str, pa.Array]:
    """The same of keys with which nothing is left to be done."""
    outer, inner = keys["outer"], keys["inner"]
    columns = _common(keys["ifindex"], keys["direction"], origin)
    columns["ethertype"] = pa.array(outer["ethertype"])
    columns["vlan"] = _nullable(keys["vlan"], keys["has"] & HAS_VLAN)
    columns["vni"] = _nullable(keys["vni"], keys["has"] & HAS_VNI)
    for prefix, layer in (("", outer), ("inner_", inner)):
        is_ip = layer["has"] & (HAS_IP4 | HAS_IP6)
        has_ports = layer["has"] & HAS_PORTS
        columns[f"{prefix}src_ip"] = _addresses(layer["src_ip"], layer["has"])
        columns[f"{prefix}dst_ip"] = _addresses(layer["dst_ip"], layer["has"])
        columns[f"{prefix}protocol"] = _nullable(layer["protocol"], is_ip)
        columns[f"{prefix}src_port"] = _nullable(layer["src_port"], has_ports)
        columns[f"{prefix}dst_port"] = _nullable(layer["dst_port"], has_ports)
    return columns


def _amounts(values: Records, origin: Origin) -> dict[str, pa.Array]:
    """The columns that say how much there was of it, and when."""
    columns = {name: pa.array(values[name]) for name in ("skbs", "bytes")}
    columns["packets"] = pa.array(values["skbs"] + values["more_packets"])
    columns["tcp_flags"] = pa.array(values["tcp_flags"].astype("u1"))
    return columns | _times(values, origin)


def _times(values: Records, origin: Origin) -> dict[str, pa.Array]:
    return {
        name: pa.array(values[name].astype("i8") + origin.unix_offset_ns) for name in ("first_ns", "last_ns")
    }


def decode_losses(keys: Records, values: Records, origin: Origin, now_ns: int) -> pa.Table:
    """Rows of ``records.LOSS``, one for each interface, direction and cause."""
    tables = []
    for cause, field in _CAUSES.items():
        lost = values[f"{field}_skbs"] > 0
        places, amounts = keys[lost], values[lost]
        columns = _common(places["ifindex"], places["direction"], origin)
        columns["cause"] = pa.repeat(cause, len(places))
        for name in ("packets", "skbs", "bytes"):
            columns[name] = pa.array(amounts[f"{field}_{name}"])
        columns["at_ns"] = pa.array(np.full(len(places), now_ns, "i8"))
        tables.append(pa.table([columns[name] for name in LOSS.names], schema=LOSS))
    return pa.concat_tables(tables)


def _common(ifindexes: npt.NDArray[Any], directions: npt.NDArray[Any], origin: Origin) -> dict[str, pa.Array]:
    return {
        "policy": pa.repeat(origin.policy, len(ifindexes)),
        "commit_id": pa.repeat(origin.commit_id, len(ifindexes)),
        "interface": _interfaces(ifindexes, origin),
        "direction": _choose(list(DIRECTIONS), directions.astype("i4")),
    }


def _interfaces(
    ifindexes: npt.NDArray[Any], origin: Origin, absent: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    found = pa.array(ifindexes).dictionary_encode()
    names = [origin.interfaces.get(i, f"if{i}") for i in found.dictionary.to_pylist()]
    return _choose(names, found.indices.to_numpy(), absent)


def _named(numbers: npt.NDArray[Any], names: Mapping[int, str]) -> pa.Array:
    unique, places = np.unique(numbers, return_inverse=True)
    return _choose([names[int(number)] for number in unique], places)


def _choose(
    words: list[str], places: npt.NDArray[Any], absent: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    if not words:
        return pa.nulls(len(places), pa.string())
    indices = pa.array(places, pa.int32(), mask=absent)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string())).dictionary_decode()


def _nullable(values: npt.NDArray[Any], present: npt.NDArray[Any]) -> pa.Array:
    return pa.array(values, mask=present == 0)


def _addresses(raw: npt.NDArray[np.uint8], has: npt.NDArray[np.uint8]) -> pa.Array:
    """Text of each address, null where there is none; each distinct one is written once."""
    words: list[str] = []
    places = np.zeros(len(raw), "i4")
    for rows, size, distinct, which in distinct_addresses(raw, has):
        places[rows] = which + len(words)
        words += [socket.inet_ntop(_FAMILIES[size], one) for one in distinct]
    return _choose(words, places, has & (HAS_IP4 | HAS_IP6) == 0)
