"""The lab's centre: one process that listens for the person's browser and, inside the WAN, for the boxes."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from smartxd.errors import LabError
from smartxd.lab import namespace, process
from smartxd.lab.layout import Layout
from smartxd.lab.network import CENTER_ADDRESS, CENTER_PORT

URL_IN_LAB = f"http://{CENTER_ADDRESS}:{CENTER_PORT}"
READY_TIMEOUT_S = 60
_COMMAND = (sys.executable, "-P", "-m", "smartxd.center.main")


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def enroll(layout: Layout, box: str) -> None:
    """Make the box known to the centre and keep its token, for root only."""
    token_file = layout.box(box).token
    if token_file.exists():
        return
    # Rotate: an `up` that was interrupted may have enrolled the box and kept no token.
    argv = [*_COMMAND, "enroll", box, "--rotate", "--data-dir", str(layout.center)]
    token = namespace.run(argv).strip()
    fresh = token_file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(token + "\n")
    fresh.rename(token_file)


def start(layout: Layout, port: int, env: Mapping[str, str]) -> process.Process:
    """Start the centre, page on 127.0.0.1:``port``; it listens in the WAN before it is up."""
    log = layout.folder / "center.log"
    with _listen_in_wan(layout) as listening:
        # The protocol of systemd's socket activation: the socket is descriptor 3, LISTEN_PID the reader.
        activated = 'cd / && LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        serve = [*_COMMAND, "serve", "--data-dir", str(layout.center), "--listen", f"127.0.0.1:{port}"]
        pid = process.spawn(["/bin/sh", "-c", activated, "sh", *serve], env, log, listening)
    started = process.find(pid)
    if started is None:
        raise LabError(f"the centre ended as soon as it was started: {last_line(log)}", f"see {log}")
    return started


def wait_until_up(layout: Layout, port: int) -> None:
    """Return when the centre answers boxes; LabError with its last words when it ends instead."""
    log = layout.folder / "center.log"

    def ask() -> None:
        # The socket was there before the process: the question waits for the answer, nothing is polled.
        with contextlib.closing(_connection()) as connection:
            connection.request("GET", "/healthz")
            connection.getresponse().read()

    try:
        namespace.call_inside(layout.wan, ask)
    except (OSError, http.client.HTTPException) as err:
        raise LabError(f"the centre does not answer ({err}): {last_line(log)}", f"see {log}") from err
    try:
        socket.create_connection(("127.0.0.1", port), timeout=READY_TIMEOUT_S).close()
    except OSError as err:
        raise LabError(f"the centre does not listen on 127.0.0.1:{port}: {err}", f"see {log}") from err


def last_line(log: Path) -> str:
    """The last line that a daemon has written; a sentence where there is none."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
    return "it has written nothing"


def _listen_in_wan(layout: Layout) -> socket.socket:
    address = (str(CENTER_ADDRESS), CENTER_PORT)
    try:
        return namespace.call_inside(layout.wan, lambda: socket.create_server(address, backlog=128))
    except OSError as err:
        raise LabError(f"{address[0]}:{address[1]} in {layout.wan}: {err.strerror}") from err


def _connection() -> http.client.HTTPConnection:
    return http.client.HTTPConnection(str(CENTER_ADDRESS), CENTER_PORT, timeout=READY_TIMEOUT_S)
