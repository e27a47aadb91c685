"""What FRR would run once a state had been applied: where a plan between commits starts. Pure."""

from __future__ import annotations

from smartxd.planes.frr import render
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.running import Configuration, parse
from smartxd.planes.frr.state import FRRState, Neighbor
from smartxd.planes.frr.target import target
from smartxd.secrets import Secrets


def assumed(state: FRRState) -> Configuration:
    """The running configuration of an FRR with its traditional defaults that has ``state`` and no more."""
    context = Context(passwords=secrets(state).tokens)
    return target(parse(""), {part.id: render.lines(part, context) for part in state.parts})


def secrets(*states: FRRState) -> Secrets:
    """The secrets that states name, taken to be there: a plan from specs alone cannot know them."""
    return Secrets.assumed(frozenset(n.secret for state in states for n in state.of(Neighbor) if n.secret))
