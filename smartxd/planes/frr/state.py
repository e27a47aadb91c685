"""What FRR should be, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from smartxd.objects import ObjectRef, OwnedObject

PLANE = "frr"
"""The plane's name in the inventory."""


@dataclass(frozen=True, slots=True, order=True)
class Router:
    """The ``router bgp`` section of the default VRF and its own settings."""

    owner: ObjectRef
    asn: int
    router_id: str | None

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"router bgp {self.asn}"


@dataclass(frozen=True, slots=True, order=True)
class Network:
    """An IPv4 prefix that the speaker of ``asn`` announces."""

    owner: ObjectRef
    prefix: str
    asn: int

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"network {self.prefix}"


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
    asn: int = 0
    """The speaker's own AS number; planning fills it in."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"neighbor {self.address}"


Object = Router | Network | Neighbor


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

    @property
    def router(self) -> Router:
        """The section alone."""
        return Router(self.owner, self.asn, self.router_id)


@dataclass(frozen=True, slots=True)
class FRRState:
    """All of FRR that a box's specs ask for."""

    bgp: BGP | None = None

    def objects(self) -> frozenset[OwnedObject]:
        """Every object that the state holds, as the inventory knows it."""
        if self.bgp is None:
            return frozenset()
        networks = (Network(self.bgp.owner, prefix, self.bgp.asn) for prefix in self.bgp.networks)
        parts: tuple[Object, ...] = (self.bgp.router, *networks, *self.bgp.neighbors)
        return frozenset(OwnedObject(PLANE, part.id, part.owner) for part in parts)
