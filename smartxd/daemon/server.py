"""The daemon's read-only socket: HTTP over a Unix socket, for ``smartxctl`` and the sync sender.

``curl --unix-socket /run/smartxd/smartxd.sock http://box/status`` shows what they see.
"""

from __future__ import annotations

import os
import shutil
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

from smartxd import __version__
from smartxd.errors import DaemonError

CLIENTS_MAX = 16
"""Connections served at once; further ones are closed."""
TIMEOUT_S = 5.0

Route = Callable[[], str]
"""Makes the JSON text of an answer."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET of a known path; everything else is refused."""

    server_version = f"smartxd/{__version__}"
    timeout = TIMEOUT_S
    routes: ClassVar[dict[str, Route]]

    def do_GET(self) -> None:
        """Serve one request."""
        route = self.routes.get(self.path)
        if route is None:
            self._answer(HTTPStatus.NOT_FOUND, '{"error": "no such path; try /status"}')
        else:
            self._answer(HTTPStatus.OK, route())

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
        """Reads are not logged."""


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

    def __init__(self, path: Path, group: str | None, routes: dict[str, Route]) -> None:
        """Bind the socket, for root and one group; DaemonError when that cannot be done."""
        handler = type("Handler", (_Handler,), {"routes": routes})
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
