"""Settings of links that the kernel takes by files under /proc/sys/net only.

The files are those of the network namespace of the thread that opens them, so a thread that is in another one
hands the work to one that enters it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from typing import NamedTuple

from smartxd.planes.kernel.state import Link, Vxlan

_ROOT = "/proc/sys/net"
_HERE = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000
_TIMEOUT_S = 30.0


class Setting(NamedTuple):
    """A value of a link: ``ipv6``, ``vx100``, ``disable_ipv6``, 1."""

    family: str
    link: str
    name: str
    value: int

    @property
    def optional(self) -> bool:
        """Whether a kernel without it is as if it were set."""
        return self.name in {"disable_ipv6", "accept_dad", "force_forwarding"}


def settings(want: Link, fields: Collection[str] | None = None) -> list[Setting]:
    """Those of the named fields of a link, or all of a link that is new."""
    name = want.name
    if isinstance(want, Vxlan):
        # A port needs no address, and link-local ones make bringing up many links quadratic.
        needed = fields is None or "link_local" in fields
        return [Setting("ipv6", name, "disable_ipv6", 1)] if needed else []
    found: list[Setting] = []
    if fields is None or "link_local" in fields:
        found.append(Setting("ipv6", name, "disable_ipv6", int(not want.link_local)))
        if want.link_local:
            # An anycast gateway has its addresses, the link-local one too, on each box of the segment.
            found.append(Setting("ipv6", name, "accept_dad", 0))
    # What a new link forwards is as the box's defaults say, on which smartxd does not rely.
    if fields is None or "forwarding4" in fields:
        found += forwarding("ipv4", name, want.forwarding4)
    if fields is None or "forwarding6" in fields:
        found += forwarding("ipv6", name, want.forwarding6)
    return found


def forwarding(family: str, link: str, on: bool) -> list[Setting]:
    """Whether packets that come in by a link are routed; IPv6 is told twice since Linux 6.17."""
    names = ("forwarding",) if family == "ipv4" else ("forwarding", "force_forwarding")
    return [Setting(family, link, name, int(on)) for name in names]


class Sysctls:
    """Writes settings in the network namespace of the thread that makes it; any thread may use it."""

    def __init__(self) -> None:
        self._namespace = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the namespace."""
        os.close(self._namespace)

    def write(self, settings: Sequence[Setting]) -> list[OSError | None]:
        """Why each could not be set, None where it was."""
        if not settings:
            return []
        if os.path.sameopenfile(self._namespace, here := os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)):
            os.close(here)
            return [_write(setting) for setting in settings]
        os.close(here)
        outcomes: list[OSError | None] = [TimeoutError("it was not set in time")] * len(settings)

        def inside() -> None:
            try:
                _enter(self._namespace)
            except OSError as err:
                outcomes[:] = [err] * len(settings)
                return
            outcomes[:] = [_write(setting) for setting in settings]

        thread = threading.Thread(target=inside, name="kernel-sysctl", daemon=True)
        thread.start()
        thread.join(_TIMEOUT_S)
        return list(outcomes)


def _enter(namespace: int) -> None:
    import ctypes  # noqa: PLC0415 (only for planes of other namespaces: the lab's and the tests')

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _write(setting: Setting) -> OSError | None:
    path = f"{_ROOT}/{setting.family}/conf/{setting.link}/{setting.name}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, b"%d" % setting.value)
        finally:
            os.close(file)
    except OSError as err:
        return err
    return None
