"""Random configurations, one after the other, on a live FRR with foreign configuration and a live neighbour.

``SMARTXD_FRR_CONFIGURATIONS=1000`` makes it that many, ``SMARTXD_FRR_SEED`` another row of them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

import pytest

from smartxd.planes.frr import render
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.running import Configuration, Node, parse_running
from smartxd.planes.frr.state import FRRState, Part
from smartxd.planes.frr.words import Path
from smartxd.reconcile.plan import Disruption, Plan
from tests.frr.configurations import SECRETS, STABLE, Draw
from tests.frr.conftest import Book, Instance, until

COUNT = int(os.environ.get("SMARTXD_FRR_CONFIGURATIONS", "24"))
SEED = int(os.environ.get("SMARTXD_FRR_SEED", "1"))

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(400 + 3 * COUNT)]

BY_HAND = """
ip route 203.0.113.64/26 blackhole
ipv6 route 2001:db8:dead::/48 blackhole
ip prefix-list HAND seq 5 permit 10.0.0.0/8 le 24
ipv6 prefix-list HAND description by hand: ip prefix-list a seq 5 permit any
ipv6 prefix-list HAND seq 5 permit 2001:db8::/32
bgp community-list standard HAND seq 5 permit 65001:100 no-export
bgp community-list expanded HAND-TOO seq 5 permit ^65001:
bgp as-path access-list HAND seq 5 permit ^65001_
route-map HAND permit 10
 description a | b: route-map a in
 match ip address prefix-list HAND
 set community 65001:100 additive
exit
bfd
 profile hand
  detect-multiplier 5
 exit
exit
"""

AMID = """
router bgp 65001
 bgp log-neighbor-changes
 neighbor HAND peer-group
 neighbor HAND remote-as 65077
 neighbor HAND description smartxd of old
 neighbor 192.0.2.77 peer-group HAND
 neighbor 2001:db8::77 remote-as 65078
 neighbor 2001:db8::77 timers 7 21
 address-family ipv4 unicast
  network 172.16.0.0/12 route-map HAND
  neighbor HAND route-map HAND in
 exit-address-family
 address-family ipv6 unicast
  neighbor 2001:db8::77 activate
  neighbor 2001:db8::77 prefix-list HAND out
 exit-address-family
exit
router bgp 65099 vrf HAND
 neighbor 192.0.2.2 remote-as 65002
exit
"""

OTHER_END = """
router bgp 65002
 bgp router-id 10.255.0.2
 no bgp ebgp-requires-policy
 neighbor 192.0.2.1 remote-as external
 neighbor 192.0.2.1 timers connect 1
 neighbor 198.51.100.1 remote-as external
 neighbor 198.51.100.1 timers connect 1
