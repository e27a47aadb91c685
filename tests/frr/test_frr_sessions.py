"""What is made of FRR's JSON, captured from FRR 8.4, and what happened between two looks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smartxd.objects import ObjectRef
from smartxd.planes.frr import bfd, evpn, sessions
from smartxd.planes.frr.bfd import BFDPeer
from smartxd.planes.frr.sessions import Peer, Session, changes
from smartxd.planes.frr.state import MaxPrefixes, Neighbor, NeighborFamily
from smartxd.report import FamilyReport, MacReport

OWNER = ObjectRef("BGPPeer", "a-b")


def captured(name: str) -> Any:
    return json.loads((Path(__file__).parent / "captured" / f"{name}.json").read_text())


def family(name: str, received: int, sent: int) -> FamilyReport:
    return FamilyReport(family=name, prefixes_received=received, prefixes_sent=sent)


def test_a_summary_tells_each_neighbour_and_family() -> None:
    assert sessions.peers(captured("summary")) == {
        "192.0.2.2": Peer("Established", 11, 1, (family("ipv4", 2, 4), family("evpn", 3, 6))),
        "198.51.100.2": Peer("Idle", 0, 0, (family("ipv4", 0, 0),)),
        "wan": Peer("Established", 12, 0, (family("ipv4", 2, 4), family("ipv6", 0, 0))),
    }


def test_where_there_is_no_bgp_there_are_no_neighbours() -> None:
    assert sessions.peers(captured("none-summary")) == {}


def test_a_neighbour_over_its_limit_and_one_that_is_shut_down_are_told_by_their_state() -> None:
    assert sessions.peers(captured("summary-prefix-limit"))["192.0.2.2"].state == sessions.LIMITED
    assert sessions.peers(captured("summary-shutdown-there"))["192.0.2.1"].state == "Idle (Admin)"


def test_the_last_error_is_cause_notification_and_what_the_other_end_said() -> None:
    def error(name: str) -> str:
        (detail,) = captured(name).values()
        return sessions.error(detail)

    shutdown = 'BGP Notification received: Cease/Administrative Shutdown: "mending the roof"'
    assert error("neighbor-shutdown") == shutdown
    assert error("neighbor-wrong-as") == "BGP Notification send: OPEN Message Error/Bad Peer AS"
    assert error("neighbor-wrong-as-there") == "BGP Notification received: OPEN Message Error/Bad Peer AS"
    limit = "Cease/Maximum Number of Prefixes Reached"
    assert error("neighbor-prefix-limit") == f"BGP Notification send: {limit}"
    assert error("neighbor-prefix-limit-there") == f"BGP Notification received: {limit}"
    assert sessions.error({}) == ""


def test_what_the_other_end_says_cannot_begin_a_line() -> None:
    hostile = {"lastShutdownDescription": "x\nsmartxd: \x1b[2JReady"}
    assert sessions.error(hostile) == '"x smartxd:  [2JReady"'


def test_bfd_is_told_by_address_and_of_unnumbered_sessions_by_interface() -> None:
    assert bfd.states(captured("bfd-peers")) == {"wan": BFDPeer("up"), "192.0.2.2": BFDPeer("up")}


def test_bfd_that_is_down_says_why() -> None:
    down = [{"peer": "2001:DB8::1", "status": "down", "diagnostic": "control detection time expired"}]
    assert str(bfd.states(down)["2001:db8::1"]) == "down: control detection time expired"


def test_a_vni_has_its_vteps_and_macs() -> None:
    (vni,) = evpn.vnis(captured("vni-detail"))
    assert (vni.vni, vni.type, vni.link, vni.vrf) == (100, "L2", "vx100", "default")
    assert (vni.vteps, vni.macs, vni.neighbors) == (("192.0.2.2",), 4, 0)
    assert evpn.entries(captured("mac-100"))[:2] == (
        MacReport(mac="02:00:00:00:00:01", at="p0", remote=False),
        MacReport(mac="02:00:00:00:00:02", at="192.0.2.2", remote=True),
    )
    assert evpn.entries({}) == ()


def test_the_macs_of_all_vnis_together_are_bounded() -> None:
    (one,) = evpn.vnis(captured("vni-detail"))
    counts = {1: 1000, 2: 25, 3: 24, 4: 0}
    found = [one.model_copy(update={"vni": vni, "macs": macs}) for vni, macs in counts.items()]
    assert evpn.few(found) == {1, 3}


UP = Peer("Established", 100, 2, ())
BEFORE = Session(OWNER, "192.0.2.2", 1000.0, UP)


def happened(at: float, peer: Peer, error: str = "", before: Session = BEFORE) -> list[tuple[str, str]]:
    now = replace(before, at=at, peer=peer, error=error)
    return [(c.kind, c.message.removeprefix("192.0.2.2: ")) for c in changes(before, now)]


def test_a_session_that_stays_is_no_news() -> None:
    assert happened(1002.0, replace(UP, since_s=102)) == []
    assert happened(1002.0, replace(UP, since_s=100)) == [], "bgpd rounds"


def test_a_session_that_went_down_says_why_and_how_long_it_was_up() -> None:
    assert happened(1010.0, Peer("Idle", 4, 3, ()), "Hold Timer expired") == [
        ("SessionDown", "down after 0:01:46: Hold Timer expired")
    ]


def test_a_session_that_came_up_is_news() -> None:
    down = replace(BEFORE, peer=Peer("Active", 0, 2, ()))
    assert happened(1010.0, replace(UP, since_s=3), before=down) == [("SessionUp", "established")]


def test_what_fell_and_came_back_between_two_looks_is_seen_by_the_counter() -> None:
    kinds = happened(1002.0, replace(UP, since_s=1, drops=4), "Hold Timer expired")
    assert kinds == [
        ("SessionDown", "down after 0:01:41, 2 times since the last look: Hold Timer expired"),
        ("SessionUp", "established"),
    ]
    down = replace(BEFORE, peer=Peer("Active", 0, 2, ()))
    assert happened(1010.0, Peer("Active", 1, 3, ()), before=down) == [
        ("SessionDown", "established and down again")
    ]


def test_a_bgpd_that_was_started_anew_is_seen_by_the_age_of_its_sessions() -> None:
    found = happened(1060.0, Peer("Established", 20, 0, ()))
    assert found == [("SessionDown", "down after 0:02:20"), ("SessionUp", "established")]


def test_a_limit_that_is_reached_is_news_once() -> None:
    over = Peer(sessions.LIMITED, 1, 3, ())
    kinds = [kind for kind, _ in happened(1002.0, over)]
    assert kinds == ["SessionDown", "PrefixLimitReached"]
    assert happened(1004.0, replace(over, since_s=3), before=replace(BEFORE, peer=over)) == []


@pytest.mark.parametrize(
    ("counts", "kinds"),
    [
        ((1, 2, 3, 4), ["", "PrefixLimitNear", "", "PrefixLimitReached"]),
        ((4, 5, 3, 1, 4), ["PrefixLimitReached", "", "PrefixLimitKept", "", "PrefixLimitReached"]),
        ((9, 0), ["PrefixLimitReached", "PrefixLimitKept"]),
    ],
)
def test_a_limit_that_only_warns_is_news_whenever_it_is_crossed(counts: list[int], kinds: list[str]) -> None:
    limit = NeighborFamily("ipv4", max_prefixes=MaxPrefixes(3, 60, "warn"))
    neighbor = Neighbor(OWNER, "192.0.2.2", 65001, 65002, families=(limit,))
    now, found = replace(BEFORE, peer=sessions.limited(UP, neighbor)), []
    for count in counts:
        before, at = now, now.at + 5
        peer = replace(UP, since_s=int(at) - 900, families=(family("ipv4", count, 0), family("ipv6", 9, 0)))
        now = replace(before, at=at, peer=sessions.limited(peer, neighbor))
        found.append("".join(change.kind for change in changes(before, now)))
    assert found == kinds


def test_a_session_that_comes_up_over_its_limit_is_news_and_one_that_is_down_keeps_none() -> None:
    over = replace(
        UP, families=(FamilyReport(family="ipv4", prefixes_received=4, prefixes_sent=0, limit="over"),)
    )
    down = replace(BEFORE, peer=Peer("Active", 0, 2, (family("ipv4", 0, 0),)))
    assert [kind for kind, _ in happened(1010.0, replace(over, since_s=3), before=down)] == [
        *("SessionUp", "PrefixLimitReached")
    ]
    assert [kind for kind, _ in happened(1010.0, down.peer, before=replace(BEFORE, peer=over))] == [
        "SessionDown"
    ]


def test_bfd_that_goes_down_or_up_is_news() -> None:
    up, down = BFDPeer("up"), BFDPeer("down", "neighbor signaled session down")

    def kinds(before: BFDPeer, now: BFDPeer) -> list[tuple[str, str]]:
        found = changes(replace(BEFORE, bfd=before), replace(BEFORE, bfd=now))
        return [(c.kind, c.message) for c in found]

    assert kinds(up, down) == [("BFDDown", "192.0.2.2: BFD is down: neighbor signaled session down")]
    assert kinds(down, up) == [("BFDUp", "192.0.2.2: BFD is up")]
    assert kinds(down, BFDPeer("init")) == kinds(up, up) == []
