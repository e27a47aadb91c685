"""Packets as `smartxctl packets` shows them, and as Wireshark's tshark reads what is exported."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pytest
from capture_rows import flow_rows, packet_rows

from smartxd.config import CaptureConfig
from smartxd.ctl.main import main
from smartxd.records import LOSS
from smartxd.store.captures import CaptureStore

AT = time.time_ns() + 3600 * 10**9
"""Ahead, because ten minutes may pass before a test is run, and what is older is not shown unasked."""
FRAME = bytes.fromhex("02000000000b02000000000a0800") + bytes(50)
ROWS = [
    {"time_ns": AT, "data": FRAME[:14], "length": 64, "digest": 5, "src_ip": "10.0.0.1", "protocol": 17},
    {
        "time_ns": AT + 1,
        "data": FRAME,
        "length": 1500,
        "direction": "egress",
        "vlan": 9,
        "interface": "wlan0",
    },
    {
        **{
            "time_ns": AT + 2_000_000_003,
            "data": b"",
            "digest": 7,
            "protocol": 17,
            "src_port": 1,
            "dst_port": 4789,
        },
        **{"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "vni": 5, "inner_src_ip": "2001:db8::1"},
        **{"inner_dst_ip": "2001:db8::2", "inner_protocol": 6, "inner_src_port": 80, "inner_dst_port": 9},
    },
]


def loss(cause: str, at_ns: int, interface: str, packets: int) -> dict[str, object]:
    where = {"policy": "wan", "commit_id": "c", "interface": interface, "direction": "ingress"}
    return where | {"cause": cause, "packets": packets, "skbs": packets, "bytes": packets, "at_ns": at_ns}


LOSSES = [
    loss("ring-full", AT + 5, "eth1", 40),
    loss("overflow", AT + 5, "eth1", 1000),
    loss("ring-full", AT + 6, "eth1", 2),
    loss("ring-full", AT + 9, "eth7", 11),
]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    file = tmp_path / "smartxd.toml"
    file.write_text(f'box = "gist1"\nstate_dir = "{tmp_path}"\n[source]\nurl = "/nowhere"\n')
    with CaptureStore(tmp_path / "captures", CaptureConfig()) as store:
        store.append("maps", 0, flow_rows(0, 3), pa.Table.from_pylist(LOSSES, schema=LOSS))
        store.append_packets("ring", 100, packet_rows(*ROWS[:2]))
        store.append_packets("ring", 200, packet_rows(*ROWS[2:]))
    return file


def shown(capsys: pytest.CaptureFixture[str], box: Path, *args: str) -> str:
    capsys.readouterr()
    assert main(["packets", "--config", str(box), *args]) == 0
    return capsys.readouterr().out


def test_packets_are_shown_the_newest_first(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, newest, egress, oldest = (line.split() for line in shown(capsys, box).splitlines())
    assert header[:8] == ["TIME", "INTERFACE", "DIR", "VLAN", "PROTO", "SOURCE", "DESTINATION", "INNER"]
    assert header[8:] == ["LENGTH", "CAPTURED", "DIGEST"]
    assert newest[1:8] == ["eth1", "in", "-", "udp", "192.0.2.1:1", "192.0.2.2:4789", "vni"]
    assert newest[8:] == ["5", "tcp", "[2001:db8::1]:80", ">", "[2001:db8::2]:9", "60", "0", "7"]
    assert (egress[1:4], egress[-3:]) == (["wlan0", "out", "9"], ["1500", "64", str((1 << 53) - 1)])
    assert oldest[-3:] == ["64", "14", "5"]


def test_programs_get_every_column_and_the_bytes(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(shown(capsys, box, "-o", "json", "--limit", "2"))
    assert [row["time_ns"] for row in rows] == [AT + 2_000_000_003, AT + 1]
    assert (rows[1]["data"], rows[1]["captured"], rows[1]["digest"]) == (FRAME.hex(), 64, (1 << 53) - 1)
    (line,) = csv.DictReader(io.StringIO(shown(capsys, box, "-o", "csv", "--vni", "5", "--port", "80")))
    assert (line["inner_src_ip"], line["vlan"], line["captured"]) == ("2001:db8::1", "", "0")
    assert json.loads(shown(capsys, box, "-o", "json", "--src", "10.0.0.0/8"))[0]["digest"] == 5


def test_nothing_found_says_what_there_is(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["packets", "--config", str(box), "--vni", "9"]) == 0
    assert "no packets match since" in capsys.readouterr().err


def dissected(file: Path, *fields: str) -> list[list[str]]:
    argv = ["tshark", "-n", "-r", str(file), "-T", "fields", *(f"-e{field}" for field in fields)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_tshark_reads_packets_as_they_were_recorded(box: Path) -> None:
    file = box.parent / "packets.pcapng"
    assert main(["export", "pcapng", str(file), "--config", str(box)]) == 0
    fields = ("frame.interface_name", "frame.packet_flags_direction", "frame.time_epoch")
    found = dissected(file, *fields, "frame.len", "frame.cap_len", "eth.src")
    assert found == [
        ["eth1", "0x00000001", f"{AT // 10**9}.{AT % 10**9:09d}", "64", "14", "02:00:00:00:00:0a"],
        [
            "wlan0",
            "0x00000002",
            f"{(AT + 1) // 10**9}.{(AT + 1) % 10**9:09d}",
            "1500",
            "64",
            "02:00:00:00:00:0a",
        ],
        ["eth1", "0x00000001", *found[2][2:3], "60", "0", ""],
    ]
    assert found[2][2] == f"{ROWS[2]['time_ns'] // 10**9}.{ROWS[2]['time_ns'] % 10**9:09d}"  # type: ignore[operator]


def test_the_packet_behind_a_loss_says_what_is_missing(box: Path) -> None:
    file = box.parent / "packets.pcapng"
    assert main(["export", "pcapng", str(file), "--config", str(box)]) == 0
    comments = [row[0] for row in dissected(file, "frame.comment")]
    assert comments == ["", "", "ring-full: policy wan did not record 42 packets (ingress) before this"]
    assert [row[0] for row in dissected(file, "frame.drop_count")][2] == "42"
    data = file.read_bytes()
    assert b"ring-full: policy wan did not record 11 packets (ingress)" in data, "behind the last packet"
    about = subprocess.run(["capinfos", str(file)], capture_output=True, text=True, check=True, timeout=60)
    assert "eth7" in about.stdout
    assert "box gist1" in about.stdout
