"""Network namespaces, by ``ip``; a lab makes links nowhere else, least of all in the host's own."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from smartxd.errors import LabError

T = TypeVar("T")
FOLDER = Path("/run/netns")
TIMEOUT_S = 30
_CLONE_NEWNET = 0x40000000


def path(name: str) -> Path:
    """The file by which the namespace is entered."""
    return FOLDER / name


def exists(name: str) -> bool:
    """Whether the namespace is there; a file left by an interrupted ``ip netns add`` is not one."""
    try:
        return path(name).stat().st_dev != FOLDER.stat().st_dev
    except FileNotFoundError:
        return False


def create(name: str) -> None:
    """Make the namespace, with ``lo`` up, if it is not there."""
    if not exists(name):
        delete(name)
        run(["ip", "netns", "add", name])
    batch(name, ["link set lo up"])


def delete(name: str) -> None:
    """Remove the namespace and with it every link inside; nothing happens where there is none."""
    if path(name).exists():
        run(["ip", "netns", "del", name])


def batch(name: str, lines: Sequence[str]) -> None:
    """Do lines of ``ip`` in the namespace, stopping at the first that fails."""
    if lines:
        run(enter(name, ["ip", "-batch", "-"]), "\n".join(lines) + "\n")


def links(name: str, kind: str = "") -> dict[str, dict[str, Any]]:
    """The namespace's links, of one kind or all, as ``ip -j`` tells them, by name."""
    # Without -d: for a VXLAN link Ubuntu 24.04's ip then writes what is not JSON.
    listed = json.loads(
        run(enter(name, ["ip", "-j", "link", "show", *(["type", kind] if kind else [])])) or "[]"
    )
    return {link["ifname"]: link for link in listed if link}


def enter(name: str, argv: Sequence[str]) -> list[str]:
    """The command that runs ``argv`` in the namespace.

    Not ``ip netns exec`` or ``ip -n``, which mount a /sys without bpffs, and fail in a chroot.
    """
    return ["/usr/bin/nsenter", f"--net={path(name)}", "--", *argv]


def call_inside(name: str, do: Callable[[], T]) -> T:
    """Call ``do`` in the namespace: in a thread of its own, since a namespace belongs to a thread."""
    results: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns", str(path(name)))
            finally:
                os.close(fd)
            results.append(do())
        except Exception as err:  # noqa: BLE001 (raised again in the caller's thread)
            errors.append(err)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def run(argv: Sequence[str], text: str | None = None) -> str:
    """Standard output of a command; LabError with what it said when it fails."""
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError as err:
        raise LabError(f"{argv[0]} is not installed", "make setup installs what a lab needs") from err
    except subprocess.TimeoutExpired as err:
        raise LabError(f"{' '.join(argv)}: no answer within {TIMEOUT_S} s") from err
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit {done.returncode}"
        line = _failed_line(said, text)
        raise LabError(f"{' '.join(argv)}: {said}{line}")
    return done.stdout


def _failed_line(said: str, text: str | None) -> str:
    """``ip -batch`` names the line by number: say which it was."""
    with contextlib.suppress(ValueError, IndexError):
        number = int(said.rpartition("Command failed -:")[2])
        return f" ({(text or '').splitlines()[number - 1]})"
    return ""
