from __future__ import annotations

import itertools
import json
import threading
import uuid

import httpx
import pyarrow as pa
import pytest
from capture_rows import OLDER, flow_rows, loss_rows

from smartxd.records import FLOW
from smartxd.store.batch import MAX_ROWS, BatchKey, checksum
from smartxd.sync.protocol import BODY_MAX, CHECKSUM, CONTENT_MAX, encode, ingest_path

names = (f"box{n}" for n in itertools.count())


class Box:
    def __init__(self, center, name: str, token: str) -> None:
        self.center = center
        self.name = name
        self.token = token
        self.epoch = str(uuid.uuid4())

    @classmethod
    def fresh(cls, center) -> Box:
        name = next(names)
        return cls(center, name, center.enroll(name))

    def put(self, table, *, seq=1, stream="flows", epoch=None, body=None, digest=None, token=None, box=None):
        key = BatchKey(box or self.name, stream, epoch or self.epoch, seq)
        return httpx.put(
            self.center.url + ingest_path(key),
            content=encode(table) if body is None else body,
            headers={
                "Authorization": f"Bearer {self.token if token is None else token}",
                CHECKSUM: checksum(table) if digest is None else digest,
            },
            timeout=60,
            trust_env=False,
        )

    @property
    def rows(self) -> int:
        return sum(t["rows"] for t in self.totals)

    @property
    def totals(self) -> list[dict]:
        found = self.center.get("/api/v1/totals", box=self.name)
        return [t for t in found if t["epoch"] == self.epoch]


@pytest.fixture(scope="module")
def enrolled(center) -> Box:
    return Box.fresh(center)


@pytest.fixture
def box(enrolled: Box) -> Box:
    """A store of its own of the one box that is enrolled for most tests."""
    return Box(enrolled.center, enrolled.name, enrolled.token)


def test_a_batch_is_stored_once_and_the_same_again_is_answered_200(box):
    assert box.put(flow_rows(1, 10)).status_code == 201
    again = box.put(flow_rows(1, 10))
    assert (again.status_code, again.json()) == (200, {"result": "duplicate"})
    assert box.rows == 10


def test_a_box_of_an_older_release_is_served_before_and_after_its_upgrade(center):
    box = Box.fresh(center)
    assert box.put(flow_rows(1, 10).select(OLDER.names)).status_code == 201
    assert box.put(flow_rows(1, 10)).status_code == 200, "sent again by the new release"
    flows = center.get("/api/v1/flows", box=box.name, since="2001-09-09T00:00:00Z")["flows"]
    assert [f["sampled_one_in"] for f in flows] == [1] * 10


def test_a_key_with_other_content_is_refused(box):
    box.put(flow_rows(1, 10))
    answer = box.put(flow_rows(2, 10))
    assert answer.status_code == 409
    assert "other content" in answer.json()["detail"]
    assert box.rows == 10


def test_the_same_number_of_another_epoch_or_stream_is_another_batch(box):
    box.put(flow_rows(1, 10))
    assert box.put(loss_rows(3), stream="losses").status_code == 201
    assert box.rows == 13
    box.epoch = str(uuid.uuid4())
    assert box.put(flow_rows(1, 10)).status_code == 201
    assert box.rows == 10


def test_totals_say_up_to_where_nothing_is_missing(box):
    def contiguous() -> tuple[int, int]:
        (total,) = box.totals
        return total["contiguous_seq"], total["max_seq"]

    for seq, expected in ((2, (0, 2)), (1, (2, 2)), (5, (2, 5)), (4, (2, 5)), (3, (5, 5)), (6, (6, 6))):
        box.put(flow_rows(seq, 1), seq=seq)
        assert contiguous() == expected


