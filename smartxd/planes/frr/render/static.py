"""BFD profiles and static routes."""

from __future__ import annotations

from smartxd.planes.frr.state import MAIN_TABLE, BFDProfile, StaticRoute
from smartxd.planes.frr.words import Path

_INTERVAL_MS = 300
_MULTIPLIER = 3


def bfd_profile(part: BFDProfile) -> tuple[Path, ...]:
    """The profile; FRR leaves out what is its default."""
    above = ("bfd", f"profile {part.name}")
    found: list[Path] = [above]
    if part.multiplier != _MULTIPLIER:
        found.append((*above, f"detect-multiplier {part.multiplier}"))
    if part.transmit_ms != _INTERVAL_MS:
        found.append((*above, f"transmit-interval {part.transmit_ms}"))
    if part.receive_ms != _INTERVAL_MS:
        found.append((*above, f"receive-interval {part.receive_ms}"))
    return tuple(found)


def route(part: StaticRoute) -> tuple[Path, ...]:
    """A line for each next hop."""
    start = f"{'ipv6' if ':' in part.destination else 'ip'} route {part.destination}"
    table = f" table {part.table}" if part.table != MAIN_TABLE else ""
    hops = [" ".join(filter(None, (hop.address, hop.link))) for hop in part.hops] or ["blackhole"]
    return tuple((f"{start} {hop}{table}",) for hop in hops)
