"""A round of a plane as data, so that it can be done in any thread."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from smartxd.desired import Desired
from smartxd.errors import PlaneError, StoreError
from smartxd.objects import ObjectRef
from smartxd.reconcile.converge import Inventory, Round, State, converge


@dataclass(frozen=True, slots=True)
class Target:
    """What the box is to be, and the commit that says so."""

    commit: str
    desired: Desired
    taken_at: datetime


Outcome = Round | PlaneError | StoreError
"""What came of a round; an error is one of the whole plane."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A round of one plane, yet to be done."""

    target: Target
    driver: Any
    waiting: frozenset[ObjectRef]
    resting: frozenset[str]
    began: float
    """On the monotonic clock."""

    @property
    def plane(self) -> str:
        """The plane's name."""
        return str(self.driver.name)

    @property
    def state(self) -> State:
        """What the plane is to be."""
        state: State = getattr(self.target.desired, self.plane)
        return state

    def do(self, inventory: Inventory) -> Outcome:
        """Do the round."""
        try:
            return converge(self.driver, self.state, inventory, self.waiting, self.resting)
        except (PlaneError, StoreError) as err:
            return err
        except OSError as err:
            return refused(err)


def refused(err: OSError) -> PlaneError:
    """What the machine itself refuses, as a place on a full disk or a program: one plane's failure, told."""
    return PlaneError("MachineRefused", str(err), "make room on this box, or repair it: it is tried again")
