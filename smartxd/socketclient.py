"""Ask a box's daemon over its Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import socket as sockets
from pathlib import Path

from pydantic import ValidationError

from smartxd.errors import DaemonError
from smartxd.report import ControlReport

ANSWER_MAX = 16 << 20


class _Connection(http.client.HTTPConnection):
    """HTTP to a socket in the file system."""

    def __init__(self, socket: Path, timeout_s: float) -> None:
        super().__init__("box", timeout=timeout_s)
        self._socket = socket

    def connect(self) -> None:
        """Called by the first request."""
        self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._socket))


def get(socket: Path, path: str, timeout_s: float) -> tuple[int, str]:
    """Status and text of the daemon's answer; DaemonError when it does not answer."""
    return _exchange(socket, "GET", path, None, timeout_s)


def post(socket: Path, path: str, body: str, timeout_s: float) -> tuple[int, str]:
    """Status and text of the daemon's answer to a JSON body; DaemonError when it does not answer."""
    return _exchange(socket, "POST", path, body.encode(), timeout_s)


def fetch_status(socket: Path, timeout_s: float) -> ControlReport:
    """What the daemon behind the socket says of its box; DaemonError when it does not answer."""
    status, body = get(socket, "/status", timeout_s)
    if status != http.HTTPStatus.OK:
        raise DaemonError(f"{socket}: answered {status}")
    try:
        return ControlReport.model_validate_json(body)
    except ValidationError as err:
        raise DaemonError(
            f"{socket}: the answer is not a status", "are smartxd and smartxctl of one release?"
        ) from err


def _exchange(socket: Path, method: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, str]:
    connection = _Connection(socket, timeout_s)
    try:
        # A daemon that refuses a body by its size answers without reading it: the answer says more.
        with contextlib.suppress(BrokenPipeError):
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        text = answer.read(ANSWER_MAX + 1)
    except (FileNotFoundError, ConnectionRefusedError) as err:
        raise DaemonError(f"{socket}: no daemon answers", "is it running? systemctl status smartxd") from err
    except PermissionError as err:
        raise DaemonError(f"{socket}: {err.strerror}", "be root, or in socket_group of smartxd.toml") from err
    except TimeoutError as err:
        raise DaemonError(
            f"{socket}: no answer within {timeout_s:g} s", "journalctl -u smartxd says what it is doing"
        ) from err
    except (OSError, http.client.HTTPException) as err:
        raise DaemonError(f"{socket}: {err}") from err
    finally:
        connection.close()
    if len(text) > ANSWER_MAX:
        raise DaemonError(f"{socket}: an answer of more than {ANSWER_MAX} bytes")
    return answer.status, text.decode(errors="replace")
