"""Names of other network namespaces."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from smartxd.planes.kernel.decode import attributes
from smartxd.planes.kernel.rtnl import RTM_GETNSID, Rtnl

RUN_NETNS = Path("/run/netns")

_NETNSA_NSID, _NETNSA_FD = 1, 3
_SETTLES_S = 10.0
"""``ip netns add`` makes the file first and the namespace next; what is none for so long is none."""


class Namespaces:
    """Names under /run/netns by the number that the socket's namespace has for each."""

    def __init__(self, rtnl: Rtnl, folder: Path = RUN_NETNS) -> None:
        self._rtnl = rtnl
        self._folder = folder
        self._seen: frozenset[int] = frozenset()
        self._stamp = 0
        self._settled = True
        self._names: Mapping[int, str] = {}

    def named(self, nsids: frozenset[int]) -> Mapping[int, str]:
        """The names; all are looked up anew where a number has not been asked for or a name came or went."""
        if not nsids:
            return self._names
        try:
            stamp = self._folder.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self._stamp or not self._settled or not nsids <= self._seen:
            self._stamp, self._seen = stamp, nsids
            self._names = self._looked_up()
        return self._names

    def _looked_up(self) -> dict[int, str]:
        names: dict[int, str] = {}
        self._settled = True
        try:
            entries = sorted(self._folder.iterdir(), reverse=True)
        except OSError:
            return names
        for path in entries:
            try:
                nsid = self._nsid(path)
            except OSError:
                with suppress(OSError):
                    self._settled &= time.time() - path.stat().st_mtime > _SETTLES_S
                continue
            if nsid is not None:
                names[nsid] = path.name
        return names

    def _nsid(self, path: Path) -> int | None:
        """The number of a namespace by its file; None where it has none."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            body = struct.pack("=B3xHHI", 0, 8, _NETNSA_FD, fd)
            answer = self._rtnl.get(RTM_GETNSID, body)
        finally:
            os.close(fd)
        found = struct.unpack("=i", attributes(answer, 4)[_NETNSA_NSID])[0]
        return found if found >= 0 else None
