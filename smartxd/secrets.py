"""Secrets never leave the adapters: what stands for them everywhere else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SecretFault:
    """Why a secret cannot be used."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Secrets:
    """What stands for the secrets of a box, and what is wrong with those that cannot be used."""

    tokens: Mapping[str, str] = field(default_factory=dict)
    """By name: as good as the secret for comparing, at most, and for nothing else."""
    faults: Mapping[str, SecretFault] = field(default_factory=dict)
    folder: str = ""

    def fault(self, name: str) -> SecretFault | None:
        """Why a secret cannot be used; None where it can."""
        if name in self.tokens:
            return None
        missing = SecretFault(
            "SecretMissing",
            f"there is no secret {name!r} in {self.folder}: put it into a file of mode 0600",
        )
        return self.faults.get(name, missing)

    @classmethod
    def assumed(cls, names: frozenset[str]) -> Secrets:
        """Secrets that are taken to be there: a plan from specs alone cannot know them."""
        return cls({name: f"<{name}>" for name in names})


NO_SECRETS = Secrets()
