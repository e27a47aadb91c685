"""What FRR should be, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from smartxd.objects import ObjectRef


@dataclass(frozen=True, slots=True, order=True)
class Neighbor:
    """A BGP session with one address."""

    owner: ObjectRef
    address: str
    remote_as: int
    description: str = ""
    """Free text of the spec; the running configuration carries it behind the owner's mark."""
    keepalive_s: int = 60
    hold_s: int = 180
    connect_retry_s: int = 10


@dataclass(frozen=True, slots=True)
class BGP:
    """The BGP speaker of the default VRF."""

    owner: ObjectRef
    asn: int
    router_id: str
    networks: tuple[str, ...] = ()
    """IPv4 prefixes that the box announces, sorted."""
    neighbors: tuple[Neighbor, ...] = ()
    """Sorted by address."""


@dataclass(frozen=True, slots=True)
class FRRState:
    """All of FRR that a box's specs ask for."""

    bgp: BGP | None = None
