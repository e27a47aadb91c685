"""Hear of changes to links and addresses as they happen."""

from __future__ import annotations

import errno
import select
import socket
import threading
from collections.abc import Callable

from pyroute2.netlink.rtnl.iprsocket import IPRSocket

from smartxd.planes.kernel import decode
from smartxd.planes.kernel.observe import AF_BRIDGE
from smartxd.planes.kernel.rtnl import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK

RESYNC = "resync"
"""Said instead of what changed when the kernel announced more than was read in time."""

_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
_GROUPS = _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR
_RECEIVE_BYTES = 1 << 17
_BUFFER_BYTES = 1 << 20
_STOP_TIMEOUT_S = 5.0


class KernelWatch:
    """Calls ``on_change`` from a thread of its own, with what changed: ``link vx100 deleted``.

    It hears the network namespace of the thread that starts it, smartxd's own changes included. ``on_change``
    must return at once and must not raise: it only marks that there is something to look at.
    """

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._thread: threading.Thread | None = None
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._names: dict[int, str] = {}

    def start(self) -> None:
        """Begin; whatever changes after the return is heard."""
        netlink = IPRSocket(rcvbuf=_BUFFER_BYTES)
        netlink.bind(groups=_GROUPS)
        self._names = dict(socket.if_nameindex())
        self._thread = threading.Thread(target=self._run, args=(netlink,), name="kernel-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; no call of ``on_change`` begins after the return. Stopping twice is not an error."""
        if self._thread is not None:
            self._stop_writer.send(b"\0")
            self._thread.join(_STOP_TIMEOUT_S)
            self._thread = None
        self._stop_reader.close()
        self._stop_writer.close()

    def _run(self, netlink: IPRSocket) -> None:
        poll = select.poll()
        poll.register(netlink.socket, select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._stop_reader.fileno() in ready:
                    return
                for what in self._read(netlink.socket):
                    self._on_change(what)
        finally:
            netlink.close()

    def _read(self, netlink: socket.socket) -> list[str]:
        try:
            data = netlink.recv(_RECEIVE_BYTES)
        except OSError as err:
            if err.errno == errno.ENOBUFS:
                return [RESYNC]
            raise
        return [what for message in decode.messages(data) if (what := self._describe(message))]

    def _describe(self, message: decode.Message) -> str:
        """What a message says; empty when it is of no concern."""
        if message.type in (RTM_NEWLINK, RTM_DELLINK):
            family, index, name = decode.link_name(message.payload)
            if family == AF_BRIDGE:  # A port's state in the spanning tree; a port that left is still a link.
                return ""
            if message.type == RTM_DELLINK:
                self._names.pop(index, None)
                return f"link {name} deleted"
            self._names[index] = name
            return f"link {name} changed"
        if message.type in (RTM_NEWADDR, RTM_DELADDR):
            index, address = decode.address_text(message.payload)
            what = "added" if message.type == RTM_NEWADDR else "deleted"
            return f"address {address} dev {self._names.get(index, f'index {index}')} {what}"
        return ""
