"""What is exported is what was captured, as programs of others read it."""

from __future__ import annotations

import io
import json
import subprocess
import time
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from capture_rows import flow_rows, loss_rows

from smartxd.config import CaptureConfig
from smartxd.ctl.main import main
from smartxd.export.files import FORMATS
from smartxd.export.ipfix import MESSAGE_MAX
from smartxd.records import FLOW
from smartxd.store.captures import CaptureStore

ROWS = [
    {"packets": 1, "bytes": 60, "src_ip": None, "dst_ip": None, "protocol": None, "ethertype": 0x0806},
    {
        **{
            "packets": 3,
            "bytes": 300,
            "src_ip": "10.0.0.1",
            "dst_ip": "192.0.2.9",
            "protocol": 6,
            "tcp_flags": 0x12,
        },
        **{"src_port": 40000, "dst_port": 443, "vlan": 42, "direction": "egress"},
    },
    {
        **{"packets": 2, "bytes": 200, "src_ip": "2001:db8::1", "dst_ip": "2001:db8::2", "ethertype": 0x86DD},
        **{"protocol": 17, "src_port": 5000, "dst_port": 53, "interface": "wlan-long0", "sampled_one_in": 64},
    },
    {
        **{"packets": 4, "bytes": 800, "src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "protocol": 17},
        **{"src_port": 50000, "dst_port": 4789, "vni": 0x123456, "policy": "inside"},
        **{"inner_src_ip": "2001:db8:5::1", "inner_dst_ip": "2001:db8:5::2", "inner_protocol": 6},
        **{"inner_src_port": 1234, "inner_dst_port": 80},
    },
    {
        **{"packets": 5, "bytes": 500, "src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "protocol": 17},
        **{
            "src_port": 50000,
            "dst_port": 4789,
            "vni": 7,
            "inner_src_ip": "10.0.0.5",
            "inner_dst_ip": "10.0.0.6",
        },
        **{"inner_protocol": 1},
    },
]


def recent(rows: list[dict]) -> pa.Table:
    at = time.time_ns()
    base = flow_rows(1, 1).to_pylist()[0] | {"protocol": None, "first_ns": at - 1_234_567_891, "last_ns": at}
    return pa.Table.from_pylist([base | row for row in rows], schema=FLOW)


@pytest.fixture
def table() -> pa.Table:
    return recent(ROWS)


@pytest.fixture
def config(tmp_path: Path, table: pa.Table) -> Path:
    file = tmp_path / "smartxd.toml"
    file.write_text(f'box = "gist1"\nstate_dir = "{tmp_path}"\n[source]\nurl = "/nowhere"\n')
    with CaptureStore(tmp_path / "captures", CaptureConfig()) as store:
        store.append("maps", 0, table.slice(0, 2), loss_rows(1))
        store.append("maps", 1, table.slice(2), loss_rows(1))
    return file


def export(config: Path, form: str, *more: str) -> Path:
    file = config.parent / f"flows.{form}"
    assert main(["export", form, str(file), "--config", str(config), *more]) == 0
    return file


def test_parquet_has_every_row_and_column_and_the_box(config: Path, table: pa.Table) -> None:
    file = export(config, "parquet")
    found = pq.read_table(file)
    assert found.schema.metadata[b"smartx.box"] == b"gist1"
    assert found.replace_schema_metadata().equals(table)
    assert [p.name for p in config.parent.glob("*.part")] == []


def test_csv_has_every_row_under_the_names_of_the_columns(config: Path, table: pa.Table) -> None:
    options = pa_csv.ConvertOptions(column_types=FLOW, strings_can_be_null=True)
    assert pa_csv.read_csv(export(config, "csv"), convert_options=options).cast(FLOW).equals(table)


def test_filters_and_times_choose_what_is_exported(config: Path, table: pa.Table) -> None:
    assert pq.read_table(export(config, "parquet", "--dst", "2001:db8::/32"))["packets"].to_pylist() == [2, 4]
    assert pq.read_table(export(config, "parquet", "--until", "1h")).num_rows == 0


def read_by_tshark(file: Path) -> list[dict]:
    """Each flow as tshark dissects it: values by the names of its fields, a list where there are several."""
    done = subprocess.run(
        ["tshark", "-n", "-r", str(file), "-T", "json", "--no-duplicate-keys"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    flows = []
    for packet in json.loads(done.stdout):
        layers = packet["_source"]["layers"]
        assert "_ws.malformed" not in layers, layers
        flows += _flows(layers["cflow"])
    return flows


def _flows(value: object) -> list[dict]:
    found = []
    if isinstance(value, dict):
        if "cflow.packets" in value:
            found.append(value)
        else:
            found += [f for v in value.values() for f in _flows(v)]
    elif isinstance(value, list):
        found += [f for v in value for f in _flows(v)]
    return found


def as_tshark_says(row: dict) -> dict:
    """What tshark must say of a row: in layers, the outer value comes first."""

    def layered(column: str, version: int | None = None) -> object:
        both = [v for v in (row[column], row[f"inner_{column}"]) if v is not None]
        found = [str(v) for v in both if version is None or ip_address(v).version == version]
        return found[0] if len(found) == 1 else found or None

    is_ip, tags = row["src_ip"] is not None, 0 if row["vlan"] is None else 4
    said = {
        "packets": row["packets"],
        "layer2_octet_delta_count": row["bytes"],
        "octets": row["bytes"] - (14 + tags) * row["packets"] if is_ip else None,
        "direction": int(row["direction"] == "egress"),
        "if_name": row["interface"],
        "selector_name": row["policy"],
        "sampling_interval": row["sampled_one_in"],
        "ethernet_type": row["ethertype"],
        "vlanid": row["vlan"],
        "tcpflags": f"0x{row['tcp_flags']:04x}" if row["tcp_flags"] else None,
        "protocol": layered("protocol"),
        "srcport": layered("src_port"),
        "dstport": layered("dst_port"),
        "srcaddr": layered("src_ip", 4),
        "dstaddr": layered("dst_ip", 4),
        "srcaddrv6": layered("src_ip", 6),
        "dstaddrv6": layered("dst_ip", 6),
        "layer2_segment_id": None if row["vni"] is None else row["vni"] + (1 << 56),
        "timedelta": f"{(row['last_ns'] - row['first_ns']) / 1e9:.9f}",
    }
    return {f"cflow.{k}": v if isinstance(v, list) else str(v) for k, v in said.items() if v is not None}


def test_tshark_reads_ipfix_as_it_was_captured(config: Path, table: pa.Table) -> None:
    flows = sorted(read_by_tshark(export(config, "ipfix")), key=lambda f: int(f["cflow.packets"]))
    rows = sorted(table.to_pylist(), key=lambda r: r["packets"])
    shown = [{k: v for k, v in flow.items() if not k.endswith("_tree")} for flow in flows]
    assert shown == [as_tshark_says(row) for row in rows]
    for flow, row in zip(flows, rows, strict=True):
        seconds, ns = divmod(row["last_ns"], 10**9)
        at = datetime.fromtimestamp(seconds, UTC).strftime(f"%b %e, %Y %H:%M:%S.{ns:09d} UTC")
        assert flow["cflow.timedelta_tree"]["cflow.abstimeend"] == at


def test_tshark_counts_every_row_of_many_messages(tmp_path: Path) -> None:
    file = tmp_path / "many.ipfix"
    with file.open("wb") as out, FORMATS["ipfix"](out, "gist1") as writer:
        for first in (1, 20_001):
            writer.write(flow_rows(first, 20_000))
    argv = ["tshark", "-n", "-r", str(file), "-T", "fields", "-e", "cflow.packets"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    packets = [int(n) for n in done.stdout.replace(",", " ").split()]
    assert sorted(packets) == list(range(1, 40_001))


def test_messages_are_bounded_and_number_every_record(config: Path) -> None:
    out = io.BytesIO()
    with FORMATS["ipfix"](out, "gist1") as writer:
        for first in (1, 5001):
            writer.write(flow_rows(first, 5000))
    data, at, records = out.getvalue(), 0, []
    while at < len(data):
        version, length = (
            int.from_bytes(data[at : at + 2], "big"),
            int.from_bytes(data[at + 2 : at + 4], "big"),
        )
        assert version == 10
        assert 16 < length <= MESSAGE_MAX
        records.append(int.from_bytes(data[at + 8 : at + 12], "big"))
        at += length
    assert at == len(data)
    assert records == sorted(records)
    assert records[-1] <= 10_001


def test_a_failure_leaves_no_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "captures" / "index.sqlite").unlink()
    file = config.parent / "x.csv"
    assert main(["export", "csv", str(file), "--config", str(config)]) == 1
    assert "no captures here" in capsys.readouterr().err
    assert not file.exists()
    assert list(config.parent.glob("*.part")) == []


def test_what_cannot_be_read_is_said_and_the_rest_is_exported(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for damaged in (config.parent / "captures").glob("flows-*.sqlite*"):
        damaged.write_bytes(b"X" * 8192)
    assert main(["export", "csv", str(config.parent / "x.csv"), "--config", str(config)]) == 1
    assert "warning: left out: " in capsys.readouterr().err
