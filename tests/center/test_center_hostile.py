"""What one client or one enrolled box may try, and what the others still get."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
import uvicorn
from capture_rows import flow_rows
from center_process import Center

from smartxd.center import connection
from smartxd.records import FLOW
from smartxd.store.batch import MAX_ROWS, BatchKey, checksum
from smartxd.sync.protocol import BODY_MAX, CHECKSUM, encode, ingest_path

NOW = "2026-07-01T12:00:00Z"
CONDITION = {"object": "Box/x", "type": "Ready", "status": True, "reason": "r", "message": "m", "commit": "c"}
CONTROL = {"version": "1", "at": NOW, "commit": "c", "source": {"url": "u", "branch": "b", "path": "p"}}
STREAM = dict.fromkeys(
    ("captured_rows", "received_rows", "tombstoned_rows", "quarantined_rows", "captured_batches"), 1
) | {"stream": "flows", "pending_batches": 1}
TRACER = dict.fromkeys(("packets", "bytes", "lost_packets", "flows"), 1) | {
    "policy": "p", "interface": "i", "direction": "d", "attached": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def token(center: Center) -> str:
    return center.enroll("evil")


def say(center: Center, token: str, text: str) -> httpx.Response:
    return httpx.post(
        f"{center.url}/api/v1/boxes/evil/report",
        content=text,
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )


def since(at: object) -> str:
    conditions = [CONDITION | {"since": at}]
    return json.dumps({"box": "evil", "control": {**CONTROL, "box": "evil", "conditions": conditions}})


def capture(**parts: object) -> str:
    return json.dumps({"box": "evil", "capture": {"epoch": "e", **parts}})


HUGE = capture(streams=[STREAM | {"pending_rows": 0}]).replace(
    '"pending_rows": 0', f'"pending_rows": {"9" * 4300}'
)
REPORTS = {
    "a naive time": since("2026-07-01T12:00:00"),
    "a time after the last one": since("9999-12-31T23:59:59-12:00"),
    "a time before the first one": since("0001-01-01T00:00:00+12:00"),
    "a count of 4300 digits": HUGE,
    "a negative count": capture(streams=[STREAM | {"pending_rows": -1}]),
    "not a number": capture(tracers=[TRACER | {"packets_per_s": float("nan")}]),
    "infinity": capture(tracers=[TRACER | {"packets_per_s": float("inf")}]),
    "an interval of ages": json.dumps({"box": "evil", "interval_s": 1e300}),
}


@pytest.mark.parametrize("what", REPORTS)
def test_an_impossible_report_is_refused_and_the_pages_stay(center, token, what):
    assert say(center, token, REPORTS[what]).status_code == 422
    for path in ("/", "/boxes/evil", "/api/v1/boxes", "/api/v1/boxes/evil"):
        assert httpx.get(center.url + path, timeout=60, trust_env=False).status_code == 200, path


def test_a_report_with_too_much_to_say_is_cut_and_not_refused(center, token):
    conditions = [
        CONDITION | {"object": f"Tunnel/t{n}", "since": NOW, "message": "m" * 5} for n in range(5000)
    ]
    conditions[0]["message"] = "m" * 100_000
    said = {"box": "evil", "control": {**CONTROL, "box": "evil", "conditions": conditions}}
    assert say(center, token, json.dumps(said)).status_code == 204
    kept = center.get("/api/v1/boxes/evil")["report"]["control"]["conditions"]
    assert (len(kept), len(kept[0]["message"])) == (4096, 1000)


def test_a_stored_report_of_another_form_is_shown_as_none(center):
    center.enroll("older")
    with sqlite3.connect(center.data_dir / "center.sqlite", timeout=60) as conn:
        conn.execute(
            "UPDATE center_box SET report = ? WHERE name = 'older'",
            ('{"box": "older", "control": {"a": 1}}',),
        )
    conn.close()
    assert [b["report"] for b in center.get("/api/v1/boxes") if b["name"] == "older"] == [None]
    assert httpx.get(center.url, timeout=60, trust_env=False).status_code == 200


@pytest.mark.parametrize("path", ["/static/ninja", "/static/", "/static/ninja/"])
def test_a_folder_is_not_a_file(center, path):
    assert httpx.get(center.url + path, timeout=60, trust_env=False).status_code in {400, 404}


@pytest.mark.parametrize(
    "query", ["since=999999999d", "since=9999-12-31T23:59:59-12:00", "since=x", "box=%00"]
)
def test_no_query_breaks_the_list_of_flows(center, query):
    answer = httpx.get(f"{center.url}/api/v1/flows?{query}", timeout=60, trust_env=False)
    assert answer.status_code in {200, 422}


@contextlib.contextmanager
def connections(center: Center, count: int, sends: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(socket.create_connection(("127.0.0.1", center.port), timeout=60)))
            made[-1].sendall(sends)
        yield made


def test_three_hundred_idle_connections_shut_nobody_out(center):
    with connections(center, 300):
        assert center.get("/healthz")["ok"] is True


def test_a_hundred_boxes_that_keep_their_connections_are_served(center, token):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(httpx.Client(base_url=center.url, trust_env=False, timeout=60))
            assert client.get("/healthz").status_code == 200


def test_a_connection_without_a_whole_request_is_closed_and_another_is_not(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 2.0)

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        served = uvicorn.Config(
            app, http=connection.Connection, lifespan="off", log_level="warning", timeout_keep_alive=75
        )
        server = uvicorn.Server(served)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        stack.callback(thread.join, 60)
        stack.callback(setattr, server, "should_exit", True)
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        silent, slow, kept, drips = (
            stack.enter_context(socket.create_connection(listening.getsockname(), timeout=60))
            for _ in range(4)
        )
        slow.sendall(request[:-2])
        kept.sendall(request)
        drips.sendall(request)
        assert b"204" in drips.recv(1000)
        drips.sendall(request[:9])
        for cut in (silent, slow, drips):
            assert cut.recv(1000) == b""
        assert b"204" in kept.recv(1000)
        kept.sendall(request)
        assert b"204" in kept.recv(1000)


def test_readers_that_do_not_read_keep_no_page_from_others(center):
    request = b"GET /static/ninja/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connections(center, 20, request):
        for _ in range(5):
            assert httpx.get(center.url, timeout=60, trust_env=False).status_code == 200


def head(box: str, token: str, length: int) -> bytes:
    path = ingest_path(BatchKey(box, "flows", str(uuid.uuid4()), 1))
    return (
        f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def put(center: Center, box: str, token: str, table: pa.Table) -> httpx.Response:
    path = ingest_path(BatchKey(box, "flows", str(uuid.uuid4()), 1))
    headers = {"Authorization": f"Bearer {token}", CHECKSUM: checksum(table)}
    return httpx.put(center.url + path, content=encode(table), headers=headers, timeout=60, trust_env=False)


def test_a_box_that_never_ends_its_bodies_takes_nobodys_turn(center, token):
    other = center.enroll("other")
    with connections(center, 30, head("evil", token, BODY_MAX)):
        assert put(center, "other", other, flow_rows(1, 10)).status_code == 201


def memory(center: Center, field: str) -> int:
    status = Path(f"/proc/{center.process.pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) << 10


def test_bodies_without_the_right_token_are_dropped_as_they_come(center, token):
    before = memory(center, "VmHWM")
    answers: list[int] = []

    def send() -> None:
        answer = httpx.put(
            center.url + ingest_path(BatchKey("evil", "flows", str(uuid.uuid4()), 1)),
            content=b"x" * BODY_MAX,
            headers={"Authorization": "Bearer wrong"},
            timeout=120,
            trust_env=False,
        )
        answers.append(answer.status_code)

    in_parallel(send, 16)
    assert answers == [401] * 16
    assert memory(center, "VmHWM") - before < 64 << 20


def in_parallel(what, count: int) -> None:
    threads = [threading.Thread(target=what) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)


def test_large_batches_of_many_boxes_at_once_stay_within_memory(center):
    tokens = {f"large{n}": center.enroll(f"large{n}") for n in range(4)}
    texts = pa.array([f"{n:0200d}" for n in range(MAX_ROWS)])
    table = flow_rows(1, MAX_ROWS)
    for name in ("policy", "commit_id", "src_ip", "dst_ip"):
        table = table.set_column(FLOW.get_field_index(name), FLOW.field(name), texts)
    answers: list[int] = []
    boxes = iter(tokens.items())
    body, digest = encode(table), checksum(table)

    def send() -> None:
        box, token = next(boxes)
        answer = httpx.put(
            center.url + ingest_path(BatchKey(box, "flows", str(uuid.uuid4()), 1)),
            content=body,
            headers={"Authorization": f"Bearer {token}", CHECKSUM: digest},
            timeout=120,
            trust_env=False,
        )
        answers.append(answer.status_code)

    in_parallel(send, len(tokens))
    assert answers == [201] * 4
    assert memory(center, "VmHWM") < 900 << 20


def test_a_name_that_no_capture_has_is_refused(center, token):
    table = flow_rows(1, 1).set_column(0, FLOW.field("policy"), pa.array(["p" * 256]))
    answer = put(center, "evil", token, table)
    assert (answer.status_code, "column policy holds a text" in answer.json()["detail"]) == (422, True)


def test_a_total_that_cannot_be_counted_is_refused(center, token):
    most = pa.array([(1 << 46) - 1] * MAX_ROWS, pa.uint64())
    table = flow_rows(1, MAX_ROWS).set_column(FLOW.get_field_index("bytes"), FLOW.field("bytes"), most)
    epoch = str(uuid.uuid4())
    answers = [
        httpx.put(
            center.url + ingest_path(BatchKey("evil", "flows", epoch, seq)),
            content=encode(table),
            headers={"Authorization": f"Bearer {token}", CHECKSUM: checksum(table)},
            timeout=60,
            trust_env=False,
        ).status_code
        for seq in (1, 2)
    ]
    assert answers == [201, 422]


@pytest.mark.kernel
def test_a_centre_short_of_disk_takes_batches_again_once_its_rows_are_old(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    config = tmp_path / "center.toml"
    config.write_text(f"disk_min_free_bytes = {24 << 20}\nretention_s = 15\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True, timeout=60)
    center = Center(disk)
    try:
        token = center.enroll("gist1")
        center.start("--config", str(config))
        table = flow_rows(1, MAX_ROWS)
        answers = [201]
        while answers[-1] == 201 and len(answers) < 20:
            answers.append(put(center, "gist1", token, table).status_code)
        assert answers[-1] == 507
        deadline = time.monotonic() + 90
        while put(center, "gist1", token, flow_rows(1, 10)).status_code == 507:
            assert time.monotonic() < deadline
            time.sleep(0.5)  # the age is the point
    finally:
        center.stop()
        subprocess.run(["umount", disk], check=True, timeout=60)
