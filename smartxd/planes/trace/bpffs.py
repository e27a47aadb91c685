"""The file system of pinned BPF objects: mounted where it is missing."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from smartxd import bpfsys
from smartxd.errors import PlaneError

MOUNT_POINT = Path("/sys/fs/bpf")
TIMEOUT_S = 10


def ensure(directory: Path) -> None:
    """See to it that ``directory`` exists on a bpffs, mounting one at /sys/fs/bpf when that is its place."""
    if not _on_bpffs(directory) and directory.is_relative_to(MOUNT_POINT):
        _mount()
    require(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise refused(directory, err) from err


def require(directory: Path) -> None:
    """PlaneError unless ``directory``, be it there or not, is a folder on a bpffs and not all of it."""
    hint = f"set bpffs_dir to a folder of its own under {MOUNT_POINT}"
    if not _on_bpffs(directory):
        raise PlaneError("BpffsMissing", f"{directory} is not on a bpffs", hint)
    if directory.resolve().is_mount():
        raise PlaneError("BpffsShared", f"{directory} is a whole bpffs, in which others pin too", hint)


def refused(directory: Path, err: OSError) -> PlaneError:
    """The error for a folder of bpffs that cannot be read or changed."""
    return PlaneError("BpffsRefused", f"{err.filename or directory}: {err.strerror}", "run as root")


def _on_bpffs(directory: Path) -> bool:
    for place in (directory, *directory.parents):
        with suppress(FileNotFoundError):
            return bpfsys.is_bpffs(place)
    return False


def _mount() -> None:
    command = ["mount", "-t", "bpf", "bpf", str(MOUNT_POINT)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise PlaneError("BpffsMissing", f"cannot mount bpffs: {err}") from err
    if done.returncode:
        raise PlaneError(
            "BpffsMissing",
            f"cannot mount bpffs at {MOUNT_POINT}: {done.stderr.strip()}",
            "run as root, on a kernel with CONFIG_BPF_SYSCALL",
        )
