"""Asking a daemon over its socket: what it says, and what is done where it says nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartxd.planes.frr import vty as module
from smartxd.planes.frr.vty import NoReply, Vty

END = b"\0\0\0"


@contextlib.contextmanager
def daemon(path: Path, answer: Callable[[socket.socket, bytes], None]) -> Iterator[Path]:
    """Something that answers each command but ``enable`` as a test says."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                while command := peer.recv(4096):
                    if command == b"enable\0":
                        peer.sendall(END + b"\0")
                    else:
                        answer(peer, command)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)
        assert not thread.is_alive()


def says(*parts: bytes) -> Callable[[socket.socket, bytes], None]:
    def answer(peer: socket.socket, command: bytes) -> None:
        assert command == b"show it json\0"
        for part in parts:
            peer.sendall(part)

    return answer


def asked(path: Path, timeout_s: float = 60) -> object:
    with Vty(path, timeout_s) as vty:
        return vty.show("show it")


def test_an_answer_that_comes_in_parts_is_whole(tmp_path: Path) -> None:
    with daemon(tmp_path / "bgpd.vty", says(b'{"a"', b": 1}\n", END, b"\0")) as path:
        assert asked(path) == {"a": 1}


def test_nothing_is_an_empty_object_and_a_warning_an_answer(tmp_path: Path) -> None:
    with daemon(tmp_path / "a.vty", says(END + b"\0")) as path:
        assert asked(path) == {}
    with daemon(tmp_path / "b.vty", says(b"{}" + END + b"\1")) as path:
        assert asked(path) == {}


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((b"% Unknown command: show it" + END + b"\2",), "refused: '% Unknown command: show it'"),
        ((b"% not JSON" + END + b"\0",), "Expecting value"),
        ((b"[" * 100_000 + END + b"\0",), "recursion"),
        ((), "timed out"),
        ((b"{",), "timed out"),
    ],
)
def test_what_is_no_answer_is_said(tmp_path: Path, parts: tuple[bytes, ...], why: str) -> None:
    with (
        daemon(tmp_path / "bgpd.vty", says(*parts)) as path,
        pytest.raises(NoReply, match="show it: ") as no,
    ):
        asked(path, 0.5 if why == "timed out" else 60)
    assert why in str(no.value)


def test_an_answer_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_MAX", 1 << 20)

    def flood(peer: socket.socket, command: bytes) -> None:
        with contextlib.suppress(OSError):
            while command:
                peer.sendall(b"x" * 65536)

    with daemon(tmp_path / "bgpd.vty", flood) as path, pytest.raises(NoReply, match="more than 1 MiB"):
        asked(path)


def test_a_daemon_too_busy_to_take_another_connection_is_waited_for(tmp_path: Path) -> None:
    """A daemon accepts only between two pieces of work; until then its queue may be full."""
    path = tmp_path / "bgpd.vty"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(path))
        with pytest.raises(NoReply):
            Vty(path, 0.2)

        def serve() -> None:
            for _ in range(2):
                peer = stack.enter_context(listener.accept()[0])
            assert peer.recv(4096) == b"enable\0"
            peer.sendall(END + b"\0")

        thread = threading.Timer(0.5, serve)
        thread.start()
        with Vty(path, 30):
            pass
        thread.join(60)


def test_a_daemon_that_closes_or_is_not_there_is_said(tmp_path: Path) -> None:
    def close(peer: socket.socket, command: bytes) -> None:
        assert command
        peer.shutdown(socket.SHUT_RDWR)

    with daemon(tmp_path / "a.vty", close) as path, pytest.raises(NoReply, match="was closed"):
        asked(path)
    with pytest.raises(NoReply, match=r"b\.vty: .*No such file"):
        asked(tmp_path / "b.vty")
