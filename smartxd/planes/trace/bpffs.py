"""The file system of pinned BPF objects: mounted where it is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

from smartxd.errors import PlaneError

MOUNT_POINT = Path("/sys/fs/bpf")
TIMEOUT_S = 10


def ensure(directory: Path) -> None:
    """See to it that ``directory`` exists on a bpffs, mounting one at /sys/fs/bpf when that is its place."""
    if not _on_bpffs(directory) and directory.is_relative_to(MOUNT_POINT):
        _mount()
    if not _on_bpffs(directory):
        raise PlaneError(
            "BpffsMissing", f"{directory} is not on a bpffs", f"set bpffs_dir to a folder under {MOUNT_POINT}"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise PlaneError("BpffsRefused", f"{directory}: {err.strerror}", "run as root") from err


def _on_bpffs(directory: Path) -> bool:
    """Whether the mount that holds ``directory`` is a bpffs; of several at one place the last counts."""
    mounts: dict[Path, str] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mounts[Path(left.split()[4])] = right.split()[0]
    holder = next((p for p in (directory, *directory.parents) if p in mounts), None)
    return holder is not None and mounts[holder] == "bpf"


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
