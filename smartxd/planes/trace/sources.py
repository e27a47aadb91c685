"""Where the C sources are, and which version of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import smartxd
from smartxd.errors import PlaneError


def directory() -> Path:
    """The folder of C sources: within the installed package, or at the top of a checkout."""
    package = Path(smartxd.__file__).parent
    for candidate in (package / "bpf", package.parent / "bpf"):
        if (candidate / "flows.c").is_file():
            return candidate
    raise PlaneError("SourcesMissing", f"no flows.c in {package}/bpf", "install smartxd anew")


def fingerprint(folder: Path) -> str:
    """Eight hex digits that change with the sources: a program built from others is rebuilt."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.[ch]")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:8]
