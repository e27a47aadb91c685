"""Settings of links that the kernel takes by files under /proc/sys/net only.

The files are those of the network namespace of the thread that opens them, so a thread that is in another one
hands the work to one that enters it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

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
