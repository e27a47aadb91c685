"""Drops as `smartxctl drops` shows and adds them up."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from capture_rows import drop_rows, flow_rows, loss_rows

from smartxd.config import CaptureConfig
from smartxd.ctl.main import main
from smartxd.store.captures import CaptureStore

AT = time.time_ns() + 3600 * 10**9
"""Ahead, because ten minutes may pass before a test is run, and what is older is not shown unasked."""
NOW = {"first_ns": AT, "last_ns": AT}
ROWS = [
    {"packets": 3, "bytes": 300, **NOW},
    {"packets": 4, "bytes": 400, "location": "udp_rcv+0x2", "dst_port": 54, **NOW},
    {
        "packets": 20,
        "bytes": 10,
        "reason": "IP_RPFILTER",
        "location": "ip_rcv+0x9",
        "src_ip": "10.9.0.1",
        **NOW,
    },
    {
        **{"packets": 1, "reason": "subsystem 3: 7", "location": "0xffffffff81000000", "interface": "vx7"},
        **{"vni": 7, "inner_src_ip": "10.9.0.2", "inner_dst_ip": "10.9.0.3", "inner_protocol": 6, **NOW},
    },
]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("box")
    with CaptureStore(state / "captures", CaptureConfig()) as store:
        store.append("maps", 1, flow_rows(0, 0), loss_rows(0), {"drops": drop_rows(*ROWS[:2])})
        store.append(
            "maps", 2, flow_rows(0, 0), loss_rows(0), {"drops": drop_rows(*ROWS[2:], {"packets": 9})}
        )
    path = state / "smartxd.toml"
    path.write_text(f'box = "here"\nstate_dir = "{state}"\n[source]\nurl = "{state}"\n')
    return path


def drops(box: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, object]]:
    assert main(["drops", "--config", str(box), "-o", "json", *options]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_what_was_dropped_most_comes_first_with_reason_place_and_flow(box: Path, capsys) -> None:
    assert [r["packets"] for r in drops(box, capsys)] == [20, 4, 3, 1]
    assert main(["drops", "--config", str(box)]) == 0
    header, first, *_, last = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["REASON", "LOCATION", "INTERFACE"]
    assert first.split()[:7] == [
        *("IP_RPFILTER", "ip_rcv+0x9", "eth1", "udp"),
        *("10.9.0.1:40000", "192.0.2.1:53", "-"),
    ]
    assert "vni 7 tcp 10.9.0.2 > 10.9.0.3" in last


def test_drops_are_added_up_and_chosen_by_what_they_have_more_than_flows(box: Path, capsys) -> None:
    by_reason = drops(box, capsys, "--by", "reason,interface", "--order", "bytes")
    assert [(r["reason"], r["interface"], r["packets"]) for r in by_reason] == [
        ("NO_SOCKET", "eth1", 7),
        ("subsystem 3: 7", "vx7", 1),
        ("IP_RPFILTER", "eth1", 20),
    ]
    assert [r["packets"] for r in drops(box, capsys, "--reason", "NO_SOCKET")] == [4, 3]
    assert [r["packets"] for r in drops(box, capsys, "--function", "udp_rcv", "--by", "location")] == [4, 3]
    assert drops(box, capsys, "--function", "udp") == []
    assert [r["packets"] for r in drops(box, capsys, "--src", "10.9.0.0/16")] == [20, 1]
    whole = "--since", "1970-01-01T00:00:00Z"
    assert len(drops(box, capsys, "--newest", *whole)) == 5


def test_drops_are_exported_as_they_were_captured(box: Path, tmp_path: Path) -> None:
    file = tmp_path / "drops.parquet"
    since = ("--since", "1970-01-01T00:00:00Z", "--stream", "drops")
    assert main(["export", "parquet", str(file), "--config", str(box), *since]) == 0
    assert pq.read_table(file).equals(drop_rows(*ROWS, {"packets": 9}))
