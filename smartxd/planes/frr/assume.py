"""What FRR would run once a state had been applied: where a plan between commits starts. Pure."""

from __future__ import annotations

from smartxd.planes.frr.diff import plan
from smartxd.planes.frr.running import Configuration, parse
from smartxd.planes.frr.state import FRRState
from smartxd.planes.frr.target import target
from smartxd.reconcile.plan import Ownership


def assumed(state: FRRState) -> Configuration:
    """The running configuration of an FRR with its traditional defaults that has ``state`` and no more."""
    empty = parse("")
    return target(empty, plan(state, empty, Ownership()).actions).configuration
