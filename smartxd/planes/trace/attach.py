"""Runs a policy's pinned programs on interfaces: TCX links where the kernel has them, else clsact filters.

What runs where is written down in the policy's folder of bpffs, so that it is known without any other file:
a TCX link is pinned as ``tcx:IFINDEX:DIRECTION``; bpffs holds no regular files, so for a clsact filter there
is an empty folder ``clsact:IFINDEX:DIRECTION``, and ``qdisc:IFINDEX`` where the clsact qdisc is ours too.
What is watched for drops is in a map of the policy (drops.py).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from smartxd import bpfsys
from smartxd.errors import PlaneError
from smartxd.planes.trace import clsact, drops
from smartxd.planes.trace.program import DIRECTIONS
from smartxd.planes.trace.state import DROPPED, Attachment


class Hook(StrEnum):
    """How a program is attached."""

    TCX = "tcx"
    CLSACT = "clsact"


def best_hook(pin_dir: Path) -> Hook:
    """TCX where the kernel has it: its links belong to us alone, and end with their pins."""
    with bpfsys.opened(pin_dir / "ingress") as program:
        return Hook.TCX if bpfsys.has_tcx(program) else Hook.CLSACT


def attach(pin_dir: Path, place: Attachment, hook: Hook) -> None:
    """Run the program at ``place``; PlaneError ``WaitingForInterface`` or ``AttachRefused``."""
    detach(pin_dir, place.ifindex, place.direction)
    if place.direction == DROPPED:
        _watch(pin_dir, place)
    elif hook is Hook.TCX:
        _attach_tcx(pin_dir, place)
    else:
        _attach_clsact(pin_dir, place)


def detach(pin_dir: Path, ifindex: int, direction: str) -> None:
    """Run the program there no more, nor keep a trace of it; when it returns, no packet enters it."""
    if direction == DROPPED:
        drops.unwatch(pin_dir, ifindex)
        return
    link = pin_dir / f"{Hook.TCX}:{ifindex}:{direction}"
    with suppress(FileNotFoundError):
        with bpfsys.opened(link) as fd:
            bpfsys.detach_link(fd)
        link.unlink()
    marker = pin_dir / f"{Hook.CLSACT}:{ifindex}:{direction}"
    if marker.exists():
        _detach_clsact(pin_dir, ifindex, direction)
        marker.rmdir()


def detach_all(pin_dir: Path) -> None:
    """``detach`` everywhere."""
    for _, ifindex, direction in _marks(pin_dir):
        detach(pin_dir, ifindex, direction)
    drops.end(pin_dir)


def attachments(pin_dir: Path, names: Mapping[int, str]) -> Mapping[Attachment, bool]:
    """Where the programs were attached, by name of the interface, and whether they run there.

    Of interfaces that are gone nothing is said.
    """
    passing = {
        Attachment(names[ifindex], direction, ifindex): _runs(pin_dir, hook, ifindex, direction)
        for hook, ifindex, direction in _marks(pin_dir)
        if ifindex in names
    }
    watched = drops.watched(pin_dir) & names.keys()
    return passing | {Attachment(names[ifindex], DROPPED, ifindex): True for ifindex in watched}


def remove_stale(pin_dir: Path, keep: frozenset[Attachment]) -> None:
    """Detach wherever ``keep`` does not say so: links of interfaces that are gone or no longer wanted."""
    kept = {(place.ifindex, place.direction) for place in keep}
    for _, ifindex, direction in _marks(pin_dir):
        if (ifindex, direction) not in kept:
            detach(pin_dir, ifindex, direction)
    drops.keep(pin_dir, frozenset(ifindex for ifindex, direction in kept if direction == DROPPED))


def _marks(pin_dir: Path) -> list[tuple[Hook, int, str]]:
    found = []
    for entry in pin_dir.iterdir():
        hook, _, rest = entry.name.partition(":")
        ifindex, _, direction = rest.partition(":")
        if hook in set(Hook) and ifindex.isdecimal():
            found.append((Hook(hook), int(ifindex), direction))
    return sorted(found)


def _runs(pin_dir: Path, hook: Hook, ifindex: int, direction: str) -> bool:
    try:
        if hook is Hook.TCX:
            with bpfsys.opened(pin_dir / f"{hook}:{ifindex}:{direction}") as fd:
                return bpfsys.tcx_ifindex(fd) == ifindex
        return clsact.find(socket.if_indextoname(ifindex), direction, _handle(pin_dir)) is not None
    except OSError:
        return False  # gone between two looks
    except PlaneError:
        if not _exists(ifindex):
            return False
        raise


def _watch(pin_dir: Path, place: Attachment) -> None:
    try:
        drops.watch(pin_dir, place.ifindex)
    except OSError as err:
        raise _refused(place, err) from err


def _attach_tcx(pin_dir: Path, place: Attachment) -> None:
    try:
        with bpfsys.opened(pin_dir / place.direction) as program:
            link = bpfsys.link_tcx(program, place.ifindex, place.direction)
        try:
            bpfsys.pin(link, pin_dir / f"{Hook.TCX}:{place.ifindex}:{place.direction}")
        finally:
            os.close(link)
    except OSError as err:
        raise _refused(place, err) from err


def _attach_clsact(pin_dir: Path, place: Attachment) -> None:
    try:
        name = socket.if_indextoname(place.ifindex)
        if clsact.ensure_qdisc(name):
            (pin_dir / f"qdisc:{place.ifindex}").mkdir(exist_ok=True)
        # The mark first: a filter without one would never be found again.
        (pin_dir / f"{Hook.CLSACT}:{place.ifindex}:{place.direction}").mkdir(exist_ok=True)
    except OSError as err:
        raise _refused(place, err) from err
    clsact.add(name, place.direction, pin_dir / place.direction, _handle(pin_dir))


def _detach_clsact(pin_dir: Path, ifindex: int, direction: str) -> None:
    qdisc = pin_dir / f"qdisc:{ifindex}"
    try:
        name, handle = socket.if_indextoname(ifindex), _handle(pin_dir)
        ours = {d: found for d in DIRECTIONS if (found := clsact.find(name, d, handle))}
        if mine := ours.pop(direction, None):
            clsact.remove(name, direction, mine)
            if qdisc.exists() and not ours:
                clsact.remove_qdisc_if_unused(name)
        if ours:
            return
    except (OSError, PlaneError):
        if _exists(ifindex):  # else the filter went with its interface
            raise
    # Without a filter of ours on it, a qdisc that is there is not, or no longer, ours to remove.
    with suppress(FileNotFoundError):
        qdisc.rmdir()


def _handle(pin_dir: Path) -> int:
    """The handle of a build's filters, by which they are told from those of others: 27 random bits."""
    return int(pin_dir.name.rpartition(":")[2][:7], 16) | 1


def _exists(ifindex: int) -> bool:
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True


def _refused(place: Attachment, err: OSError) -> PlaneError:
    if err.errno in (errno.ENODEV, errno.ENXIO):
        return PlaneError("WaitingForInterface", f"interface {place.interface} does not exist")
    return PlaneError(
        "AttachRefused", f"{place.direction} of {place.interface}: {os.strerror(err.errno or 0)}"
    )
