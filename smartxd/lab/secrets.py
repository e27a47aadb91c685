"""The secrets that specs name, made up for a lab: one folder for all its boxes, so that both ends agree."""

from __future__ import annotations

import secrets
from pathlib import Path

from smartxd.source import folder
from smartxd.spec.load import load


def names_of(spec_dir: Path) -> frozenset[str]:
    """The secrets that the sessions of a spec folder name."""
    peers = load(folder.read(spec_dir)).peers.values()
    return frozenset(peer.spec.password_ref for peer in peers if peer.spec.password_ref is not None)


def make(path: Path, names: frozenset[str]) -> None:
    """Make each secret that is not there yet."""
    path.mkdir(mode=0o700, exist_ok=True)
    for name in sorted(names):
        file = path / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(f"{secrets.token_hex(16)}\n")
