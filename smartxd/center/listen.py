"""The sockets that the site listens on: one of its own, and those that systemd or the lab hands over."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from smartxd.errors import ConfigError

_FIRST_FD = 3


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
        # Connections inherit it. asyncio sets it only where the socket names its protocol, and without it
        # each answer waits 40 ms for the client's delayed acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as err:
        raise ConfigError(
            f"{host}:{port}: {_why(err)}", "choose another address with --listen HOST:PORT"
        ) from err


def _why(err: OSError) -> str:
    # The standard library adds the address to the text of some errors; it is in ours already.
    return os.strerror(err.errno) if err.errno and not isinstance(err, socket.gaierror) else str(err)


def inherited(environ: Mapping[str, str]) -> list[socket.socket]:
    """Sockets by the protocol of systemd's socket activation (LISTEN_PID, LISTEN_FDS); none without it."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for fd in range(_FIRST_FD, _FIRST_FD + int(count)):
        try:
            os.set_inheritable(fd, False)
            sockets.append(socket.socket(fileno=fd))
        except OSError as err:
            raise ConfigError(f"LISTEN_FDS: descriptor {fd} is not a socket: {err.strerror}") from err
    return sockets
