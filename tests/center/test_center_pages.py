from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import httpx
from capture_rows import flow_rows

from smartxd.report import (
    BoxReport,
    CaptureReport,
    ConditionReport,
    ControlReport,
    SessionReport,
    SourceReport,
    StreamReport,
    UndrainedReport,
)
from smartxd.store.batch import BatchKey, checksum
from smartxd.sync.protocol import CHECKSUM, encode, ingest_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def condition(object_: str, type_: str, status: bool, reason: str, message: str) -> ConditionReport:
    since = datetime.now(UTC) - timedelta(minutes=5)
    return ConditionReport(
        object=object_, type=type_, status=status, reason=reason, message=message, commit=COMMIT, since=since
    )


def report(box: str, *, ready: bool, message: str = "all is as declared") -> BoxReport:
    conditions = [
        condition(f"Box/{box}", "Ready", ready, "Converged" if ready else "NotConverged", message),
        condition("BGPRouter/wan", "Ready", True, "Converged", "as declared"),
        condition("Tunnel/blue", "Stalled", not ready, "MissingUnderlay", "no route to 192.0.2.9"),
    ]
    numbers = {"remote_as": 65002, "uptime_s": 9, "prefixes_received": 1, "prefixes_sent": 1}
    state = "Established" if ready else "Active"
    sessions = [
        SessionReport(owner="BGPPeer/a-b", address="192.0.2.2", state="Established", **numbers),
        SessionReport(
            owner="BGPPeer/a-c", address="192.0.2.3", state=state, last_error="no route", **numbers
        ),
    ]
    rows = {"captured_rows": 90, "received_rows": 10, "pending_rows": 77, "tombstoned_rows": 3}
    stream = StreamReport(stream="flows", quarantined_rows=0, captured_batches=9, pending_batches=4, **rows)
    return BoxReport(
        box=box,
        control=ControlReport(
            box=box, version="0.1.0", at=datetime.now(UTC), commit=COMMIT, sessions=tuple(sessions),
            source=SourceReport(url="https://git.example/specs", branch="main", path="."),
            conditions=tuple(conditions),
        ),
        capture=CaptureReport(
            epoch="e", streams=(stream,),
            undrained=(UndrainedReport(policy="lan", message="no key 'people'"),),
        ),
    )  # fmt: skip


def post(center, said: BoxReport, token: str) -> None:
    answer = httpx.post(
        f"{center.url}/api/v1/boxes/{said.box}/report",
        content=said.model_dump_json(),
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 204, answer.text


def page(center, path: str = "/") -> str:
    answer = httpx.get(center.url + path, timeout=60, trust_env=False)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    return answer.text


def test_without_a_box_the_page_says_how_to_enroll_one(center):
    assert "smartx-center enroll BOX" in page(center)


def test_the_first_page_shows_each_box_with_what_is_wrong_with_it(center):
    good, bad = center.enroll("good"), center.enroll("bad")
    center.enroll("silent")
    post(center, report("good", ready=True), good)
    post(center, report("bad", ready=False), bad)
    table = flow_rows(1, 4321)
    key = BatchKey("good", "flows", "00000000-0000-0000-0000-000000000001", 1)
    headers = {"Authorization": f"Bearer {good}", CHECKSUM: checksum(table)}
    httpx.put(
        center.url + ingest_path(key), content=encode(table), headers=headers, timeout=60, trust_env=False
    )
    text = page(center)
    rows = {
        name: text.split(f'href="/boxes/{name}"')[1].split("</tr>")[0] for name in ("good", "bad", "silent")
    }
    assert "1 of 3 ready" in text
    for expected in (">Ready<", COMMIT[:12], "2 of 2 established", "77 rows", "4321", "3 not sent"):
        assert expected in rows["good"]
    assert "Stalled" not in rows["good"]
    assert "for 5 min" in rows["good"]
    assert re.search(r"\d+ s ago", rows["good"])
    for expected in (
        "Not ready",
        "<b>Stalled</b> Tunnel/blue",
        "no route to 192.0.2.9",
        "1 of 2 established",
    ):
        assert expected in rows["bad"]
    assert "BGPRouter/wan" not in rows["bad"], "only what is not as it should be"
    assert "Never seen" in rows["silent"]
    detail = page(center, "/boxes/bad")
    for expected in (COMMIT, "BGPPeer/a-c", "Active", "https://git.example/specs", "BGPRouter/wan"):
        assert expected in detail
    assert "MissingUnderlay" in detail
    objects = re.findall(r"<td><b>(\w+/\S+)</b>", detail)
    assert objects == ["Tunnel/blue", "Box/bad", "BGPRouter/wan"], "a row for each, those in trouble first"
    assert "Stalled=True" not in detail
    assert "no key &#x27;people&#x27;" in detail.split("Not drained")[1].split("</section>")[0]
    assert "Stalled=True" in page(center, "/boxes/bad?all")
    assert httpx.get(f"{center.url}/boxes/nobody", timeout=60, trust_env=False).status_code == 404


def test_the_page_of_a_box_and_the_api_show_families_bfd_drops_and_vnis(center):
    token = center.enroll("evpn")
    said = report("evpn", ready=True)
    families = [{"family": "ipv4", "prefixes_received": 31, "prefixes_sent": 32}]
    families.append({"family": "evpn", "prefixes_received": 41, "prefixes_sent": 42})
    more = {"families": families, "bfd": "down", "drops": 77, "last_error": "Hold Timer expired"}
    macs = [{"mac": "02:00:00:00:00:02", "at": "198.51.100.7", "remote": True}]
    vni = {
        "vni": 1234,
        "type": "L2",
        "link": "vx1234",
        "vrf": "default",
        "vteps": ["198.51.100.7"],
        "macs": 1,
    }
    raw = said.model_dump(mode="json")
    raw["control"]["sessions"][0].update(more)
    raw["control"]["vnis"] = [{**vni, "entries": macs}]
    post(center, BoxReport.model_validate(raw), token)
    text = page(center, "/boxes/evpn")
    for expected in (
        *("ipv4 31", "ipv4 32", "evpn 41", "evpn 42", ">down<", ">77<", "Hold Timer expired"),
        *("1234", "vx1234", "198.51.100.7", "<code>02:00:00:00:00:02</code>"),
    ):
        assert expected in text
    control = httpx.get(f"{center.url}/api/v1/boxes/evpn", timeout=60, trust_env=False).json()["report"][
        "control"
    ]
    assert control["sessions"][0]["drops"] == 77
    assert control["vnis"][0]["entries"] == macs


def test_what_a_box_writes_is_text_and_never_markup(center):
    token = center.enroll("hostile")
    post(center, report("hostile", ready=False, message="<script>alert(1)</script>"), token)
    for path in ("/", "/boxes/hostile"):
        assert "<script>" not in page(center, path)
        assert "&lt;script&gt;" in page(center, path)
