"""Filters and sums over segments say what the rows say, whatever the rows are."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import flow_rows, loss_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartxd.config import CaptureConfig
from smartxd.records import FLOW
from smartxd.store.captures import CaptureStore
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.queries import GROUPS, KEYS, MEASURES, newest, scan, span_ns, top

NOW = 1_700_000_000
NS = 1_000_000_000


def stored(directory: Path, drains: list[list[dict]]) -> None:
    """A store with a segment for each drain."""
    now = [float(NOW)]
    base = flow_rows(1, 1).to_pylist()[0] | {"vlan": None, "src_ip": "10.0.0.1"}
    with CaptureStore(directory, CaptureConfig(segment_s=60), clock=lambda: now[0]) as store:
        for generation, rows in enumerate(drains):
            at = {"first_ns": int(now[0]) * NS - 5, "last_ns": int(now[0]) * NS}
            table = pa.Table.from_pylist([base | at | row for row in rows], schema=FLOW)
            store.append("maps", generation, table, loss_rows(1))
            now[0] += 60


def fail(err: object) -> None:
    raise AssertionError(err)


def found(directory: Path, **fields: object) -> list[int]:
    """The packets of the rows that match; the rows of these tests are told apart by them."""
    wanted = FlowFilter(**fields)
    rows = [row for table in scan(directory, wanted, fail) for row in table.to_pylist()]
    assert Counter(r["packets"] for r in rows) == Counter(
        newest(directory, wanted, 1000, fail)["packets"].to_pylist()
    ), "each way of asking finds the same"
    assert sum(r["bytes"] for r in rows) == sum(
        top(directory, wanted, KEYS["flows"], 1000, fail)["bytes"].to_pylist()
    )
    return sorted(r["packets"] for r in rows)


ROWS = [
    {
        "packets": 1,
        "src_ip": "10.0.0.1",
        "dst_ip": "192.0.2.9",
        "src_port": 4000,
        "dst_port": 443,
        "protocol": 6,
    },
    {"packets": 2, "src_ip": "10.7.255.255", "dst_ip": "192.0.2.9", "protocol": 17, "dst_port": 53},
    {"packets": 4, "src_ip": "10.8.0.0", "dst_ip": "10.0.0.1", "protocol": 1, "interface": "vx100"},
    {"packets": 8, "src_ip": "2001:db8::1", "dst_ip": "2001:db8:0:1::1", "ethertype": 0x86DD},
    {"packets": 16, "src_ip": None, "dst_ip": None, "protocol": None, "ethertype": 0x0806},
    {
        **{"packets": 32, "src_ip": "192.0.2.1", "dst_port": 4789, "vni": 100, "policy": "inside"},
        **{"inner_src_ip": "10.0.0.77", "inner_dst_ip": "2001:db8:5::5", "inner_protocol": 6},
        **{"inner_src_port": 443, "inner_dst_port": 5000},
    },
]


@pytest.mark.parametrize(
    ("fields", "packets"),
    [
        ({}, [1, 2, 4, 8, 16, 32]),
        ({"src": ip_network("10.0.0.1")}, [1]),
        ({"src": ip_network("10.0.0.0/13")}, [1, 2, 32]),
        ({"src": ip_network("0.0.0.0/0")}, [1, 2, 4, 32]),
        ({"dst": ip_network("2001:db8::/48")}, [8]),
        ({"dst": ip_network("2001:db8::/32")}, [8, 32]),
        ({"port": 443}, [1, 32]),
        ({"protocol": 6}, [1, 32]),
        ({"ethertype": 0x0806}, [16]),
        ({"vni": 100}, [32]),
        ({"interface": "vx100"}, [4]),
        ({"policy": "inside", "vni": 7}, []),
        ({"since_ns": (NOW + 60) * NS}, [8, 16, 32]),
        ({"until_ns": (NOW + 60) * NS}, [1, 2, 4]),
        ({"since_ns": NOW * NS, "until_ns": NOW * NS + 1, "port": 53}, [2]),
    ],
    ids=str,
)
def test_a_filter_finds_what_its_fields_say(directory: Path, fields: dict, packets: list[int]) -> None:
    stored(directory, [ROWS[:3], ROWS[3:]])
    assert found(directory, **fields) == packets


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.ip_addresses(), min_size=1, max_size=30),
    st.integers(0, 128),
    st.integers(0, 29),
)
def test_a_prefix_is_the_addresses_that_it_covers(
    tmp_path_factory: pytest.TempPathFactory, addresses: list, length: int, pick: int
) -> None:
    centre = addresses[pick % len(addresses)]
    network = ip_network(f"{centre}/{length % (centre.max_prefixlen + 1)}", strict=False)
    directory = tmp_path_factory.mktemp("s") / "captures"
    rows = [{"src_ip": str(a), "packets": n} for n, a in enumerate(addresses, 1)]
    stored(directory, [rows])
    written = {n: ip_address(row["src_ip"]) for n, row in enumerate(rows, 1)}
    assert found(directory, src=network) == [n for n, a in written.items() if a in network]


@pytest.mark.parametrize("by", GROUPS["flows"])
def test_sums_by_each_column_are_the_sums_of_the_rows(directory: Path, by: str) -> None:
    stored(directory, [ROWS[:3], ROWS[3:], ROWS])
    rows = top(directory, FlowFilter(), (by,), 1000, fail).to_pylist()
    assert sum(r["packets"] for r in rows) == 2 * 63
    assert len({r[by] for r in rows}) == len(rows)
    if by == "port":
        assert {r["port"] for r in rows} == {443, None}, "the lower one, and none without two"
    if by == "minute":
        assert [r["minute"] for r in rows] == [
            "2023-11-14T22:13:00Z",
            "2023-11-14T22:14:00Z",
            "2023-11-14T22:15:00Z",
        ]


def test_what_comes_first_is_what_was_asked_for(directory: Path) -> None:
    stored(directory, [[{"packets": 1, "bytes": 900, "vni": 1}, {"packets": 9, "bytes": 100, "vni": 2}]])
    for order, first in (("bytes", 1), ("packets", 2)):
        rows = top(directory, FlowFilter(), ("vni",), 1, fail, order=order).to_pylist()
        assert [r["vni"] for r in rows] == [first]


def test_every_column_of_the_records_is_a_key_or_a_measure() -> None:
    assert set(GROUPS["flows"]) >= set(FLOW.names) - set(MEASURES)
    assert [n for n in FLOW.names if n not in MEASURES] == [n for n in GROUPS["flows"] if n in FLOW.names]


def test_the_span_is_from_the_first_packet_to_the_last(directory: Path) -> None:
    stored(directory, [ROWS[:3], ROWS[3:]])
    assert span_ns(directory) == (NOW * NS - 5, (NOW + 60) * NS)


def test_sums_of_many_groups_are_kept_on_disk_not_in_memory(directory: Path) -> None:
    count = 60_000
    now = [float(NOW)]
    with CaptureStore(directory, CaptureConfig(segment_s=60), clock=lambda: now[0]) as store:
        for generation in range(10):
            rows = flow_rows(1 + generation * count, count)
            sources = pa.array([f"{generation}:{n}" for n in range(count)])
            rows = rows.set_column(FLOW.get_field_index("src_ip"), FLOW.field("src_ip"), sources)
            store.append("maps", generation, rows, loss_rows(1))
            now[0] += 60

    # What reading itself takes is in both; the groups of nine more segments would be some 60 MB of Python's.
    assert _grown_kb(directory, 10) < _grown_kb(directory, 1) + 20_000


_ASK = """
import sys
from pathlib import Path
from smartxd.store.flowfilter import FlowFilter
from smartxd.store.queries import top
def peak_kb():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = peak_kb()
assert top(Path(sys.argv[1]), FlowFilter(until_ns=int(sys.argv[2])), ("src_ip",), 5, print).num_rows == 5
print(peak_kb() - before)
"""


def _grown_kb(directory: Path, segments: int) -> int:
    until = 10**18 + 1 + segments * 60_000
    argv = [sys.executable, "-c", _ASK, str(directory), str(until)]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_a_filter_of_times_does_not_read_other_batches(directory: Path) -> None:
    stored(directory, [ROWS, ROWS])
    assert list(scan(directory, FlowFilter(since_ns=time.time_ns()), fail)) == []
