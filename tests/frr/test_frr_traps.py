"""The traps of frr-reload.py: each is shown to bite it alone where it can be, and to catch nothing of ours.

One is not here: FRR 10.6, whose bgpd dies of a VXLAN link that comes before its EVPN instance (#22851), does
not run on this machine.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.frr.delta import parse
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.running import parse_running
from smartxd.planes.frr.state import (
    FRRState,
    Neighbor,
    NeighborFamily,
    Policy,
    PrefixEntry,
    PrefixList,
    RouteMap,
    RouteMapEntry,
    Set,
)
from smartxd.reconcile.planned import report
from tests.frr.conftest import DAEMONS, Book, Instance, until, vtysh_that
from tests.frr.frr_reload import Reload
from tests.frr.frr_states import IPV4, LAN, SECTION, WAN, beside, changed, speaker

pytestmark = pytest.mark.kernel

DEFAULTS = "frr defaults traditional\n"
OPEN = """router bgp 65001
 bgp router-id 10.255.0.1
 no bgp ebgp-requires-policy
 neighbor 192.0.2.2 remote-as 65002
"""
SPEAKER = OPEN + "exit\n"
ONE = speaker(65001, "10.255.0.1", Neighbor(WAN, "192.0.2.2", 65001, 65002))
SECRET = "correct-horse-battery"


@pytest.fixture
def frr_reload(lone: Instance, tmp_path: Path) -> Reload:
    logs = tmp_path / "logs"
    logs.mkdir()
    return Reload(lone, logs)


def done(book: Book, state: FRRState) -> None:
    assert [r.problem for r in book.converge(state) if r.problem] == []
    again = book.plan(state)
    assert (again.actions, again.problems) == ((), ())


def prefixes(name: str, *entries: PrefixEntry) -> PrefixList:
    return PrefixList(ObjectRef("PrefixList", name), name, "ipv4", entries)


def test_1_done_means_that_it_runs(lone: Instance, frr_reload: Reload) -> None:
    """One section that goes makes frr-reload leave out what goes of another one, and end with 0."""
    red = "router bgp 65001 vrf RED\n neighbor 192.0.2.3 remote-as 65003\nexit\n"
    blue = "router bgp 65001 vrf BLUE\n neighbor 192.0.2.4 remote-as 65004\n"
    family = " address-family ipv4 unicast\n  network 10.0.0.0/8\n exit-address-family\n"
    lone.configure(SPEAKER + red + blue + family + "exit\n")
    assert frr_reload(f"{DEFAULTS}{SPEAKER}{blue}exit\n").returncode == 0
    assert "vrf RED" not in lone.running()
    assert "network 10.0.0.0/8" in lone.running(), "frr-reload removes it by now"

    # The same by the plane, in the section that is its own, amid all that goes.
    lone.configure(f"no {SPEAKER.splitlines()[0]}\n")
    lone.vtysh("write memory")
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    done(
        book,
        beside(
            speaker(65001, "10.255.0.1", *ONE.neighbors, "10.1.0.0/16"),
            prefixes("a", PrefixEntry(5, "permit", "10.0.0.0/8")),
        ),
    )
    assert "network 10.1.0.0/16" in lone.running()
    done(book, ONE)
    assert "network 10.1.0.0/16" not in lone.running()
    assert "prefix-list" not in lone.running()
    done(book, FRRState())
    assert lone.running() == before


def test_2_a_dead_bgpd_is_an_error_and_keeps_its_saved_configuration(
    lone: Instance, frr_reload: Reload
) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    saved = (lone.etc / "frr.conf").read_text()
    assert "neighbor 192.0.2.2" in saved
    lone.kill("bgpd")
    with pytest.raises(PlaneError) as caught:
        book.converge(ONE)
    assert caught.value.reason == "FRRDaemonDown"
    assert (lone.etc / "frr.conf").read_text() == saved
    assert frr_reload(f"{DEFAULTS}{OPEN} neighbor 192.0.2.9 remote-as 65009\nexit\n").returncode == 0
    lone.vtysh("write memory")
    assert "router bgp" not in (lone.etc / "frr.conf").read_text()
    lone.start_daemon("bgpd")
    done(book, ONE)
    assert "neighbor 192.0.2.2" in (lone.etc / "frr.conf").read_text()


def test_2_a_bgpd_that_dies_while_it_is_saved_keeps_its_saved_configuration(
    lone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    file, lost = lone.etc / "frr.conf", tmp_path / "lost.conf"
    saved = file.read_text()
    more = changed(ONE, *ONE.neighbors, Neighbor(LAN, "198.51.100.2", 65001, 65003))
    script = f"""
