"""Which interfaces a policy watches for drops: a map of its folder that the program on kfree_skb asks.

One program sees the drops of all interfaces in all network namespaces, so an interface is watched as long as
it is in the map, with the namespace that it is in. A build without drops has nothing of this.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

from smartxd import bpfsys

TRACEPOINT = "kfree_skb"
PROGRAM = "dropped"
LINK = "dropped-link"
MAPS = ("watched", "drops0", "drops1")
PINS = (PROGRAM, LINK, *MAPS)
_KEY = struct.Struct("=II")
_VALUE = struct.Struct("=I")


def whole(pin_dir: Path) -> bool:
    """Whether a build has all of the pins, or none since it has no drops."""
    found = {(pin_dir / pin).exists() for pin in PINS}
    return len(found) == 1


def entries(pin_dir: Path) -> int | None:
    """How many flows of dropped packets the maps of a build hold; None of a build without drops."""
    try:
        with bpfsys.opened(pin_dir / "drops0") as fd:
            return bpfsys.map_info(fd).max_entries
    except FileNotFoundError:
        return None


def watch(pin_dir: Path, ifindex: int) -> None:
    """Count the drops of an interface of this network namespace."""
    with bpfsys.opened(pin_dir / "watched") as fd:
        bpfsys.update(fd, _KEY.pack(_namespace(), ifindex), _VALUE.pack(0))


def unwatch(pin_dir: Path, ifindex: int) -> None:
    """Count them no more; of one that is not watched nothing is counted anyway."""
    with suppress(FileNotFoundError), bpfsys.opened(pin_dir / "watched") as fd:
        bpfsys.delete(fd, _KEY.pack(_namespace(), ifindex))


def watched(pin_dir: Path) -> frozenset[int]:
    """The interfaces of this network namespace that are watched; none once the program has ended."""
    if not (pin_dir / LINK).exists():
        return frozenset()
    here = _namespace()
    return frozenset(ifindex for namespace, ifindex in _watched(pin_dir) if namespace == here)


def keep(pin_dir: Path, ifindexes: frozenset[int]) -> None:
    """Watch nothing but these."""
    kept = {(_namespace(), ifindex) for ifindex in ifindexes}
    with suppress(FileNotFoundError), bpfsys.opened(pin_dir / "watched") as fd:
        for key in _watched(pin_dir) - kept:
            bpfsys.delete(fd, _KEY.pack(*key))


def end(pin_dir: Path) -> None:
    """Watch nothing, and end the program; one that has ended is not an error."""
    keep(pin_dir, frozenset())
    # The link ends, as it were at once, with the descriptor: the pin's reference is dropped some time later.
    with suppress(FileNotFoundError), bpfsys.opened(pin_dir / LINK):
        (pin_dir / LINK).unlink()


def _watched(pin_dir: Path) -> frozenset[tuple[int, int]]:
    with suppress(FileNotFoundError), bpfsys.opened(pin_dir / "watched") as fd:
        count = bpfsys.map_info(fd).max_entries
        keys, values = bytearray(_KEY.size * count), bytearray(_VALUE.size * count)
        found = bpfsys.lookup_batch(fd, keys, values, (_KEY.size, _VALUE.size), count)
        return frozenset(_KEY.unpack_from(keys, i * _KEY.size) for i in range(found))
    return frozenset()


def _namespace() -> int:
    """By the number that the kernel knows it by."""
    return Path("/proc/thread-self/ns/net").stat().st_ino
