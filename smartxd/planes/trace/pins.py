"""The folders of bpffs in which policies are pinned: one for each build, named so that it explains itself.

``NAME:FINGERPRINT:INCARNATION`` below the box's own folder; a folder ``retired`` in it says that the policy
is detached and waits for its last drain. Nothing outside the box's folder is ever touched.
"""

from __future__ import annotations

import secrets
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from smartxd import bpfsys
from smartxd.planes.trace import attach
from smartxd.planes.trace.program import PINS
from smartxd.planes.trace.state import PinnedPolicy

RETIRED = "retired"


def fresh_dir(root: Path, name: str, fingerprint: str) -> Path:
    """A folder for a new build of a policy, with an incarnation that never was before; it is not made yet."""
    quoted = urllib.parse.quote(name, safe="").replace(".", "%2E")  # bpffs refuses dots
    return root / f"{quoted}:{fingerprint}:{secrets.token_hex(8)}"


def pinned(root: Path, names: Mapping[int, str]) -> tuple[PinnedPolicy, ...]:
    """All policies below ``root``, sorted by name, the newest build first; ``names`` by ifindex."""
    try:
        folders = [(d.stat().st_mtime_ns, d) for d in root.iterdir()]
    except FileNotFoundError:
        return ()
    newest_first = [folder for _, folder in sorted(folders, reverse=True)]
    policies = [p for folder in newest_first if (p := _policy(folder, names)) is not None]
    return tuple(sorted(policies, key=lambda p: p.name))


def retire(pin_dir: Path) -> None:
    """Detach a policy and leave its maps to the capture process; one that is gone is not an error."""
    if pin_dir.exists():
        attach.detach_all(pin_dir)
        (pin_dir / RETIRED).mkdir(exist_ok=True)


def remove(pin_dir: Path) -> None:
    """Detach a policy and drop its maps with all they hold."""
    if pin_dir.exists():
        attach.detach_all(pin_dir)
        bpfsys.remove_pins(pin_dir)


def _policy(folder: Path, names: Mapping[int, str]) -> PinnedPolicy | None:
    parts = folder.name.split(":")
    if len(parts) != 3:
        return None
    name, fingerprint, incarnation = urllib.parse.unquote(parts[0]), parts[1], parts[2]
    try:
        if not all((folder / pin).exists() for pin in PINS):
            fingerprint = ""
        with bpfsys.opened(folder / "flows0") as fd:
            flows_max = bpfsys.map_info(fd).max_entries
        places, retired = attach.attachments(folder, names), (folder / RETIRED).exists()
    except FileNotFoundError:
        if not folder.exists():
            return None  # the capture process has just removed it
        return PinnedPolicy(name, "", incarnation, folder, 0, retired=(folder / RETIRED).exists())
    return PinnedPolicy(name, fingerprint, incarnation, folder, flows_max, places, retired)