case "$*" in *"write memory"*) ;; *) exec /usr/bin/vtysh "$@" ;; esac
kill -9 $(cat {lone.run_dir}/bgpd.pid); sleep 0.1
/usr/bin/vtysh "$@"
cp {file} {lost}
"""
    with monkeypatch.context() as patch:
        vtysh_that(tmp_path, patch, script)
        with pytest.raises(PlaneError, match="bgpd does not answer"):
            book.converge(more)
    assert "router bgp" not in lost.read_text()
    assert file.read_text() == saved
    lone.start_daemon("bgpd")
    lone.vtysh_boot()
    done(book, more)
    assert "198.51.100.2" in file.read_text()


def test_3_a_hung_bgpd_holds_nothing_up(lone: Instance, frr_reload: Reload) -> None:
    """frr-reload waits for ever; here the test ends it, after longer than the plane needs to give up."""
    plane = FRRPlane(lone.config.model_copy(update={"timeout_s": 1}))
    lone.kill("bgpd", signal.SIGSTOP, wait=False)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            frr_reload(DEFAULTS + SPEAKER, timeout_s=4)
        with pytest.raises(PlaneError, match="bgpd does not answer"):
            plane.observe()
    finally:
        lone.kill("bgpd", signal.SIGCONT, wait=False)
    assert "router bgp" not in lone.running()


def test_4_nothing_asked_for_is_nothing_removed(lone: Instance, frr_reload: Reload) -> None:
    by_hand = "ip route 203.0.113.0/24 blackhole\n" + SPEAKER
    lone.configure(by_hand)
    assert frr_reload("! all of it will come later\n").returncode == 0
    assert "router bgp" not in lone.running()
    assert "ip route" not in lone.running()

    lone.configure(by_hand)
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    assert book.plan(FRRState()).actions == ()
    done(book, FRRState())
    assert lone.running() == before


def test_5_a_bad_line_is_undone_with_its_object_and_named(lone: Instance, frr_reload: Reload) -> None:
    bad = "route-map m permit 10\n set metric 7\n set community 65001:99999\nexit\n"
    lists = ("ip prefix-list a seq 5 permit 10.0.0.0/8\n", "ip prefix-list b seq 5 permit 10.0.0.0/8\n")
    assert frr_reload(DEFAULTS + lists[0] + bad + lists[1]).returncode == 1
    assert "route-map m permit 10" in lone.running(), "half of the map"
    lone.configure("no route-map m\nno ip prefix-list a\nno ip prefix-list b\n")

    owner = ObjectRef("RouteMap", "m")
    wrong = RouteMap(
        owner, "m", (RouteMapEntry(10, "permit", set=Set(metric=7, communities=("65001:99999",))),)
    )
    entry = PrefixEntry(5, "permit", "10.0.0.0/8")
    state = FRRState((prefixes("a", entry), wrong, prefixes("b", entry)))
    (problem,) = (r.problem for r in Book(FRRPlane(lone.config)).converge(state) if r.problem)
    assert (problem.owner, problem.reason, problem.permanent) == (owner, "FRRRefused", True)
    assert "65001:99999" in problem.message
    assert "route-map m" not in lone.running()
    assert all(f"ip prefix-list {name} seq 5" in lone.running() for name in "ab")


def test_6_a_plan_tells_no_change_from_some_and_from_what_cannot_be(
    lone: Instance, frr_reload: Reload
) -> None:
    """frr-reload --test ends with 0 when there is a difference, and prints removals for half a file."""
    lone.configure("ip prefix-list HAND seq 5 permit 10.0.0.0/8\n")
    differs = frr_reload(DEFAULTS, "--test")
    assert (differs.returncode, "no ip prefix-list HAND" in differs.stdout) == (0, True)
    bad = frr_reload(f"{DEFAULTS}nonsense\nip prefix-list HAND seq 5 permit 10.0.0.0/8\n", "--test")
    assert (bad.returncode, "no ip prefix-list HAND" in bad.stdout) == (1, True)

    before = lone.running()
    book = Book(FRRPlane(lone.config))
    assert book.plan(FRRState()).actions == ()
    assert [a.id for a in book.plan(ONE).actions] == ["router bgp 65001", "neighbor 192.0.2.2"]
    wrong = changed(ONE, Neighbor(WAN, "192.0.2.2", 65001, 0))
    assert {r.problem.reason for r in book.converge(wrong) if r.problem} == {"FRRRefused"}
    done(book, FRRState())
    assert lone.running() == before


def test_7_what_is_frrs_default_is_no_difference(lone: Instance, frr_reload: Reload) -> None:
    target = f"{DEFAULTS}{OPEN} neighbor 192.0.2.2 port 179\nexit\n"
    assert frr_reload(target).returncode == 0
    assert "neighbor 192.0.2.2 port 179" in frr_reload(target, "--test").stdout, "and so for ever"
    lone.configure("no router bgp 65001\n")

    # Each of these values is a default of FRR 8.4 in one profile or the other.
    plain = Neighbor(
        WAN,
        "192.0.2.2",
        65001,
        65002,
        keepalive_s=60,
        hold_s=180,
        connect_retry_s=120,
        advertisement_interval_s=0,
    )
    fast = Neighbor(LAN, "192.0.2.3", 65001, 65002, keepalive_s=3, hold_s=9, connect_retry_s=10)
    done(Book(FRRPlane(lone.config)), speaker(65001, "10.255.0.1", plain, fast))


def stats(box: Instance, address: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(box.vtysh(f"show bgp neighbors {address} json"))[address]
    return found


def heard(box: Instance) -> int:
    """How many updates 192.0.2.1 has sent, less the one of each session that says that it was the last."""
    told = stats(box, "192.0.2.1")
    messages, sessions = told["messageStats"], told["connectionsEstablished"]
    assert isinstance(messages, dict)
    assert isinstance(sessions, int)
    return int(messages["updatesRecv"]) - sessions


def test_8_a_changed_policy_leaks_nothing_on_its_way(
    instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """frr-reload takes the old list away, and a while later sets the new one: until then all routes pass."""
    one, two = instances
    two.configure(
        "router bgp 65002\n no bgp ebgp-requires-policy\n neighbor 192.0.2.1 remote-as 65001\n"
        " neighbor 192.0.2.1 timers connect 1\nexit\n"
    )
    marker = PrefixEntry(5, "permit", "10.99.0.0/16")
    lists = (
        prefixes("first", marker),
        prefixes("second", marker, PrefixEntry(10, "deny", "10.0.0.0/8", le=32)),
    )

    def filtered(name: str) -> FRRState:
        family = NeighborFamily("ipv4", outbound=Policy(prefix_list=name))
        session = Neighbor(WAN, "192.0.2.2", 65001, 65002, connect_retry_s=1, families=(family,))
        return beside(speaker(65001, "10.255.0.1", session, "10.255.0.1/32", "10.99.0.0/16"), *lists)

    book = Book(FRRPlane(one.config))
    done(book, filtered("first"))
    until(lambda: stats(two, "192.0.2.1")["bgpState"] == "Established" and heard(two) == 0)
    for name in ("second", "first", "second"):
        done(book, filtered(name))
    # Updates come in order: with this one all are there that were to come before.
    one.configure("ip route 10.99.0.0/16 blackhole\n")
    until(lambda: "10.99.0.0/16" in two.vtysh("show bgp ipv4 unicast json"))
    assert heard(two) == 1

    # frr-reload first takes away what is there, and a while later sets the new.
    text = parse_running(one.running()).text
    change = parse(Reload(one, tmp_path)(text.replace("second out", "first out"), "--test").stdout)
    assert (SECTION, IPV4, "neighbor 192.0.2.2 prefix-list second out") in change.deletions
    assert (SECTION, IPV4, "neighbor 192.0.2.2 prefix-list first out") in change.additions


def test_9_no_deletion_is_shortened_until_something_goes(lone: Instance, frr_reload: Reload) -> None:
    """frr-reload cuts words off a deletion that FRR refuses, until FRR takes what is left of it.

    Nothing was found that goes wrong by it in 8.4; the plane knows beforehand what FRR takes.
    """
    owner, many = ObjectRef("RouteMap", "m"), tuple(range(65001, 65017))
    longest = RouteMapEntry(10, "permit", set=Set(metric=7, as_path_prepend=many), on_match=20)
    last = RouteMapEntry(20, "permit")
    state = FRRState((RouteMap(owner, "m", (longest, last)),))
    book = Book(FRRPlane(lone.config))
    done(book, state)
    text = parse_running(lone.running()).text
    gone = (" on-match goto 20", " set as-path prepend " + " ".join(map(str, many)))
    assert all(line in text for line in gone)
    assert frr_reload("\n".join(line for line in text.split("\n") if line not in gone)).returncode == 0
    log = frr_reload.log.read_text()
    assert 'no on-match goto"' in log
    assert "no on-match goto 20" in log

    done(book, state)
    done(book, FRRState((RouteMap(owner, "m", (RouteMapEntry(10, "permit", set=Set(metric=7)), last)),)))
    assert "set metric 7" in lone.running()
    assert not any(line in lone.running() for line in gone)


def test_10_what_is_not_ours_stays(lone: Instance, frr_reload: Reload) -> None:
    by_hand = "ip route 203.0.113.0/24 blackhole\nip prefix-list HAND seq 5 permit 10.0.0.0/8\n"
    lone.configure(by_hand)
    assert frr_reload(DEFAULTS + SPEAKER).returncode == 0
    assert not any(line in lone.running() for line in by_hand.splitlines())
    lone.configure(by_hand + "no router bgp 65001\n")
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    done(book, ONE)
    assert all(line in lone.running() for line in by_hand.splitlines())
    done(book, FRRState())
    assert lone.running() == before


def files_with(text: str, *folders: Path) -> Iterator[Path]:
    """The files in the folders that hold a text."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes():
                yield path


