"""The daemon's socket: what is not of its protocol is refused, what takes too long is given up."""

from __future__ import annotations

import contextlib
import json
import select
import socket as sockets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartxd.config import Config
from smartxd.daemon import server as serving
from smartxd.daemon.converger import Converger
from smartxd.daemon.loop import Loop
from smartxd.daemon.planning import REQUESTS_MAX, Planner, PlanRequest
from smartxd.daemon.server import BODY_MAX, Refused, StatusServer
from smartxd.errors import DaemonError
from smartxd.socketclient import get, post
from smartxd.store.control import ControlStore
from tests.daemon.conftest import (
    BOX,
    TIMEOUT_S,
    TUNNEL,
    Daemon,
    steps,
)

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "[]", "null", "{}", '{"files": 1}', '{"files": {"a": 1}}', '{"files": {"a": "\\ud800"}}'),
        *('{"files": {}, "box": "b"}', "[" * 100_000, '{"files": ' * 50_000),
    ],
    ids=lambda body: body[:20] or "nothing",
)
def test_a_body_that_is_no_such_json_is_refused(daemon: Daemon, body: str) -> None:
    status, text = daemon.post(body)
    assert status == 400
    assert len(json.loads(text)["error"]) < 300


def test_a_body_above_the_bound_is_refused(daemon: Daemon) -> None:
    body = json.dumps({"files": {"a.yaml": "#" * BODY_MAX}})
    status, text = daemon.post(body)
    assert status == 413
    assert str(BODY_MAX) in json.loads(text)["error"]


def raw(socket: Path, request: bytes, *, trickle: bool = False) -> bytes:
    """What is answered to a request; which, if it trickles, goes on until it is answered."""
    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str(socket))
        client.sendall(request)
        with contextlib.suppress(BrokenPipeError):  # answered already
            while trickle and not select.select([client], [], [], 0.05)[0]:
                client.sendall(b"{")
            client.shutdown(sockets.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /plan HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /plan HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /plan HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (b"POST /plan HTTP/1.1\r\nContent-Length: 10\r\n\r\n{}", b"400"),
        (b"POST /status HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"404"),
        (b"GET /plan/ HTTP/1.1\r\n\r\n", b"404"),
        (b"DELETE /plan HTTP/1.1\r\n\r\n", b"501"),
    ],
)
def test_a_request_that_is_not_of_this_protocol_is_refused(
    daemon: Daemon, request_: bytes, status: bytes
) -> None:
    assert raw(daemon.config.socket, request_).split()[1] == status


def test_a_body_that_trickles_in_is_not_waited_for(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "TIMEOUT_S", 0.1)
    head = b"POST /plan HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
    assert raw(daemon.config.socket, head, trickle=True).split()[1] == b"408"


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Loop]:
    """A loop that does not run yet: for who asks, it is busy."""
    config = Config.model_validate({"box": "a", "state_dir": tmp_path, "source": {"url": "/none"}})
    store = ControlStore(config.control_db)
    converger = Converger(config, store)
    yield Loop(config, converger)
    converger.close()
    store.close()


def refusal(call: Callable[[], str]) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.status, caught.value.error


def test_a_loop_that_is_busy_is_waited_for_within_a_bound(still: Loop) -> None:
    requests: list[PlanRequest] = []

    def ask(request: PlanRequest) -> None:
        requests.append(request)
        still.ask(request)

    planner = Planner("a", ask, still.findings, wait_s=0.1)
    body = json.dumps({"files": {"a.yaml": BOX}}).encode()
    for call in (planner.for_target, lambda: planner.for_specs(body)):
        status, error = refusal(call)
        assert (status, "busy" in error) == (503, True)
    assert all(request.answer.cancelled() for request in requests), "the loop need not answer them any more"
    still.stop()
    still.run()


def test_only_a_few_requests_wait_and_they_are_let_go_when_the_daemon_ends(still: Loop) -> None:
    waiting = threading.Semaphore(0)

    def ask(request: PlanRequest) -> None:
        still.ask(request)
        waiting.release()

    planner = Planner("a", ask, still.findings)
    answers: list[tuple[int, str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(refusal(planner.for_target)))
        for _ in range(REQUESTS_MAX)
    ]
    for thread in threads:
        thread.start()
        assert waiting.acquire(timeout=TIMEOUT_S)
    assert refusal(planner.for_target)[0] == 503
    still.stop()
    still.run()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert answers == [(503, "smartxd is ending")] * REQUESTS_MAX
    assert refusal(planner.for_target) == (503, "smartxd is ending")


def test_a_fault_in_planning_is_told_and_the_box_goes_on(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as broken:
        broken.setattr(Converger, "plan", fault)
        status, text = get(daemon.config.socket, "/plan", TIMEOUT_S)
        assert status == 503
        status, text = daemon.post(json.dumps({"files": {"a.yaml": BOX}}))
    assert status == 500
    assert "journalctl" in json.loads(text)["error"]
    assert "RuntimeError: a fault" in capfd.readouterr().err
    daemon.commit(BOX + TUNNEL, "c1")
    assert steps(daemon.plan()) == []


@pytest.mark.parametrize(("group", "mode"), [(None, 0o600), ("daemon", 0o660)])
def test_the_socket_is_for_root_and_one_group(tmp_path: Path, group: str | None, mode: int) -> None:
    path = tmp_path / "s.sock"
    server = StatusServer(path, group, {}, {})
    server.start()
    try:
        assert path.stat().st_mode & 0o777 == mode
        assert path.group() == (group or "root")
        assert post(path, "/plan", "{}", TIMEOUT_S)[0] == 404
    finally:
        server.stop()


def test_a_daemon_that_is_not_there_is_one_line_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match="no daemon answers") as caught:
        post(tmp_path / "none.sock", "/plan", "{}", 1)
    assert "systemctl status smartxd" in caught.value.hint
