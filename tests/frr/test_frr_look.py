"""Sessions, BFD and EVPN of a real FRR, and what happens to them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from smartxd.objects import ObjectRef
from smartxd.planes.frr import look as module
from smartxd.planes.frr.look import Look, Looker
from smartxd.planes.frr.state import FRRState, MaxPrefixes, Neighbor, NeighborFamily, Router
from smartxd.planes.frr.vty import Vty
from smartxd.report import FamilyReport, MacReport, SessionReport, VniReport
from tests.frr.conftest import Instance, run

pytestmark = pytest.mark.kernel

Pair = tuple[Instance, Instance]

COMMON = """router bgp 6500{me}
 bgp router-id 10.255.0.{me}
 no bgp ebgp-requires-policy
 no bgp network import-check
"""
SESSION = """ neighbor 192.0.2.{other} remote-as 6500{other}
 neighbor 192.0.2.{other} timers 10 30
 neighbor 192.0.2.{other} timers connect 1
"""
BFD = " neighbor 192.0.2.{other} bfd\n"
UNNUMBERED = """ neighbor wan interface remote-as external
 neighbor wan timers connect 1
 address-family ipv4 unicast
  network 10.1.{me}.0/24
  network 10.2.{me}.0/24
 address-family ipv6 unicast
  neighbor wan activate
  network 2001:db8:{me}::/48
