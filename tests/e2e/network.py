"""What a box's network is, as text that only changes when somebody changes it; and when a link appears."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from smartxd.lab import namespace
from tests.e2e.conftest import Site

_COMMANDS = (
    ("ip", "-d", "-j", "link"),
    ("ip", "-d", "-j", "addr"),
    ("ip", "-j", "route", "show", "table", "all"),
    ("ip", "-6", "-j", "route", "show", "table", "all"),
    ("ip", "-j", "neigh"),
    ("bridge", "-j", "fdb"),
    ("bridge", "-j", "vlan"),
)
_VOLATILE = frozenset(
    (
        *("hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "hold_timer"),
        *("message_age_timer", "forward_delay_timer", "topology_change", "used", "confirmed", "updated"),
        *("refcnt", "expires", "valid_life_time", "preferred_life_time", "stats", "stats64"),
    )
)
"""Timers and counters."""
_SETTINGS = """
import glob
for name in sorted(glob.glob("/proc/sys/net/ipv[46]/conf/*/*forwarding")):
    print(name, open(name).read().strip())
"""


def network_of(site: Site, box: str, link: str = "") -> str:
    """Links, addresses, routes, neighbours, forwarding tables, VLANs and forwarding of a box; a line each.

    With ``link`` only how that is set; its state and its offloads follow from its ports.
    """
    if link:
        (found,) = site.json(box, "ip", "-d", "-j", "link", "show", "dev", link)
        kept = ("address", "mtu", "txqlen", "group", "ifalias", "inet6_addr_gen_mode", "linkinfo")
        steady = _steady({key: found.get(key) for key in kept})
        return json.dumps(steady, indent=1, sort_keys=True)
    lines = []
    for argv in _COMMANDS:
        entries = (json.dumps(_steady(e), sort_keys=True) for e in site.json(box, *argv) if _lasts(e))
        lines += [f"{' '.join(argv)}: {entry}" for entry in sorted(entries)]
    return "\n".join([*lines, site.python(box, _SETTINGS)])


def _lasts(entry: dict[str, Any]) -> bool:
    """Whether an entry stays until somebody removes it: no neighbour that was asked for, nothing learned."""
    state = entry.get("state")
    if isinstance(state, list):  # of a neighbour
        return state in (["PERMANENT"], ["NOARP"])
    return "mac" not in entry or state in ("permanent", "static")


def _steady(value: Any) -> Any:
    """The value without timers and counters."""
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in _VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value


_RTMGRP_LINK = 1
_RTM_NEWLINK = 16
_IFLA_IFNAME, _IFLA_MASTER = 3, 10
_HEADERS_BYTES = 32  # struct nlmsghdr, struct ifinfomsg


class Appearances:
    """Watches a namespace from the moment on that it is entered for a link that appears and gets a master."""

    def __init__(self, name: str, link: str) -> None:
        self._link = link.encode() + b"\0"
        self._socket = namespace.call_inside(name, self._listen)
        self._times: list[float] = []
        self._thread = threading.Thread(target=self._watch)

    @staticmethod
    def _listen() -> socket.socket:
        listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        listening.bind((0, _RTMGRP_LINK))
        listening.settimeout(10)
        return listening

    def __enter__(self) -> Appearances:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join()
        self._socket.close()

    def attached_after(self, patience_s: float) -> float:
        """Seconds from the link's appearance to its being a port."""
        self._thread.join(patience_s)
        assert len(self._times) == 2, f"after {patience_s:.0f} s: {len(self._times)} of appeared and attached"
        return self._times[1] - self._times[0]

    def _watch(self) -> None:
        try:
            while len(self._times) < 2:
                data = self._socket.recv(1 << 16)
                now = time.monotonic()
                for attached in self._seen(data):
                    if not self._times:
                        self._times.append(now)
                    if attached and len(self._times) == 1:
                        self._times.append(now)
        except TimeoutError:
            pass

    def _seen(self, data: bytes) -> Iterator[bool]:
        """For each message about the link whether it has a master."""
        at = 0
        while at + _HEADERS_BYTES <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            found = dict(_attributes(data[at + _HEADERS_BYTES : at + length]))
            if kind == _RTM_NEWLINK and found.get(_IFLA_IFNAME) == self._link:
                yield _IFLA_MASTER in found
            at += max(_aligned(length), 16)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        yield kind, data[at + 4 : at + length]
        at += max(_aligned(length), 4)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