exit
"""


@dataclass
class Trial:
    """One FRR on its way from configuration to configuration."""

    box: Instance
    book: Book
    foreign: tuple[str, ...] = ()
    now: FRRState = FRRState()

    def step(self, state: FRRState) -> None:
        """Converge, and look at everything that must hold."""
        plan, before = self.book.plan(state), self.flaps()
        problems = [r.problem.message for r in self.book.converge(state) if r.problem]
        assert not problems, "\n".join(problems)
        rest = self.book.plan(state)
        left = (*rest.actions, *rest.problems)
        assert not left, "\n".join(map(str, left))
        self.is_as(state)
        after = self.flaps()
        quiet = {n for n in self.stayed(state, plan) if n in before}
        flapped = {name: self.why(name) for name in quiet if after.get(name) != before[name]}
        assert not flapped, f"sessions that stay flapped: {flapped}"
        self.now = state
        if any(n.name == STABLE for n in state.neighbors):
            until(lambda: self.sessions()[STABLE]["bgpState"] == "Established")

    def is_as(self, state: FRRState) -> None:
        """What runs is each part just as it is rendered, and what is foreign, byte for byte."""
        running = parse_running(self.box.running())
        wanted = self.wanted(state, running)
        assert {id: running.parts.get(id, frozenset()) for id in wanted} == wanted
        assert self.others(state) == self.foreign

    def wanted(self, state: FRRState, running: Configuration) -> dict[str, frozenset[Path]]:
        context = Context.of(running, SECRETS)
        return {part.id: frozenset(render.lines(part, context)) for part in state.parts}

    def others(self, state: FRRState) -> tuple[str, ...]:
        """The lines that are none of the state's, with the headers that they stand under."""
        running = parse_running(self.box.running())
        ours = frozenset(path for lines in self.wanted(state, running).values() for path in lines)
        return tuple(_others(running.nodes, ours))

    def stayed(self, state: FRRState, plan: Plan) -> Iterator[str]:
        """The neighbours that were there and whose sessions nothing should touch."""
        loud = {a.id for a in plan.actions if a.disruption is not Disruption.NONE}
        had: dict[str, Part] = {part.id: part for part in self.now.parts}
        router = state.router
        if router is None or router.id in loud or router.id not in had:
            return
        for neighbor in state.neighbors:
            if neighbor.id in had and neighbor.id not in loud:
                yield neighbor.name
            elif had.get(neighbor.id) == neighbor:
                raise AssertionError(f"{neighbor.id} stays, and the plan says that it flaps")

    def sessions(self) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = json.loads(self.box.vtysh("show bgp neighbors json"))
        return found

    def why(self, name: str) -> tuple[object, ...]:
        """What a session last ended for."""
        return tuple(
            self.sessions()[name].get(key) for key in ("bgpState", "lastResetDueTo", "lastNotificationReason")
        )

    def flaps(self) -> dict[str, tuple[object, object]]:
        """How often each session that is up came up and went down."""
        return {
            name: (peer["connectionsEstablished"], peer["connectionsDropped"])
            for name, peer in self.sessions().items()
            if isinstance(peer, dict) and peer.get("bgpState") == "Established"
        }


def _others(nodes: tuple[Node, ...], ours: frozenset[Path], above: Path = ()) -> Iterator[str]:
    for node in nodes:
        if node.is_comment:
            continue
        path = (*above, node.statement)
        inside = tuple(_others(node.children, ours, path))
        if inside or (path not in ours and not node.is_container):
            yield from (node.line, *inside)


@pytest.fixture
def pair(instances: tuple[Instance, Instance], tmp_path: FilePath) -> tuple[Instance, Book]:
    """A box with a neighbour that is there, and its book."""
    one, two = instances
    one.start_daemon("bfdd")
    two.configure(OTHER_END)
    for name, password in SECRETS.items():
        (tmp_path / name).write_text(f"{password}\n")
        (tmp_path / name).chmod(0o600)
    return one, Book(FRRPlane(one.config, tmp_path))


def walk(trial: Trial, draw: Draw, count: int) -> None:
    for number in range(count):
        state = draw.state()
        try:
            trial.step(state)
        except AssertionError as err:
            err.add_note(f"configuration {number} of seed {SEED}")
            raise


def test_any_configuration_follows_any_other(pair: tuple[Instance, Book]) -> None:
    one, book = pair
    one.configure(BY_HAND)
    before = one.running()
    trial = Trial(one, book)
    trial.foreign = trial.others(FRRState())
    walk(trial, Draw(random.Random(SEED)), COUNT // 2)
    trial.step(FRRState())
    assert one.running() == before
    assert not book.owned


def test_any_configuration_follows_any_other_amid_a_foreign_one(pair: tuple[Instance, Book]) -> None:
    """The foreign one is put into smartxd's own section, with a peer group, and beside it in a VRF."""
    one, book = pair
    draw = Draw(random.Random(SEED), restless=False)
    trial = Trial(one, book)
    trial.foreign = trial.others(FRRState())
    trial.step(draw.state())
    one.configure(BY_HAND + AMID)
    trial.foreign = trial.others(draw.before)
    walk(trial, draw, COUNT - COUNT // 2)