"""


@dataclass
class Watcher:
    """Looks at one box, and remembers what happened."""

    box: Instance
    desired: FRRState
    changes: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.looker = Looker(self.box.run_dir)

    def look(self) -> Look:
        look = self.looker.look(self.desired)
        self.changes += [(c.kind, c.message) for c in look.changes]
        return look

    def session(self) -> SessionReport | None:
        """The only session; None where bgpd does not answer."""
        return next(iter(self.look().sessions.values()), None)

    def until(self, what: Callable[[SessionReport], bool]) -> SessionReport:
        end = time.monotonic() + 60
        while True:
            session = self.session()
            if session is not None and what(session):
                return session
            assert time.monotonic() < end, f"did not happen in time: {session} {self.changes}"
            time.sleep(0.1)

    def until_up(self) -> SessionReport:
        return self.until(lambda s: s.state == "Established")


def wanted(me: int, *names: str, **more: object) -> FRRState:
    other = 65000 + 3 - me
    neighbors = tuple(
        replace(Neighbor(ObjectRef("BGPPeer", "p"), name, 65000 + me, other), **more)  # type: ignore[arg-type]
        for name in names
    )
    router = Router(ObjectRef("BGPRouter", "r"), 65000 + me, None, advertise_all_vni=True)
    return FRRState((router, *neighbors))


def speak(boxes: Sequence[Instance], *parts: str) -> None:
    for me, box in enumerate(boxes, 1):
        box.configure((COMMON + "".join(parts)).format(me=me, other=3 - me))


def watchers(boxes: Pair, name: str = "", **more: object) -> tuple[Watcher, Watcher]:
    one, two = (
        Watcher(box, wanted(me, name or f"192.0.2.{3 - me}", **more)) for me, box in enumerate(boxes, 1)
    )
    return one, two


def inside(box: Instance, *lines: str) -> None:
    for line in lines:
        run("nsenter", f"--net=/run/netns/{box.name}", *line.split())


def test_an_established_session_has_its_counts_by_family(instances: Pair) -> None:
    speak(instances, UNNUMBERED)
    one, _ = watchers(instances, "wan", unnumbered=True)
    families = (
        FamilyReport(family="ipv4", prefixes_received=2, prefixes_sent=4),
        FamilyReport(family="ipv6", prefixes_received=1, prefixes_sent=2),
    )
    found = one.until(lambda s: s.families == families)
    assert (found.state, found.address, found.owner) == ("Established", "wan", "BGPPeer/p")
    assert (found.prefixes_received, found.prefixes_sent, found.bfd) == (3, 6, "")
    one.until(lambda s: s.uptime_s > 0)
    # FRR drops a session that is up when its second family is activated: whether it was is luck.
    assert bool(found.drops) == bool(found.last_error)
    instances[0].vtysh("clear bgp wan")
    again = one.until(lambda s: s.families == families and s.drops > found.drops)
    assert again.last_error


def test_before_frr_is_configured_sessions_are_absent_and_coming_up_is_news(instances: Pair) -> None:
    one, _ = watchers(instances)
    first = one.session()
    assert first is not None
    assert first.state == "Absent"
    speak(instances, SESSION)
    one.until_up()
    assert ("SessionUp", "192.0.2.2: established") in one.changes


def test_a_shutdown_is_seen_with_its_message_at_the_other_end(instances: Pair) -> None:
    speak(instances, SESSION)
    one, two = watchers(instances)
    one.until_up()
    two.until_up()
    instances[1].configure("router bgp 65002\n neighbor 192.0.2.1 shutdown message back at noon\n")
    reason = 'BGP Notification received: Cease/Administrative Shutdown: "back at noon"'
    down = one.until(lambda s: s.state != "Established")
    assert (down.last_error, down.uptime_s) == (reason, 0)
    kind, message = one.changes[-1]
    assert kind == "SessionDown"
    assert message.endswith(reason)
    assert "192.0.2.2: down after 0:0" in message
    two.until(lambda s: s.state == "Idle (Admin)")
    instances[1].configure("router bgp 65002\n no neighbor 192.0.2.1 shutdown\n")
    up = one.until_up()
    assert up.last_error == reason, "why it was down last is still known"
    assert one.changes[-1] == ("SessionUp", "192.0.2.2: established")


def test_a_wrong_as_is_told_by_the_notification(instances: Pair) -> None:
    a, b = instances
    speak([a], SESSION.replace("remote-as 6500{other}", "remote-as 65009"))
    b.configure((COMMON + SESSION).format(me=2, other=1))
    one, two = watchers(instances)
    one.until(lambda s: s.last_error == "BGP Notification send: OPEN Message Error/Bad Peer AS")
    two.until(lambda s: s.last_error == "BGP Notification received: OPEN Message Error/Bad Peer AS")


def test_more_prefixes_than_allowed_are_news(instances: Pair) -> None:
    speak(instances, SESSION, " address-family ipv4\n  network 10.1.{me}.0/24\n  network 10.2.{me}.0/24\n")
    one, _ = watchers(instances)
    one.until(lambda s: s.prefixes_received == 2)

    # One that only warns takes them all, and says so as bgpd does.
    watcher, _ = watchers(
        instances, families=(NeighborFamily("ipv4", max_prefixes=MaxPrefixes(1, 75, "warn")),)
    )
    limit = "router bgp 65001\n address-family ipv4\n  neighbor 192.0.2.2 maximum-prefix 1"
    instances[0].configure(f"{limit} warning-only\n")
    network = "router bgp 65002\n address-family ipv4\n  {}network 10.2.2.0/24\n"
    instances[1].configure(network.format("no "))
    watcher.until(lambda s: s.prefixes_received == 1)
    watcher.changes.clear()
    instances[1].configure(network.format(""))
    (over,) = watcher.until(lambda s: s.prefixes_received == 2).families
    assert (over.prefixes_max, over.limit) == (1, "over")
    instances[1].configure(network.format("no "))
    watcher.until(lambda s: s.prefixes_received == 1)
    assert [kind for kind, _ in watcher.changes] == ["PrefixLimitReached", "PrefixLimitKept"]

    instances[1].configure(network.format(""))
    one.until(lambda s: s.prefixes_received == 2)
    instances[0].configure(f"{limit}\n")
    down = one.until(lambda s: s.state == "Idle (PfxCt)")
    assert down.last_error.endswith("Cease/Maximum Number of Prefixes Reached")
    assert [kind for kind, _ in one.changes[-2:]] == ["SessionDown", "PrefixLimitReached"]


def test_a_flap_between_two_looks_is_seen(instances: Pair) -> None:
    speak(instances, SESSION)
    one, two = watchers(instances)
    one.until_up()
    two.until_up()
    before = two.until_up().drops
    one.changes.clear()
    instances[0].vtysh("clear bgp 192.0.2.2")
    # Only the other box is looked at until all is as it was.
    two.until(lambda s: s.state == "Established" and s.drops > before)
    found = one.until_up()
    assert [kind for kind, _ in one.changes] == ["SessionDown", "SessionUp"]
    assert found.drops > 0


def test_a_bgpd_that_is_killed_leaves_its_sessions_unknown_and_is_a_loss_at_the_other_end(
    instances: Pair,
) -> None:
    speak(instances, SESSION)
    one, two = watchers(instances)
    one.until(lambda s: s.uptime_s > 5)
    two.until_up()
    instances[0].kill("bgpd")
    assert one.session() is None
    down = two.until(lambda s: s.state != "Established")
    assert down.last_error
    assert two.changes[-1][0] == "SessionDown"
    # Started anew it counts from 0; that its session is a younger one is told all the same.
    instances[0].start_daemon("bgpd")
    speak([instances[0]], SESSION)
    two.until_up()
    one.until_up()
    assert [kind for kind, _ in one.changes[-2:]] == ["SessionDown", "SessionUp"]


def test_a_bgpd_that_hangs_tells_nothing_and_costs_a_bounded_time(
    instances: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(instances, SESSION)
    one, _ = watchers(instances)
    one.until_up()
    news = list(one.changes)
    instances[0].kill("bgpd", signal.SIGSTOP, wait=False)
    try:
        monkeypatch.setattr(module, "Vty", lambda path: Vty(path, 0.3))
        for _ in range(8):  # more than its socket keeps waiting
            assert one.look().sessions == {}
        assert one.changes == news, "what is not known is no news"
    finally:
        instances[0].kill("bgpd", signal.SIGCONT, wait=False)
    monkeypatch.undo()
    one.until_up()


def test_bfd_is_up_and_goes_down_with_its_reason(instances: Pair) -> None:
    for box in instances:
        box.start_daemon("bfdd")
    speak(instances, SESSION, BFD)
    one, _ = watchers(instances, bfd_profile="fast")
    one.until(lambda s: s.bfd == "up")
    one.changes.clear()
    instances[1].kill("bfdd", signal.SIGSTOP, wait=False)
    try:
        one.until(lambda s: s.bfd == "down")
    finally:
        instances[1].kill("bfdd", signal.SIGCONT, wait=False)
    assert ("BFDDown", "192.0.2.2: BFD is down: control detection time expired") in one.changes
    one.until(lambda s: s.bfd == "up" and s.state == "Established")
    assert ("BFDUp", "192.0.2.2: BFD is up") in one.changes
    # A bfdd that is not there takes nothing from the sessions, and says nothing of them.
    one.changes.clear()
    instances[0].kill("bfdd")
    assert one.until_up().bfd == "unknown"
    assert not [kind for kind, _ in one.changes if kind.startswith("BFD")]


def test_the_vnis_of_evpn_have_vteps_and_macs(instances: Pair) -> None:
    evpn = " address-family l2vpn evpn\n  neighbor 192.0.2.{other} activate\n  advertise-all-vni\n"
    speak(instances, SESSION, evpn)
    for me, box in enumerate(instances, 1):
        inside(
            box,
            "ip link add br0 type bridge",
            "ip link set br0 up",
            f"ip link add vx100 type vxlan id 100 dstport 4789 nolearning local 192.0.2.{me}",
            "ip link set vx100 master br0 up",
            "ip link add p0 type veth peer p1",
            "ip link set p0 master br0 up",
            "ip link set p1 up",
            f"bridge fdb add 02:00:00:00:00:0{me} dev p0 master dynamic",
        )
    one, _ = watchers(instances)
    remote = MacReport(mac="02:00:00:00:00:02", at="192.0.2.2", remote=True)
    local = MacReport(mac="02:00:00:00:00:01", at="p0", remote=False)

    def whole(found: tuple[VniReport, ...]) -> bool:
        """The MACs are counted and listed by two questions, between which another may come."""
        return any({local, remote} <= {*v.entries} and v.macs == len(v.entries) for v in found)

    end = time.monotonic() + 60
    while not whole(found := one.look().vnis):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    (vni,) = found
    assert (vni.vni, vni.type, vni.link, vni.vteps) == (100, "L2", "vx100", ("192.0.2.2",))
    family = one.until(lambda s: "evpn" in [f.family for f in s.families]).families[-1]
    assert family.prefixes_received > 0


def test_of_many_that_are_down_some_are_asked_in_each_look_and_all_in_turn(
    lone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"192.0.2.{n}" for n in range(11, 16)]
    lines = "".join(f" neighbor {name} remote-as 65002\n neighbor {name} shutdown\n" for name in names)
    lone.configure(COMMON.format(me=1) + lines)
    monkeypatch.setattr(module, "DETAILS_MAX", 2)
    one = Watcher(lone, wanted(1, *names))
    for told in (2, 4, 5, 5):
        sessions = one.look().sessions
        assert len(sessions) == 5
        assert sum(bool(s.last_error) for s in sessions.values()) == told
