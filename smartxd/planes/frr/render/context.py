"""What of a running configuration, and of the box, decides how parts are printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smartxd.planes.frr.running import Configuration


@dataclass(frozen=True, slots=True)
class Context:
    """How a part is printed beside its own fields."""

    profile: str = "traditional"
    activates_ipv4: bool = True
    """Whether a new neighbour speaks IPv4 unicast without being told to."""
    passwords: Mapping[str, str] = field(default_factory=dict)
    """What stands for each secret in the configuration, by the secret's name."""

    @classmethod
    def of(cls, running: Configuration, passwords: Mapping[str, str]) -> Context:
        """The context of a configuration, or of the section that is made where there is none."""
        section = running.section
        return cls(running.profile, section is None or section.activates_ipv4, passwords)
