"""TCP connections as `smartxctl tcp` shows and adds them up."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from capture_rows import connection_rows, flow_rows, loss_rows

from smartxd.config import CaptureConfig
from smartxd.ctl.main import main
from smartxd.store.captures import CaptureStore

AT = time.time_ns() + 3600 * 10**9
"""Ahead, because ten minutes may pass before a test is run, and what is older is not shown unasked."""


def row(second: int, **said: Any) -> dict[str, Any]:
    at_ns = AT + second * 10**9
    return {"first_ns": at_ns, "last_ns": at_ns, **said}


def srtt(last: int, low: int, high: int) -> dict[str, int]:
    return {"srtt_last_us": last, "srtt_min_us": low, "srtt_max_us": high}


FAR = {"local_port": 50001, "remote_ip": "2001:db8::9", "remote_port": 179, "interface": None}
DRAINS = [
    [
        row(0, state="ESTABLISHED", states="SYN_RECV,ESTABLISHED", state_changes=1, **srtt(900, 900, 900)),
        row(0, retransmits=3, **FAR, **srtt(40000, 30000, 50000)),
    ],
    [
        row(1, state="CLOSE_WAIT", state_changes=1, retransmits=2, **srtt(1000, 700, 1100)),
        row(1, resets_sent=5, local_port=9, remote_port=7, remote_ip="10.0.0.7", events=5),
    ],
    [row(2, resets_received=1)],
    [row(3, first_ns=5, last_ns=10**9)],
]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box with the rows, of which each drain is in a file of its own."""
    state = tmp_path_factory.mktemp("box")
    now_s = [AT / 10**9]
    with CaptureStore(state / "captures", CaptureConfig(), clock=lambda: now_s[0]) as store:
        for generation, rows in enumerate(DRAINS):
            store.append("m", generation, flow_rows(0, 0), loss_rows(0), {"tcp": connection_rows(*rows)})
            now_s[0] += CaptureConfig().segment_s
    path = state / "smartxd.toml"
    path.write_text(f'box = "here"\nstate_dir = "{state}"\n[source]\nurl = "{state}"\n')
    return path


def tcp(box: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main(["tcp", "--config", str(box), "-o", "json", *options]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_a_connection_is_one_row_with_its_last_state_and_times_however_many_drains_told_of_it(
    box: Path, capsys
) -> None:
    far, near, refused = tcp(box, capsys)
    assert (far["remote_ip"], far["retransmits"], far["interface"]) == ("2001:db8::9", 3, None)
    assert (near["remote_ip"], near["retransmits"], near["resets_received"]) == ("10.0.0.1", 2, 1)
    assert (near["state"], near["state_changes"]) == ("CLOSE_WAIT", 2)
    assert [near[f"srtt_{which}_us"] for which in ("last", "min", "max")] == [1000, 700, 1100]
    assert near["last_ns"] - near["first_ns"] == 2 * 10**9
    assert (refused["resets_sent"], refused["state"], refused["srtt_last_us"]) == (5, None, None)
    assert main(["tcp", "--config", str(box)]) == 0
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["INTERFACE", "LOCAL", "REMOTE", "STATE"]
    assert first.split()[:10] == [
        *("-", "192.0.2.1:50001", "[2001:db8::9]:179", "-"),
        *("3", "-", "-", "40.000", "30.000", "50.000"),
    ]


def test_connections_are_chosen_and_added_up_by_what_they_have(box: Path, capsys) -> None:
    def remotes(*options: str) -> list[str]:
        return [r["remote_ip"] for r in tcp(box, capsys, *options)]

    assert remotes("--remote", "10.0.0.0/8") == ["10.0.0.1", "10.0.0.7"]
    assert remotes("--local", "10.0.0.0/8") == []
    assert remotes("--port", "179") == ["2001:db8::9"]
    assert remotes("--state", "established") == ["10.0.0.1"]
    assert remotes("--interface", "eth1", "--order", "resets_sent") == ["10.0.0.7", "10.0.0.1"]
    by_port = tcp(box, capsys, "--by", "port", "--order", "srtt_max_us")
    assert [(r["port"], r["retransmits"]) for r in by_port] == [(179, 3), (443, 2), (7, 0)]
    assert len(tcp(box, capsys, "--newest", "--since", "1970-01-01T00:00:00Z")) == 6
    assert main(["tcp", "--config", str(box), "--port", "1"]) == 0
    assert "no connections match" in capsys.readouterr().err