def test_concurrent_copies_of_one_batch_are_stored_once(box):
    answers: list[int] = []
    table = flow_rows(1, 500)
    threads = [threading.Thread(target=lambda: answers.append(box.put(table).status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(answers) == [200] * 7 + [201]
    assert box.rows == 500


@pytest.mark.parametrize("token", ["-", "wrong", "x" * 4000])
def test_a_wrong_token_is_refused(box, token):
    assert box.put(flow_rows(1, 1), token=token).status_code == 401
    assert box.rows == 0


def test_the_token_of_one_box_is_no_good_for_another(center, box):
    other = Box.fresh(center)
    assert other.put(flow_rows(1, 1), box=box.name).status_code == 401
    answer = httpx.post(
        f"{center.url}/api/v1/boxes/{box.name}/report",
        json={"box": box.name},
        headers={"Authorization": f"Bearer {other.token}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 401


def test_a_rotated_token_replaces_the_old_one_while_the_site_is_served(center):
    box = Box.fresh(center)
    fresh = center.enroll(box.name, "--rotate")
    assert box.put(flow_rows(1, 1)).status_code == 401
    assert box.put(flow_rows(1, 1), token=fresh).status_code == 201


def body_of(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with (
        pa.CompressedOutputStream(sink, "zstd") as packed,
        pa.ipc.new_stream(packed, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream,
    ):
        stream.write_table(table)
    return bytes(sink.getvalue())


def zeros(count: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        for _ in range(count >> 20):
            packed.write(b"\0" * (1 << 20))
    return bytes(sink.getvalue())


def with_nulls() -> pa.Table:
    columns = [
        pa.nulls(1, f.type) if f.name == "packets" else flow_rows(1, 1)[f.name].combine_chunks() for f in FLOW
    ]
    return pa.table(columns, schema=FLOW)


def with_huge_count() -> pa.Table:
    row = flow_rows(1, 1).to_pylist()[0] | {"bytes": 2**63}
    return pa.Table.from_pylist([row], schema=FLOW)


GOOD = flow_rows(1, 20)
BAD_BODIES = {
    "empty": (b"", "not an Arrow IPC stream"),
    "text": (b"hello", "not an Arrow IPC stream"),
    "no rows": (encode(flow_rows(1, 0)), "no rows"),
    "cut short": (encode(GOOD)[:-20], "not an Arrow IPC stream"),
    "unpacked Arrow": (pa.ipc.new_stream, "not an Arrow IPC stream"),
    "another stream's schema": (encode(loss_rows(1)), "another schema: column ethertype is missing"),
    "a missing column": (encode(GOOD.drop_columns(["vni"])), "column vni is missing"),
    "an extra column": (encode(GOOD.append_column("x", [[1] * 20])), "column x is unknown"),
    "another type": (
        encode(GOOD.set_column(0, pa.field("policy", pa.int64(), nullable=False), [[1] * 20])),
        "column policy is int64, not string",
    ),
    "compressed twice": (body_of(GOOD, compression="zstd"), "must not be compressed again"),
    "too many rows": (encode(flow_rows(1, MAX_ROWS + 1)), f"more than {MAX_ROWS} rows"),
    "a bomb": (zeros(CONTENT_MAX + (2 << 20)), "unpacks to more than"),
    "nulls": (encode(with_nulls()), "column packets has nulls"),
    "an impossible count": (encode(with_huge_count()), "column bytes holds 9223372036854775808"),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_bad_body_is_refused_in_one_line_and_changes_nothing(box, what):
    body, says = BAD_BODIES[what]
    if callable(body):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, FLOW) as stream:
            stream.write_table(GOOD)
        body = bytes(sink.getvalue())
    answer = box.put(GOOD, body=body)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert says in detail
    assert "\n" not in detail
    assert box.rows == 0
    assert box.put(GOOD).status_code == 201


def test_flipped_bytes_anywhere_in_a_body_never_get_in_and_never_stop_the_site(box):
    good = encode(GOOD)
    refused = 0
    for at in range(0, len(good), 37):
        body = bytearray(good)
        body[at] ^= 0x55
        status = box.put(GOOD, body=bytes(body)).status_code
        # A bit that carries no content may flip; then the content is right and is taken.
        assert status in {200, 201, 422}, (at, status)
        refused += status == 422
    assert refused > 10
    assert box.rows in {0, 20}


def test_flipped_bytes_inside_the_stream_never_get_in(box):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, FLOW) as stream:
        stream.write_table(GOOD)
    plain = bytes(sink.getvalue())
    for at in range(8, len(plain), 61):
        body = bytearray(plain)
        body[at] ^= 0xFF
        packed = pa.compress(bytes(body), codec="zstd", asbytes=True)
        assert box.put(GOOD, body=packed).status_code in {200, 201, 422}, at
    assert box.rows in {0, 20}


def test_a_wrong_checksum_is_refused(box):
    answer = box.put(GOOD, digest="0" * 32)
    assert (answer.status_code, box.rows) == (422, 0)
    assert "checksum" in answer.json()["detail"]


def test_a_body_over_the_bound_is_refused_before_it_is_read(box):
    answer = box.put(GOOD, body=b"x" * (BODY_MAX + 1))
    assert answer.status_code == 413
    assert str(BODY_MAX) in answer.json()["detail"]


def test_a_body_of_unknown_length_is_bounded_too(box):
    def endless():
        while True:
            yield b"x" * (1 << 20)

    key = BatchKey(box.name, "flows", box.epoch, 1)
    headers = {"Authorization": f"Bearer {box.token}"}
    try:
        answer = httpx.put(
            box.center.url + ingest_path(key), content=endless(), headers=headers, timeout=60, trust_env=False
        )
        assert answer.status_code == 413
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        pass  # the site closed the connection while it was still being written to
    assert box.center.get("/healthz")["ok"] is True


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/ingest/BOX/drops/EPOCH/1", 404),
        ("/api/v1/ingest/BOX/flows/not-a-uuid/1", 422),
        ("/api/v1/ingest/BOX/flows/EPOCH/0", 422),
        (f"/api/v1/ingest/BOX/flows/EPOCH/{1 << 63}", 422),
    ],
)
def test_a_wrong_key_is_refused(box, path, status):
    answer = httpx.put(
        box.center.url + path.replace("BOX", box.name).replace("EPOCH", box.epoch),
        content=encode(GOOD),
        headers={"Authorization": f"Bearer {box.token}", CHECKSUM: checksum(GOOD)},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == status
    assert box.rows == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "report"),
        (b'{"box": "another"}', "it is of box 'another'"),
        (b'{"box": "x", "control": 3}', "control"),
    ],
)
def test_a_bad_report_is_refused_and_the_last_one_stays(box, body, says):
    headers = {"Authorization": f"Bearer {box.token}"}
    url = f"{box.center.url}/api/v1/boxes/{box.name}/report"
    good = httpx.post(
        url, content=json.dumps({"box": box.name}), headers=headers, timeout=60, trust_env=False
    )
    assert good.status_code == 204
    answer = httpx.post(url, content=body, headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert box.center.get(f"/api/v1/boxes/{box.name}")["report"]["box"] == box.name


def test_flows_are_found_by_box_interface_address_and_time(center):
    box = Box.fresh(center)
    box.put(flow_rows(1, 9))
    every = {"box": box.name, "since": "2001-09-09T00:00:00Z"}
    flows = center.get("/api/v1/flows", **every)["flows"]
    assert [f["packets"] for f in flows] == list(range(9, 0, -1)), "newest first"
    assert flows[0]["box"] == box.name
    assert len(center.get("/api/v1/flows", **every, limit=4)["flows"]) == 4
    assert len(center.get("/api/v1/flows", **every, address="10.0.0.7")["flows"]) == 1
    assert len(center.get("/api/v1/flows", **every, interface="eth1", policy="wan")["flows"]) == 9
    assert center.get("/api/v1/flows", **every, interface="eth2")["flows"] == []
    assert center.get("/api/v1/flows", box=box.name, since="10m")["flows"] == []


def test_the_api_describes_itself_without_the_internet(center):
    paths = center.get("/api/openapi.json")["paths"]
    assert "/api/v1/ingest/{box}/{stream}/{epoch}/{seq}" in paths
    docs = httpx.get(f"{center.url}/api/docs", timeout=60, trust_env=False).text
    assert "http://" not in docs.replace(center.url, "")
    assert "https://" not in docs
    script = httpx.get(f"{center.url}/static/ninja/swagger-ui-bundle.js", timeout=60, trust_env=False)
    assert script.status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../main.py", "/static/%2e%2e/%2e%2e/secret.key", "/static//etc/passwd"]
)
def test_no_file_beyond_the_static_ones_is_served(center, path):
    assert httpx.get(center.url + path, timeout=60, trust_env=False).status_code in {400, 404}


def test_a_name_that_is_not_the_sites_is_refused(center):
    answer = httpx.get(center.url, headers={"Host": "rebound.example"}, timeout=60, trust_env=False)
    assert answer.status_code == 400
    assert "allowed_hosts" in answer.json()["detail"]
    for host in ("localhost:1", "192.0.2.1", "[::1]:8080"):
        assert httpx.get(center.url, headers={"Host": host}, timeout=60, trust_env=False).status_code == 200