def test_11_a_password_is_in_no_log_and_no_file_that_others_can_read(
    lone: Instance,
    frr_reload: Reload,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = f" neighbor 192.0.2.2 password {SECRET}\n"
    assert frr_reload(f"{DEFAULTS}{OPEN}{line}exit\n").returncode == 0
    assert list(files_with(SECRET, frr_reload.logs)) == [frr_reload.log]
    assert frr_reload.log.stat().st_mode & 0o777 == 0o644
    frr_reload.log.unlink()
    (lone.etc / "target.conf").unlink()
    lone.configure("no router bgp 65001\n")

    caplog.set_level(logging.DEBUG)
    scratch, folder = tmp_path / "scratch", tmp_path / "secrets"
    for made in (scratch, folder):
        made.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    (folder / "koren").write_text(SECRET)
    (folder / "koren").chmod(0o600)
    lone.configure(f"log file {lone.run_dir}/frr.log debugging\n")
    book = Book(FRRPlane(lone.config, folder))
    state = changed(ONE, Neighbor(WAN, "192.0.2.2", 65001, 65002, secret="koren"))
    plan = book.plan(state)
    done(book, state)
    assert f"password {SECRET}" in lone.running()
    assert SECRET not in report("box", (plan,), basis="observed").model_dump_json()
    assert SECRET not in caplog.text + repr(plan) + repr(book.plane.observe())
    places = (tmp_path, lone.run_dir, lone.etc)
    holders = {path for path in files_with(SECRET, *places) if path.name != "koren"}
    assert all(path.parent == lone.etc and path.name.startswith("frr.conf") for path in holders)
    assert all(path.stat().st_mode & 0o007 == 0 for path in holders)


def test_12_the_service_is_never_reloaded(lone: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """``systemctl reload frr`` with a bad file stops FRR (#13888): nobody is asked for that or a restart."""
    started: list[list[str]] = []
    real = subprocess.Popen.__init__

    def noting(self: subprocess.Popen[bytes], argv: list[str], *args: object, **more: object) -> None:
        started.append([str(word) for word in argv])
        real(self, argv, *args, **more)  # type: ignore[call-overload]

    book = Book(FRRPlane(lone.config))
    pids = {daemon: lone.pid(daemon) for daemon in DAEMONS}
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", noting)
        done(book, ONE)
        refused = changed(ONE, Neighbor(WAN, "192.0.2.2", 65001, 0))
        assert [r.problem.reason for r in book.converge(refused) if r.problem] == ["FRRRefused"]
        done(book, FRRState())
    words = {Path(word).name for argv in started for word in argv}
    assert {"vtysh", "frr-reload.py"} <= words
    assert not words & {"systemctl", "service", "frrinit.sh", "watchfrr", "watchfrr.sh", "--reload"}
    assert {daemon: lone.pid(daemon) for daemon in DAEMONS} == pids
