"""What should be traced, as plain data: a blueprint. How it is attached is decided when it is applied."""

from __future__ import annotations

from dataclasses import dataclass

from smartxd.objects import ObjectRef


@dataclass(frozen=True, slots=True, order=True)
class Tracer:
    """One trace policy on this box."""

    owner: ObjectRef
    interfaces: tuple[str, ...]
    """Names, sorted."""
    directions: tuple[str, ...] = ("egress", "ingress")
    flows_max: int = 65536
    """Entries of each of the two flow maps; more flows in one drain interval are counted as overflow."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"policy {self.owner.name}"


@dataclass(frozen=True, slots=True)
class TraceState:
    """All tracers of a box, sorted by owner."""

    tracers: tuple[Tracer, ...] = ()
