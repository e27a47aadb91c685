from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import flow_rows, loss_rows

from smartxd.config import CaptureConfig
from smartxd.ctl import flows as verb
from smartxd.ctl.main import main
from smartxd.errors import ConfigError, StoreError
from smartxd.records import FLOW
from smartxd.store.backlog import Backlog
from smartxd.store.captures import CaptureStore
from smartxd.tables import print_table


def recent(rows: list[dict], age_s: float = 0) -> pa.Table:
    at = time.time_ns() - int(age_s * 1e9)
    base = flow_rows(1, 1).to_pylist()[0] | {"first_ns": at - 10, "last_ns": at}
    return pa.Table.from_pylist([base | row for row in rows], schema=FLOW)


@pytest.fixture
def box(tmp_path):
    """A configuration file, and a store in two segments behind it."""
    config = tmp_path / "smartxd.toml"
    config.write_text(f'box = "gist1"\nstate_dir = "{tmp_path}"\n[source]\nurl = "/nowhere"\n')
    now = [time.time()]
    drains = [
        recent([{"src_ip": "10.0.0.1", "bytes": 100, "packets": 1}, {"src_ip": "10.0.0.2", "bytes": 900}]),
        recent([{"src_ip": "10.0.0.1", "bytes": 1000, "packets": 2}, {"src_ip": None, "bytes": 50}]),
        recent([{"src_ip": "10.9.9.9", "bytes": 10**6, "interface": "vx100", "vni": 100}], age_s=7200),
    ]
    with CaptureStore(tmp_path / "captures", CaptureConfig(segment_s=60), clock=lambda: now[0]) as store:
        for generation, drain in enumerate(drains):
            store.append("maps", generation, drain, loss_rows(1))
            now[0] += 60
    return config


def run(box, *args: str) -> int:
    top = argparse.ArgumentParser(prog="smartxctl")
    verb.add_parser(top.add_subparsers())
    parsed = top.parse_args(["flows", "--config", str(box), *args])
    return parsed.run(parsed)


