"""The plane on real FRR: what converges, what stays, what a dead daemon costs."""

from __future__ import annotations

import json
import signal
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.frr import program
from smartxd.planes.frr import vtysh as shell
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.saved import Saved
from smartxd.planes.frr.state import FRRState, Neighbor
from smartxd.planes.frr.vtysh import Vtysh
from smartxd.reconcile.plan import Disruption
from tests.frr.conftest import DAEMONS, Book, Instance, until
from tests.frr.frr_states import LAN, WAN, changed
from tests.frr.frr_states import speaker as state_of

pytestmark = pytest.mark.kernel

BY_HAND = """
ip route 203.0.113.0/24 blackhole
ip prefix-list HAND seq 5 permit 10.0.0.0/8 le 24
route-map HAND permit 10
 description said by hand: a route-map HAND in
 match ip address prefix-list HAND
exit
"""


def speaker(number: int, *neighbors: Neighbor) -> FRRState:
    """The state of box 1 or 2 of the pair."""
    router = ObjectRef("BGPRouter", f"box{number}")
    return state_of(65000 + number, f"10.255.0.{number}", f"10.255.0.{number}/32", *neighbors, owner=router)


def session(owner: ObjectRef, address: str, remote_as: int) -> Neighbor:
    return Neighbor(
        owner,
        address,
        0,
        remote_as,
        "to the other box",
        keepalive_s=20,
        hold_s=60,
        connect_retry_s=1,
    )


ONE = speaker(1, session(WAN, "192.0.2.2", 65002), session(LAN, "198.51.100.2", 65002))
TWO = speaker(2, session(WAN, "192.0.2.1", 65001), session(LAN, "198.51.100.1", 65001))


def done(book: Book, state: FRRState) -> None:
    assert [r.problem for r in book.converge(state) if r.problem] == []
    again = book.plan(state)
    assert (again.actions, again.problems) == ((), ())


def peers(box: Instance) -> dict[str, Any]:
    """The sessions of IPv4 unicast by address, as bgpd tells them."""
    found: dict[str, Any] = json.loads(box.vtysh("show bgp ipv4 unicast summary json"))
    return dict(found.get("peers", {}))


def established(box: Instance, *addresses: str) -> bool:
    return all(peers(box).get(a, {}).get("state") == "Established" for a in addresses)


def counts(box: Instance, address: str) -> tuple[int, int]:
    """How often a session came up and went down."""
    peer = json.loads(box.vtysh(f"show bgp neighbors {address} json"))[address]
    return peer["connectionsEstablished"], peer["connectionsDropped"]


def test_two_boxes_converge_to_sessions_that_carry_routes(instances: tuple[Instance, Instance]) -> None:
    one, two = instances
    books = Book(FRRPlane(one.config)), Book(FRRPlane(two.config))
    done(books[0], ONE)
    done(books[1], TWO)
    both = "192.0.2.2", "198.51.100.2"
    until(lambda: established(one, *both))
    until(lambda: all(peers(one)[a]["pfxRcd"] == 1 for a in both))
    until(lambda: "10.255.0.2/32" in one.vtysh("show ip route bgp"))
    assert one.running().split("configuration:\n!\n")[1].removesuffix("end\n") == (
        (one.etc / "frr.conf").read_text()
    ), "what runs is saved"

    # Removing one of two neighbours, and changing the words of the other, does not flap it.
    before = counts(one, "198.51.100.2")
    kept = replace(ONE.neighbors[1], description="other words", keepalive_s=15, hold_s=45)
    fewer = changed(ONE, kept)
    done(books[0], fewer)
    assert counts(one, "198.51.100.2") == before
    assert established(one, "198.51.100.2")

    # A changed AS number flaps, as the plan says, and comes back when both ends agree.
    other = changed(ONE, replace(kept, remote_as=65009))
    (action,) = books[0].plan(other).actions
    assert action.disruption is Disruption.FLAP
    done(books[0], other)
    assert not established(one, "198.51.100.2")
    done(books[0], fewer)
    until(lambda: established(one, "198.51.100.2"))


def test_foreign_configuration_survives_to_the_byte(lone: Instance) -> None:
    lone.configure(BY_HAND)
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    assert all(line in lone.running() for line in BY_HAND.strip().split("\n"))
    done(book, FRRState())
    assert lone.running() == before
    assert not book.owned


