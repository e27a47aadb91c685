"""States of FRR for tests, and what they come to on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smartxd.objects import ObjectRef
from smartxd.planes.frr.diff import plan
from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.state import FRRState, Inner, Neighbor, Network, Part, Router
from smartxd.planes.frr.target import target, wanted
from smartxd.reconcile.plan import Action, Ownership
from smartxd.secrets import Secrets

ROUTER, WAN, LAN = ObjectRef("BGPRouter", "a"), ObjectRef("BGPPeer", "wan"), ObjectRef("BGPPeer", "lan")
SECTION = "router bgp 65001"
IPV4 = "address-family ipv4 unicast"


def speaker(asn: int, router_id: str, *inner: Inner | str, owner: ObjectRef = ROUTER) -> FRRState:
    """A speaker with the neighbours and networks given, the latter by their prefixes."""
    parts = [Network(owner, part, asn) if isinstance(part, str) else replace(part, asn=asn) for part in inner]
    return FRRState((Router(owner, asn, router_id), *parts))


def beside(state: FRRState, *parts: Part) -> FRRState:
    """The state with more parts before its own."""
    return replace(state, parts=(*parts, *state.parts))


def changed(state: FRRState, *neighbors: Neighbor) -> FRRState:
    """The state with these neighbours in the place of its own."""
    kept = tuple(part for part in state.parts if not isinstance(part, Neighbor))
    return replace(state, parts=(*kept, *neighbors))


def done_to(running: Configuration, actions: Sequence[Action]) -> Configuration:
    """What runs when all actions have been done."""
    return target(running, wanted(actions, running, {}))


def after(state: FRRState, running: Configuration, owned: Ownership) -> Configuration:
    """What runs once a state has been applied."""
    secrets = Secrets.assumed(frozenset(n.secret for n in state.neighbors if n.secret))
    return target(running, wanted(plan(state, running, owned, secrets).actions, running, secrets.tokens))