def as_json(capsys, box, *args: str):
    assert run(box, *args, "-o", "json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_flow_is_added_up_over_drains_and_files_and_the_largest_comes_first(box, capsys):
    rows = as_json(capsys, box)
    assert [(r["src_ip"], r["bytes"]) for r in rows] == [("10.0.0.1", 1100), ("10.0.0.2", 900), (None, 50)]
    assert rows[0]["packets"] == 3


def test_flows_are_chosen_by_time_interface_and_number(box, capsys):
    assert [r["src_ip"] for r in as_json(capsys, box, "--since", "3h", "--limit", "1")] == ["10.9.9.9"]
    assert [r["vni"] for r in as_json(capsys, box, "--since", "3h", "--interface", "vx100")] == [100]
    assert as_json(capsys, box, "--interface", "vx100") == []
    assert as_json(capsys, box, "--policy", "other") == []


def test_rows_are_shown_as_captured_newest_first(box, capsys):
    rows = as_json(capsys, box, "--newest", "--since", "3h")
    assert len(rows) == 5
    assert [r["last_ns"] for r in rows] == sorted((r["last_ns"] for r in rows), reverse=True)
    assert set(rows[0]) == set(FLOW.names)


def test_talkers_are_added_up_by_columns(box, capsys):
    assert run(box, "--by", "dst_ip", "--since", "3h") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["DST_IP", "PACKETS", "BYTES"]
    assert row.split()[0] == "192.0.2.1"
    assert row.split()[2] == str(100 + 900 + 1000 + 50 + 10**6)


def test_a_table_for_people_names_protocols_and_the_inner_flow(box, capsys):
    assert run(box, "--since", "3h", "--limit", "1") == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split()[:5] == ["vx100", "in", "udp", "10.9.9.9", "192.0.2.1"]
    assert "vni 100" in row
    assert "\x1b" not in row, "no colour where it is piped"


def test_totals_say_what_the_centre_must_have(box, capsys):
    with Backlog(box.parent / "captures") as backlog:
        backlog.received(backlog.pending("flows")[0])
    totals = as_json(capsys, box, "--totals")
    flows, losses, packets, _ = totals["streams"]
    assert (flows["captured_seq"], flows["acked_seq"]) == (3, 1)
    assert flows["captured"]["rows"] == 5
    assert flows["received"] == {"batches": 1, "rows": 2, "packets": 2, "bytes": 1000}
    assert flows["pending"]["rows"] == 3
    assert losses["captured"] == {"batches": 3, "rows": 3, "packets": 9, "bytes": 900}
    assert packets["captured"]["rows"] == 0
    assert run(box, "--totals") == 0
    assert totals["epoch"] in capsys.readouterr().out


def test_without_captures_or_configuration_there_is_one_clear_line(tmp_path, box):
    empty = tmp_path / "empty.toml"
    empty.write_text(f'box = "b"\nstate_dir = "{tmp_path / "none"}"\n[source]\nurl = "/nowhere"\n')
    for args in ((), ("--totals",), ("--newest",)):
        with pytest.raises(StoreError, match="no captures here"):
            run(empty, *args)
    with pytest.raises(ConfigError):
        run(tmp_path / "missing.toml")


def test_columns_are_aligned_and_numbers_stand_to_the_right(capsys):
    print_table(("NAME", "COUNT"), [("a", 5), ("longer", 1234), ("c", None)])
    assert capsys.readouterr().out == "NAME    COUNT\na           5\nlonger   1234\nc           -\n"


@pytest.mark.parametrize(
    ("option", "text", "says"),
    [
        ("--since", "soon", "not a time: 'soon'; write 90s"),
        ("--limit", "abc", "not a number of rows: 'abc'; write 1 to"),
        ("--limit", "0", "not a number of rows: '0'"),
        ("--by", "nonsense", "no column 'nonsense'; there are policy, "),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_would_be_right(box, capsys, option, text, says):
    with pytest.raises(SystemExit) as caught:
        run(box, option, text)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("since", ["999999999d", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"])
def test_since_long_before_the_epoch_is_everything(box, capsys, since):
    assert len(as_json(capsys, box, "--newest", "--since", since)) == 5


def test_since_far_in_the_future_is_nothing(box, capsys):
    assert as_json(capsys, box, "--since", "9999-12-31T23:59:59Z") == []


def test_a_column_that_is_named_twice_counts_once(box, capsys):
    assert as_json(capsys, box, "--by", "src_ip,src_ip") == as_json(capsys, box, "--by", "src_ip")


def test_a_damaged_file_is_left_out_and_said(box, capsys):
    damaged = min((box.parent / "captures").glob("flows-*.sqlite"))
    damaged.write_bytes(b"X" * 8192)
    assert run(box, "-o", "json") == 0
    said = capsys.readouterr()
    assert [r["bytes"] for r in json.loads(said.out)] == [1000, 50]
    assert said.err.startswith(f"warning: left out: {damaged}: damaged: ")
    assert said.err.count("\n") == 1


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder that anyone may enter, and the test as a user who is not root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_who_may_not_read_the_store_is_told_so(nobody, capsys):
    """A member of socket_group sees the daemon's half of status."""
    config = nobody / "smartxd.toml"
    config.write_text(f'box = "b"\nstate_dir = "{nobody}/s"\nrun_dir = "{nobody}"\n[source]\nurl = "/x"\n')
    (nobody / "s").mkdir(mode=0o700)
    CaptureStore(nobody / "s" / "captures", CaptureConfig()).close()
    os.seteuid(65534)
    with pytest.raises(StoreError, match="Permission denied") as caught:
        run(config)
    assert "sudo" in caught.value.hint
    assert main(["status", "--config", str(config)]) == 1
    said = capsys.readouterr()
    assert "captures and sync are not shown" in said.err
    assert "no daemon answers" in said.err
