"""Programs on the kernel's own tracepoints, and for which interfaces they count: maps of a folder.

A tracepoint is one for all interfaces in all network namespaces, so an interface is watched as long as it is
in a map that the programs ask, with the namespace that it is in. A probe counts into two maps of its own, by
the generation of the flows; a build has those that its policy asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from smartxd import bpfsys
from smartxd.planes.trace.state import DROPPED, TCP

_KEY = struct.Struct("=II")
_VALUE = struct.Struct("=I")
_ANY = 0
"""In place of an interface: what the kernel does not say the interface of."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One C file of such programs."""

    name: str
    """Of the C file, of its two maps, and of the mode of a policy."""
    point: str
    """``Attachment.direction``: that an interface is watched."""
    programs: Mapping[str, str]
    """Tracepoints by program."""
    unplaced: bool = False
    """Whether what the kernel does not say the interface of counts too, as long as any is watched."""

    @property
    def tables(self) -> Mapping[str, str]:
        """Maps of the C file by the names of their pins."""
        return {self.watched: "watched", **{name: name for name in (f"{self.name}0", f"{self.name}1")}}

    @property
    def watched(self) -> str:
        """The pin of the map of what is watched."""
        return f"{self.name}-watched"

    @property
    def links(self) -> Mapping[str, str]:
        """Programs by the pins of their links."""
        return {f"{program}-link": program for program in self.programs}

    @property
    def pins(self) -> tuple[str, ...]:
        """All that a build of it has in its folder."""
        return (*self.programs, *self.links, *self.tables)


_TCP = (
    *("tcp_retransmit_skb", "tcp_retransmit_synack", "tcp_send_reset", "tcp_receive_reset"),
    *("inet_sock_set_state", "tcp_probe"),
)
DROPS = Probe("drops", DROPPED, MappingProxyType({"dropped": "kfree_skb"}))
CONNECTIONS = Probe("tcp", TCP, MappingProxyType({name: name for name in _TCP}), unplaced=True)
PROBES = (DROPS, CONNECTIONS)
BY_POINT: Mapping[str, Probe] = MappingProxyType({probe.point: probe for probe in PROBES})


def whole(pin_dir: Path) -> bool:
    """Whether a build has of each probe all of the pins, or none."""
    return all(len({(pin_dir / pin).exists() for pin in probe.pins}) == 1 for probe in PROBES)


def entries(pin_dir: Path) -> Mapping[str, int]:
    """How much the maps of a build hold, by probe; it lacks those that the build has not."""
    found = {}
    for probe in PROBES:
        with suppress(FileNotFoundError), bpfsys.opened(pin_dir / f"{probe.name}0") as fd:
            found[probe.name] = bpfsys.map_info(fd).max_entries
    return found


def watch(pin_dir: Path, probe: Probe, ifindex: int) -> None:
    """Count what is of an interface of this network namespace."""
    with bpfsys.opened(pin_dir / probe.watched) as fd:
        for each in (ifindex, *_unplaced(probe)):
            bpfsys.update(fd, _KEY.pack(_namespace(), each), _VALUE.pack(0))


def unwatch(pin_dir: Path, probe: Probe, ifindex: int) -> None:
    """Count it no more; of one that is not watched nothing is counted anyway."""
    keep(pin_dir, probe, watched(pin_dir, probe) - {ifindex})


def watched(pin_dir: Path, probe: Probe) -> frozenset[int]:
    """The interfaces of this network namespace that are watched; none once a program has ended."""
    if not all((pin_dir / link).exists() for link in probe.links):
        return frozenset()
    here = _namespace()
    found = _watched(pin_dir, probe)
    return frozenset(ifindex for namespace, ifindex in found if namespace == here and ifindex != _ANY)


def keep(pin_dir: Path, probe: Probe, ifindexes: frozenset[int]) -> None:
    """Watch nothing but these."""
    kept = {(_namespace(), ifindex) for ifindex in (*ifindexes, *_unplaced(probe))} if ifindexes else set()
    with suppress(FileNotFoundError), bpfsys.opened(pin_dir / probe.watched) as fd:
        for key in _watched(pin_dir, probe) - kept:
            bpfsys.delete(fd, _KEY.pack(*key))


def end(pin_dir: Path) -> None:
    """Watch nothing, and end the programs; those that have ended are not an error."""
    for probe in PROBES:
        keep(pin_dir, probe, frozenset())
        for link in probe.links:
            # The link ends with the descriptor: the pin's reference is dropped some time later.
            with suppress(FileNotFoundError), bpfsys.opened(pin_dir / link):
                (pin_dir / link).unlink()


def _unplaced(probe: Probe) -> tuple[int, ...]:
    return (_ANY,) if probe.unplaced else ()


def _watched(pin_dir: Path, probe: Probe) -> frozenset[tuple[int, int]]:
    with suppress(FileNotFoundError), bpfsys.opened(pin_dir / probe.watched) as fd:
        count = bpfsys.map_info(fd).max_entries
        keys, values = bytearray(_KEY.size * count), bytearray(_VALUE.size * count)
        found = bpfsys.lookup_batch(fd, keys, values, (_KEY.size, _VALUE.size), count)
        return frozenset(_KEY.unpack_from(keys, i * _KEY.size) for i in range(found))
    return frozenset()


def _namespace() -> int:
    """By the number that the kernel knows it by."""
    return Path("/proc/thread-self/ns/net").stat().st_ino
