"""The words that both wings share: which object, in which condition, what happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """A spec object, written ``Kind/name``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ObjectRef:
        """The reference that ``Kind/name`` writes; ValueError when it is not one."""
        kind, slash, name = text.partition("/")
        if not (kind and slash and name):
            raise ValueError(f"not Kind/name: {text!r}")
        return cls(kind, name)


class ConditionType(StrEnum):
    """What a condition speaks of, as in Kubernetes."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DRIFTED = "Drifted"
    CONTESTED = "Contested"
    SOURCE_VERIFIED = "SourceVerified"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of one object; ``since`` is when ``status`` last changed."""

    object: ObjectRef
    type: ConditionType
    status: bool
    reason: str
    """CamelCase, for programs."""
    message: str
    """One line a person can act on."""
    commit: str
    since: datetime


@dataclass(frozen=True, slots=True, order=True)
class OwnedObject:
    """What smartxd made: a plane's own name for it, and the spec object that asked for it."""

    plane: str
    id: str
    """Unique within the plane: ``link vx100``, ``neighbor 192.0.2.2``, ``policy wan``."""
    owner: ObjectRef


@dataclass(frozen=True, slots=True)
class Event:
    """A line of history: a commit taken or refused, an action done or failed, drift seen."""

    at: datetime
    commit: str
    object: ObjectRef
    kind: str
    """``Applied``, ``Failed``, ``Drift``, ``Contested``, ``CommitAccepted``, ``CommitRefused``, …"""
    message: str
