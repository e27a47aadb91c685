"""The folders of bpffs in which policies are pinned: one for each build, named so that it explains itself.

``NAME:FINGERPRINT:INCARNATION`` below the box's own folder; a folder ``retired`` in it says that the policy
is detached and waits for its last drain; ``new:`` before the name that the build is not complete. Nothing
else in the box's folder, and nothing outside it, is ever touched.
"""

from __future__ import annotations

import re
import secrets
import urllib.parse
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from smartxd import bpfsys, terms
from smartxd.planes.trace import attach, probes
from smartxd.planes.trace.program import PARTIAL, PINS
from smartxd.planes.trace.state import PinnedPolicy
from smartxd.terms import Terms

RETIRED = "retired"
_BUILD = re.compile(r"([^:]+):([0-9a-f]{8,16}):([0-9a-f]{16})")


def fresh_dir(root: Path, name: str, fingerprint: str) -> Path:
    """A folder for a new build of a policy, with an incarnation that never was before; it is not made yet."""
    quoted = urllib.parse.quote(name, safe="").replace(".", "%2E")  # bpffs refuses dots
    return root / f"{quoted}:{fingerprint}:{secrets.token_hex(8)}"


def pinned(root: Path, names: Mapping[int, str]) -> tuple[PinnedPolicy, ...]:
    """All policies below ``root``, sorted by name, the newest build first; ``names`` by ifindex."""
    policies = [p for folder in _builds(root) if (p := _policy(folder, names)) is not None]
    return tuple(sorted(policies, key=lambda p: p.name))


def set_terms(pin_dir: Path, asked: Terms) -> None:
    """Tell the capture process on what terms a policy records; no-op where another release has pinned it."""
    with bpfsys.opened(pin_dir / terms.PIN) as fd:
        if _is_ours(fd):
            bpfsys.update(fd, bytes(4), asked.packed())


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


def remove_partial(root: Path) -> None:
    """Remove what builds that were killed have left."""
    for folder in _builds(root, PARTIAL):
        bpfsys.remove_pins(folder)


def remove_all(root: Path) -> tuple[str, ...]:
    """Remove every policy below ``root``, and ``root`` when nothing else is in it; the policies' names."""
    folders = _builds(root)
    for folder in folders:
        remove(folder)
    remove_partial(root)
    bpfsys.remove_empty(root)
    return tuple(sorted({_name(folder) for folder in folders}))


def _builds(root: Path, prefix: str = "") -> list[Path]:
    """The folders below ``root`` that are named as a build is, behind a prefix; the newest first."""
    found = []
    with suppress(FileNotFoundError):
        for entry in list(root.iterdir()):
            if entry.name.startswith(prefix) and _BUILD.fullmatch(entry.name.removeprefix(prefix)):
                with suppress(FileNotFoundError):
                    found.append((entry.stat().st_mtime_ns, entry))
    return [folder for _, folder in sorted(found, reverse=True)]


def _name(folder: Path) -> str:
    return urllib.parse.unquote(folder.name.partition(":")[0])


def _is_ours(terms_fd: int) -> bool:
    """Whether its record is of this release: of another size, the kernel would go beyond our buffers."""
    return bpfsys.map_info(terms_fd).value_size == terms.RECORD_BYTES


def _policy(folder: Path, names: Mapping[int, str]) -> PinnedPolicy | None:
    name, (_, fingerprint, incarnation) = _name(folder), folder.name.split(":")
    try:
        if not all((folder / pin).exists() for pin in PINS) or not probes.whole(folder):
            fingerprint = ""
        with bpfsys.opened(folder / "flows0") as fd:
            entries = bpfsys.map_info(fd).max_entries
        with bpfsys.opened(folder / terms.PIN) as fd:
            recorded_on = Terms()
            if _is_ours(fd):
                recorded_on = Terms.unpacked(bpfsys.lookup(fd, bytes(4), terms.RECORD_BYTES) or b"")
            else:
                fingerprint = ""
        told = probes.entries(folder)
        places, retired = attach.attachments(folder, names), (folder / RETIRED).exists()
    except FileNotFoundError:
        if not folder.exists():
            return None  # the capture process has just removed it
        return PinnedPolicy(name, "", incarnation, folder, 0, retired=(folder / RETIRED).exists())
    running = frozenset(place for place, runs in places.items() if runs)
    return PinnedPolicy(
        *(name, fingerprint, incarnation, folder, entries, running),
        ended=frozenset(places) - running,
        retired=retired,
        terms=recorded_on,
        probes=told,
    )
