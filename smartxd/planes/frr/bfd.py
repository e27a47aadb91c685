"""BFD sessions from what bfdd prints as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any


@dataclass(frozen=True, slots=True)
class BFDPeer:
    """The state of one BFD session (RFC 5880)."""

    status: str
    """``up``, ``down``, ``init`` or ``shutdown``."""
    diagnostic: str = ""
    """Why it went down, as this end says."""

    def __str__(self) -> str:
        return f"{self.status}: {self.diagnostic}" if self.diagnostic else self.status

    @property
    def up(self) -> bool:
        """Whether the other end is heard."""
        return self.status == "up"


ABSENT = BFDPeer("absent")
"""What bfdd does not have."""
UNKNOWN = BFDPeer("unknown")
"""What bfdd does not tell."""


def states(peers: Iterable[Mapping[str, Any]]) -> dict[str, BFDPeer]:
    """The sessions of ``show bfd peers json`` as BGP calls them: by address, unnumbered by interface."""
    found = {}
    for said in peers:
        address = ip_address(str(said["peer"]).partition("%")[0])
        unnumbered = address.version == 6 and address.is_link_local
        name = str(said.get("interface", "")) if unnumbered else str(address)
        diagnostic = str(said.get("diagnostic", ""))
        found[name] = BFDPeer(str(said["status"]), "" if diagnostic == "ok" else diagnostic)
    return found