def test_a_foreign_speaker_and_neighbor_survive_convergence_and_teardown(lone: Instance) -> None:
    lone.configure(
        BY_HAND
        + "router bgp 65001\n bgp router-id 10.255.0.1\n no bgp default ipv4-unicast\n"
        + " neighbor 192.0.2.2 remote-as 64999\n neighbor 192.0.2.2 description theirs | theirs\n"
        + " neighbor PG peer-group\n neighbor 192.0.2.77 remote-as 65077\n"
        + " neighbor 192.0.2.77 peer-group PG\n"
        + " address-family ipv4 unicast\n  network 10.10.0.0/16 route-map HAND\n"
        + "  neighbor 192.0.2.77 activate\n exit-address-family\nexit\n"
    )
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    results = book.converge(ONE)
    assert [r.problem for r in results if r.problem] == []
    rest = book.plan(ONE)
    assert not rest.actions
    assert {(p.owner, p.reason) for p in rest.problems} == {
        (WAN, "ForeignNeighbor"),
        (WAN, "EBGPRequiresPolicy"),
        (LAN, "EBGPRequiresPolicy"),
    }
    assert "neighbor 198.51.100.2 activate" in lone.running()
    book.converge(FRRState())
    assert lone.running() == before


def test_a_foreign_neighbor_put_into_our_section_survives_teardown(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    lone.configure("router bgp 65001\n neighbor 192.0.2.99 remote-as 65099\nexit\n")
    theirs = [n for n in lone.running().split("\n") if "192.0.2.99" in n]
    done(book, ONE)
    done(book, FRRState())
    assert [n for n in lone.running().split("\n") if "neighbor" in n] == theirs
    assert not book.owned


def test_a_change_by_hand_is_repaired(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    wanted = lone.running()
    lone.configure(
        "router bgp 65001\n bgp router-id 9.9.9.9\n bgp ebgp-requires-policy\n"
        " no neighbor 198.51.100.2\n neighbor 192.0.2.2 shutdown\n neighbor 192.0.2.2 timers connect 77\n"
        " address-family ipv4 unicast\n  no network 10.255.0.1/32\n"
        "  neighbor 192.0.2.2 route-map X in\n exit-address-family\nexit\n"
    )
    assert lone.running() != wanted
    done(book, ONE)
    assert lone.running() == wanted


def test_a_new_as_number_is_reached_in_one_go(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    done(book, state_of(4200000001, "10.255.0.1", "10.255.0.1/32", *ONE.neighbors))
    assert "router bgp 65001\n" not in lone.running()


def test_no_text_can_add_a_line_or_keep_frr_from_converging(lone: Instance) -> None:
    lone.configure(BY_HAND)
    texts = [
        *(
            "x\n!\nno ip prefix-list HAND",
            "x\r\nexit\rno router bgp 65001",
            "!",
            "# x",
            "exit",
            "end",
            "a | b",
        ),
        *(
            "? ?",
            "%s %n %",
            "\\",
            '"',
            "'",
            "<cr>",
            "[x] {y}",
            "é 한국어",
            "\x00\x1b[31m",
            "\u2028no x",
            "\ud800",
        ),
        *("FE80::0001 2001:DB8::1/32 ::", "timers 1 3", "a route-map b in", "bfd 1 2 3", "peer-group PG"),
        *(
            "remote-as 1",
            "password x",
            "no neighbor 192.0.2.1 remote-as",
            "x" * 10_000,
            "ab " * 5_000,
            "é" * 5_000,
        ),
        *("ipv6 add FE80::0001", "interface v6only remote-as 5", "a  b\tc", "-" * 300, "router bgp 65001"),
    ]
    neighbors = tuple(
        Neighbor(ObjectRef("BGPPeer", f"n{n}"), f"198.51.100.{n}", 65001, 65100 + n, text)
        for n, text in enumerate(texts, 1)
    )
    state = changed(ONE, *neighbors)
    book = Book(FRRPlane(lone.config))
    done(book, state)
    inside = [n for n in lone.running().split("\n") if n.startswith(" neighbor")]
    assert len(inside) == 4 * len(texts)
    # Each text again on another neighbour, so that every one of them is also removed and replaced.
    moved = tuple(replace(n, description=texts[i - 1]) for i, n in enumerate(neighbors))
    done(book, changed(ONE, *moved))
    done(book, changed(ONE, *moved[::2]))
    done(book, FRRState())
    assert "router bgp" not in lone.running()
    assert all(line in lone.running() for line in BY_HAND.strip().split("\n"))


def test_a_dead_bgpd_is_told_and_nothing_is_written(lone: Instance) -> None:
    plane = FRRPlane(lone.config)
    book = Book(plane)
    done(book, ONE)
    saved = (lone.etc / "frr.conf").read_text()
    observed = plane.observe()
    lone.kill("bgpd")
    with pytest.raises(PlaneError, match="bgpd does not answer") as err:
        plane.observe()
    assert err.value.reason == "FRRDaemonDown"
    # Died between observing and applying.
    deletion = plane.plan(FRRState(), observed, book.ownership)
    assert deletion.actions
    with pytest.raises(PlaneError, match="bgpd does not answer"):
        list(plane.apply(deletion, observed))
    assert (lone.etc / "frr.conf").read_text() == saved
    lone.start_daemon("bgpd")
    done(book, ONE)
    assert (lone.etc / "frr.conf").read_text() == saved


def test_a_hung_bgpd_is_told_in_time(lone: Instance) -> None:
    calm, hasty = (FRRPlane(lone.config.model_copy(update={"timeout_s": s})) for s in (60, 1))
    observed = calm.observe()
    plan = calm.plan(ONE, observed, Book(calm).ownership)
    lone.kill("bgpd", signal.SIGSTOP, wait=False)
    with pytest.raises(PlaneError, match="bgpd does not answer") as err:
        hasty.observe()
    assert err.value.reason == "FRRDaemonDown"
    with pytest.raises(PlaneError, match="bgpd does not answer"):
        list(hasty.apply(plan, observed))
    lone.kill("bgpd", signal.SIGCONT, wait=False)
    assert "router bgp" not in lone.running()


def test_a_bgpd_that_is_busy_for_seconds_is_waited_for(
    lone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is to be written nor a look at what runs says that it is down."""
    plane = FRRPlane(lone.config)
    book = Book(plane)
    observed = plane.observe()
    plan = plane.plan(ONE, observed, book.ownership)
    monkeypatch.setattr(shell, "OBSERVE_TIMEOUT_S", 1.0)
    for work in (lambda: list(plane.apply(plan, observed)), plane.observe):
        lone.kill("bgpd", signal.SIGSTOP, wait=False)
        waker = threading.Timer(3.0, lone.kill, ("bgpd", signal.SIGCONT), {"wait": False})
        waker.start()
        try:
            work()
        finally:
            waker.join(60)
    assert "neighbor 192.0.2.2 description" in (lone.etc / "frr.conf").read_text()


def test_a_daemon_too_busy_to_say_what_runs_is_not_taken_for_unchanged(
    lone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    words = shell.Vtysh.words
    monkeypatch.setattr(
        shell.Vtysh, "words", lambda self: {k: v for k, v in words(self).items() if k != "bgpd"}
    )
    done(book, ONE)
    lone.configure("router bgp 65001\n no neighbor 192.0.2.2\nexit\n")
    assert [action.id for action in book.plan(ONE).actions] == ["neighbor 192.0.2.2"]
    lone.kill("bgpd")
    with pytest.raises(PlaneError, match="bgpd does not answer"):
        book.plan(ONE)


def test_a_dead_staticd_does_not_lose_its_routes(lone: Instance) -> None:
    lone.configure(BY_HAND)
    lone.vtysh("write memory")
    saved = (lone.etc / "frr.conf").read_text()
    lone.kill("staticd")
    book = Book(FRRPlane(lone.config))
    problems = {r.problem.reason: r.problem.message for r in book.converge(ONE) if r.problem}
    assert list(problems) == ["FRRNotSaved"]
    assert "staticd" in problems["FRRNotSaved"]
    assert (lone.etc / "frr.conf").read_text() == saved
    # It is said for as long as it is so, and saved as soon as that can be done.
    again = book.plan(ONE)
    assert again.actions == ()
    assert {(p.owner, p.reason, p.permanent) for p in again.problems} == {
        (o.owner, "FRRNotSaved", False) for o in ONE.objects()
    }
    lone.start_daemon("staticd")
    lone.configure(BY_HAND)
    assert book.plan(ONE).problems == ()
    now = (lone.etc / "frr.conf").read_text()
    assert "neighbor 192.0.2.2 description smartxd:BGPPeer/wan" in now
    assert "ip route 203.0.113.0/24 blackhole" in now


def test_a_session_that_is_gone_and_could_not_be_saved_does_not_come_back_for_good(lone: Instance) -> None:
    """FRR brings it back when it starts anew, and smartxd still knows that it is its own."""
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    lone.kill("staticd")
    fewer = changed(ONE, ONE.neighbors[1])
    assert {r.problem.reason for r in book.converge(fewer) if r.problem} == {"FRRNotSaved"}
    assert "neighbor 192.0.2.2" not in lone.running()
    assert "neighbor 192.0.2.2" in (lone.etc / "frr.conf").read_text()
    for daemon in ("zebra", "bgpd"):
        lone.kill(daemon)
    for daemon in DAEMONS:
        lone.start_daemon(daemon)
    lone.vtysh_boot()
    assert "neighbor 192.0.2.2" in lone.running()
    again = Book(FRRPlane(lone.config), book.owned)
    done(again, fewer)
    for text in (lone.running(), (lone.etc / "frr.conf").read_text()):
        assert "neighbor 192.0.2.2" not in text
    assert "neighbor 192.0.2.2" not in {o.id for o in again.owned}


def test_a_lost_inventory_is_regained_and_nothing_is_written(lone: Instance) -> None:
    lone.configure(BY_HAND)
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    running, file = lone.running(), (lone.etc / "frr.conf").stat().st_mtime_ns
    book.owned = frozenset()
    assert {a.owned for a in book.plan(ONE).actions} == ONE.objects()
    done(book, ONE)
    assert (lone.running(), (lone.etc / "frr.conf").stat().st_mtime_ns) == (running, file)
    assert book.owned == ONE.objects()
    done(book, FRRState())
    assert lone.running() == before


def test_what_frr_does_not_take_on_stops_after_two_rounds(
    lone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def deaf(_: Vtysh, path: Path) -> program.Output:
        tries.append(path.read_text())
        assert path.stat().st_mode & 0o077 == 0
        return program.Output(0, "")

    monkeypatch.setattr(Vtysh, "file", deaf)
    problems = [r.problem for r in Book(FRRPlane(lone.config)).converge(ONE)]
    assert len(tries) == 2
    assert {p.reason for p in problems if p} == {"NotConverged"}
    assert all(p and p.permanent for p in problems)
    message = next(p.message for p in problems if p and p.owner == WAN)
    assert "+neighbor 192.0.2.2 remote-as 65002" in message


@pytest.mark.parametrize("profile", ["datacenter"])
def test_other_defaults_converge_too(bare: Instance, profile: str) -> None:
    bare.start(profile)
    before = bare.running()
    book = Book(FRRPlane(bare.config))
    done(book, ONE)
    assert f"frr defaults {profile}" in bare.running()
    done(book, FRRState())
    assert bare.running() == before


def test_nothing_is_left_in_the_temporary_folder(
    lone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done(Book(FRRPlane(lone.config)), ONE)
    assert list(tmp_path.iterdir()) == []


def test_no_change_is_found_without_starting_a_program(
    lone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    started: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(program.subprocess, "Popen", lambda argv, **_: started.append(argv))
        book.converge(ONE)
    assert not started
    lone.configure("router bgp 65001\n neighbor 192.0.2.2 shutdown\nexit\n")
    assert [action.id for action in book.plan(ONE).actions] == ["neighbor 192.0.2.2"]


def test_without_frr_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    plane = FRRPlane(FRRConfig())
    with pytest.raises(PlaneError) as err:
        plane.observe()
    assert err.value.reason == "FRRMissing"
    assert "apt install frr frr-pythontools" in err.value.hint


def test_no_daemon_at_all_is_a_dead_one(bare: Instance) -> None:
    bare.start(daemons=())
    with pytest.raises(PlaneError, match="bgpd and zebra do not answer"):
        FRRPlane(bare.config).observe()


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {pid_file}; wait"
    process = program.start(["sh", "-c", script])
    until(lambda: pid_file.exists() and bool(pid_file.read_text()))
    with pytest.raises(program.Timeout):
        program.finish("sh", process, 0.1)
    child = Path("/proc", pid_file.read_text().strip(), "stat")
    until(lambda: not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z")


def test_what_a_life_before_did_not_come_to_save_is_saved(
    lone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    fewer = changed(ONE, ONE.neighbors[0])
    observed = book.plane.observe()
    plan = book.plane.plan(fewer, observed, book.ownership)
    with monkeypatch.context() as patch:
        patch.setattr(Saved, "catch_up", lambda _: None)  # as one that is killed before it saves
        list(book.plane.apply(plan, observed))
    assert "198.51.100.2" not in lone.running()
    assert "198.51.100.2" in (lone.etc / "frr.conf").read_text()
    after = Book(FRRPlane(lone.config), book.owned)
    done(after, fewer)
    assert "198.51.100.2" not in (lone.etc / "frr.conf").read_text()
    assert not after.plane.has_leftovers()
