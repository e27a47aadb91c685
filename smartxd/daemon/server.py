"""The daemon's socket: HTTP over a Unix socket, for ``smartxctl`` and the sync sender. It changes nothing.

``curl --unix-socket /run/smartxd/smartxd.sock http://box/status`` shows what they see.
"""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from smartxd import __version__
from smartxd.errors import DaemonError

CLIENTS_MAX = 16
"""Connections served at once; further ones are closed."""
TIMEOUT_S = 5.0

BODY_MAX = 8 << 20
"""Bytes of a request's body."""

Get = Callable[[], str]
"""Makes the JSON text of an answer; raises Refused."""
Post = Callable[[bytes], str]
"""Makes it from the request's body."""

RouteT = TypeVar("RouteT", Get, Post)


class Refused(Exception):
    """Raised for an answer that is not 200: its status, and why."""

    def __init__(self, status: HTTPStatus, error: str, findings: Sequence[str] | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.findings = status, error, findings

    @property
    def text(self) -> str:
        """The JSON text of the answer."""
        said: dict[str, object] = {"error": self.error}
        return json.dumps(said if self.findings is None else {**said, "findings": self.findings})


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and POST of known paths; everything else is refused."""

    server_version = f"smartxd/{__version__}"
    timeout = TIMEOUT_S
    gets: ClassVar[Mapping[str, Get]]
    posts: ClassVar[Mapping[str, Post]]

    def do_GET(self) -> None:
        """Serve one request."""
        self._serve(self.gets, lambda route: route())

    def do_POST(self) -> None:
        """Serve one request with a body."""
        self._serve(self.posts, lambda route: route(self._body()))

    def _serve(self, routes: Mapping[str, RouteT], call: Callable[[RouteT], str]) -> None:
        status = HTTPStatus.OK
        try:
            text = call(self._route(routes))
        except Refused as err:
            status, text = err.status, err.text
        except OSError:
            raise  # the client has gone, or sends nothing
        except Exception:  # noqa: BLE001 (a request's fault is told, and ends neither thread nor daemon)
            traceback.print_exc()
            fault = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault in smartxd: see journalctl -u smartxd")
            status, text = fault.status, fault.text
        self._answer(status, text)

    def _route(self, routes: Mapping[str, RouteT]) -> RouteT:
        route = routes.get(self.path)
        if route is None:
            known = ", ".join(
                [*(f"GET {path}" for path in self.gets), *(f"POST {path}" for path in self.posts)]
            )
            raise Refused(HTTPStatus.NOT_FOUND, f"no such path; there are {known}")
        return route

    def _body(self) -> bytes:
        """As many bytes as the request says, all within TIMEOUT_S."""
        said = self.headers.get("Content-Length")
        if said is None:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "say the body's Content-Length")
        if not (said.isascii() and said.isdigit()):
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if len(said) > len(str(BODY_MAX)) or int(said) > BODY_MAX:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {BODY_MAX} bytes")
        body, deadline = bytearray(), time.monotonic() + TIMEOUT_S
        while len(body) < int(said):
            if time.monotonic() > deadline:
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the body took more than {TIMEOUT_S:g} s")
            part = self.rfile.read1(int(said) - len(body))
            if not part:
                raise Refused(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {said} bytes")
            body += part
        return bytes(body)

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """A Unix client has no address."""
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = CLIENTS_MAX
    slots = threading.BoundedSemaphore(CLIENTS_MAX)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 (the base's own names)
        """Whether there is a thread left for the connection."""
        return self.slots.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own affair."""


class StatusServer:
    """Serves the routes until it is stopped."""

    def __init__(
        self, path: Path, group: str | None, gets: Mapping[str, Get], posts: Mapping[str, Post]
    ) -> None:
        """Bind the socket, for root and one group; DaemonError when that cannot be done."""
        handler = type("Handler", (_Handler,), {"gets": gets, "posts": posts})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # the claim says that no other daemon is behind it
            mask = os.umask(0o177)
            try:
                self._server = _Server(str(path), handler)
            finally:
                os.umask(mask)
            if group is not None:
                shutil.chown(path, group=group)
                path.chmod(0o660)
        except (OSError, LookupError) as err:
            raise DaemonError(f"{path}: {err}", "see run_dir and socket_group in smartxd.toml") from err
        self._path = path
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and remove the socket."""
        self._server.shutdown()
        self._thread.join(timeout=TIMEOUT_S)
        self._server.server_close()
        self._path.unlink(missing_ok=True)
