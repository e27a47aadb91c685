"""BGPPeer: a session between two boxes; one spec makes both ends, so that they cannot disagree."""

from __future__ import annotations

from pydantic import Field, model_validator

from smartxd.spec.fields import HostAddress, Name, SpecModel, Text, Whole


class PeerEnd(SpecModel):
    """One end of a session."""

    box: Name
    address: HostAddress | None = Field(
        default=None, description="a gateway or the underlay address of the Box, as if not given"
    )


class Timers(SpecModel):
    """Session timers in seconds (RFC 4271, section 10)."""

    keepalive: Whole = Field(default=60, ge=1, le=21845)
    hold: Whole = Field(default=180, ge=3, le=65535)
    connect_retry: Whole = Field(default=10, ge=1, le=65535)

    @model_validator(mode="after")
    def _keepalives_fit(self) -> Timers:
        if self.keepalive * 3 > self.hold:
            raise ValueError(f"hold {self.hold} must be at least three times keepalive {self.keepalive}")
        return self


class BGPPeerSpec(SpecModel):
    """A BGP session between the BGPRouters of two boxes."""

    between: tuple[PeerEnd, PeerEnd]
    description: Text = ""
    timers: Timers = Timers()
