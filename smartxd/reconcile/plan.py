"""A plan as data: what ``smartxctl plan`` prints is exactly what a plane's ``apply`` consumes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from smartxd.objects import ObjectRef, OwnedObject


class Verb(StrEnum):
    """What an action does to its object."""

    CREATE = "create"
    UPDATE = "update"
    RECREATE = "recreate"
    DELETE = "delete"


class Disruption(StrEnum):
    """What traffic notices of an action."""

    NONE = "none"
    FLAP = "flap"
    RECREATE = "recreate"


@dataclass(frozen=True, slots=True)
class Change:
    """A field that an action changes; None stands for "was not there" or "will not be"."""

    field: str
    old: object
    new: object


@dataclass(frozen=True, slots=True)
class Action:
    """One step on one object of a plane. ``old`` and ``new`` are the plane's own frozen state objects."""

    plane: str
    id: str
    """The plane's name for the object, as in the inventory: ``link vx100``."""
    owner: ObjectRef
    verb: Verb
    old: Any = None
    new: Any = None
    disruption: Disruption = Disruption.NONE
    changes: tuple[Change, ...] = ()
    follows: bool = False
    """Whether it follows what came or went by itself, as a VM's link: nobody has changed the object."""

    @property
    def owned(self) -> OwnedObject:
        """The inventory entry that goes with the object."""
        return OwnedObject(self.plane, self.id, self.owner)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an owner's object is not as it should be, and what to do about it."""

    owner: ObjectRef
    reason: str
    """CamelCase: ``ForeignObject``, ``MissingUnderlay``, ``KernelRefused``."""
    message: str
    permanent: bool = False
    """True when trying again cannot help before the spec or the box is changed: Stalled."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of one plane in the order in which they are applied, and what stands in the way."""

    actions: tuple[Action, ...] = ()
    problems: tuple[Problem, ...] = ()
    held: frozenset[str] = frozenset()
    """Ids whose entries stay in the inventory although the desired state cannot name them: links of others
    that a rule has plugged in."""

    def __bool__(self) -> bool:
        return bool(self.actions)

    def without(self, owners: Collection[ObjectRef], ids: Collection[str] = ()) -> Plan:
        """The plan less the actions of ``owners`` and on ``ids`` (those that wait for their next try)."""
        left = tuple(a for a in self.actions if a.owner not in owners and a.id not in ids)
        return replace(self, actions=left)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one action; ``problem`` is None when it was done."""

    action: Action
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Ownership:
    """The inventory's half of ownership: what smartxd made, by a plane's id."""

    objects: frozenset[OwnedObject] = field(default_factory=frozenset)

    def of(self, plane: str) -> dict[str, ObjectRef]:
        """The inventory of one plane, owner by id."""
        return {o.id: o.owner for o in self.objects if o.plane == plane}


DesiredT_contra = TypeVar("DesiredT_contra", contravariant=True)
ObservedT = TypeVar("ObservedT")


class Plane(Protocol[DesiredT_contra, ObservedT]):
    """A thing that can be converged: the kernel's network state, FRR, the tracers."""

    name: str

    def has_leftovers(self) -> bool:
        """Whether something of smartxd's may be there that neither specs nor inventory know of; cheap."""
        ...

    def observe(self) -> ObservedT:
        """What is there now; PlaneError when that cannot be told (a daemon is down, a tool is missing)."""
        ...

    def plan(self, desired: DesiredT_contra, observed: ObservedT, owned: Ownership) -> Plan:
        """The steps from observed to desired, pure. Touches only what desired names or both keys own."""
        ...

    def apply(self, plan: Plan, observed: ObservedT) -> Iterator[Result]:
        """Do the steps in order and say of each what became of it; one failure never stops the rest.

        Deleting an object that is gone, or creating one that is there as wanted, is not an error.
        """
        ...


def changes_between(old: Any, new: Any, ignore: Sequence[str] = ()) -> tuple[Change, ...]:
    """The fields in which two frozen dataclasses of one type differ; one of them may be None."""
    some = new if new is not None else old
    if not is_dataclass(some):
        raise TypeError(f"not a dataclass: {some!r}")
    names = [f.name for f in fields(some) if f.name not in ignore]
    pairs = [(n, getattr(old, n, None), getattr(new, n, None)) for n in names]
    return tuple(Change(n, a, b) for n, a, b in pairs if a != b)
