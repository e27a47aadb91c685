"""What nobody should ask of FRR, and an FRR that is not as it should be: named, and nothing half done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import (
    ASPathEntry,
    ASPathList,
    FRRState,
    Neighbor,
    NeighborFamily,
    Policy,
    PrefixEntry,
    PrefixList,
    RouteMap,
    RouteMapEntry,
)
from tests.frr.conftest import Book, Instance, vtysh_that
from tests.frr.frr_states import WAN, beside, speaker

pytestmark = pytest.mark.kernel

BY_HAND = """ip route 203.0.113.0/24 blackhole
ip prefix-list HAND seq 5 permit 10.0.0.0/8 le 24
route-map HAND permit 10
 description said by hand
exit
"""
TEXTS = (
    *("x\n!\nno ip prefix-list HAND", "x\r\nexit\rno router bgp 65001", "!", "# x", "exit", "end", "a | b"),
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
    *(
        "FE80::0001 2001:DB8::1/32 ::",
        "x" * 10_000,
        "ab " * 5_000,
        "é" * 5_000,
        "-" * 300,
        "router bgp 65001",
    ),
    *("message x", "description x", "permit 10", "", " ", "\t\n", "exit-address-family", "no description"),
)
ONE = speaker(65001, "10.255.0.1", Neighbor(WAN, "192.0.2.2", 65001, 65002))
LONGEST = "x" * 63


def done(book: Book, state: FRRState) -> None:
    assert [r.problem for r in book.converge(state) if r.problem] == []
    again = book.plan(state)
    assert (again.actions, again.problems) == ((), ())


def said(text: str, number: int) -> tuple[RouteMap, Neighbor]:
    """A map and a session that say a text wherever they can."""
    entry = RouteMapEntry(10, "permit", description=text)
    peer = ObjectRef("BGPPeer", f"n{number}")
    return (
        RouteMap(ObjectRef("RouteMap", f"m{number}"), f"m{number}", (entry,)),
        Neighbor(peer, f"198.51.100.{number}", 65001, 65100 + number, description=text, shutdown=text),
    )


def test_no_text_says_more_than_itself_wherever_it_stands(lone: Instance) -> None:
    lone.configure(BY_HAND)
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    for texts in (TEXTS, TEXTS[::-1], TEXTS[3:12]):
        pairs = [said(text, number) for number, text in enumerate(texts, 1)]
        maps, sessions = [m for m, _ in pairs], [n for _, n in pairs]
        done(book, beside(speaker(65001, "10.255.0.1", *sessions), *maps))
        running = lone.running()
        assert running.count("route-map m") == len(texts)
        assert running.count("remote-as") == len(texts)
        assert running.count(" shutdown") == len(texts)
        assert all(line in running for line in BY_HAND.splitlines())
    done(book, FRRState())
    assert lone.running() == before


def test_the_longest_names_are_taken(lone: Instance) -> None:
    def owner(kind: str) -> ObjectRef:
        return ObjectRef(kind, LONGEST)

    entries = (RouteMapEntry(65535, "permit", description="é" * 200),)
    session = Neighbor(
        *(owner("BGPPeer"), "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 65001, 0xFFFFFFFE),
        description="é" * 200,
        shutdown="é" * 200,
        families=(NeighborFamily("ipv4", inbound=Policy(LONGEST, LONGEST, LONGEST)),),
    )
    parts = (
        PrefixList(owner("PrefixList"), LONGEST, "ipv4", (PrefixEntry(0xFFFFFFFF, "permit", "10.0.0.0/8"),)),
        ASPathList(owner("ASPathList"), LONGEST, (ASPathEntry(0xFFFFFFFF, "permit", "1" * 200),)),
        RouteMap(owner("RouteMap"), LONGEST, entries),
    )
    state = beside(speaker(65001, "10.255.0.1", session, owner=owner("BGPRouter")), *parts)
    before, book = lone.running(), Book(FRRPlane(lone.config))
    done(book, state)
    assert lone.running().count(LONGEST) > 6
    done(book, FRRState())
    assert lone.running() == before


@pytest.mark.parametrize("regex", ["(?:65001)", "65001{2,1}", "[b-a]", "(?i)x"])
def test_an_expression_that_only_python_takes_is_named_and_nothing_else_suffers(
    lone: Instance, regex: str
) -> None:
    owner = ObjectRef("ASPathList", "wrong")
    wrong = ASPathList(
        owner, "wrong", (ASPathEntry(5, "permit", "^65001_"), ASPathEntry(10, "permit", regex))
    )
    right = replace(wrong, owner=ObjectRef("ASPathList", "right"), name="right", entries=wrong.entries[:1])
    lone.configure(BY_HAND)
    results = Book(FRRPlane(lone.config)).converge(beside(ONE, right, wrong))
    (problem,) = (r.problem for r in results if r.problem)
    assert (problem.owner, problem.reason, problem.permanent) == (owner, "FRRRefused", True)
    running = lone.running()
    assert "access-list right seq 5" in running
    assert "access-list wrong" not in running
    assert "neighbor 192.0.2.2" in running
    assert all(line in running for line in BY_HAND.splitlines())


def test_a_vtysh_that_is_slow_is_waited_for(
    lone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vtysh_that(tmp_path, monkeypatch, 'sleep 0.3; exec /usr/bin/vtysh "$@"')
    done(Book(FRRPlane(lone.config)), ONE)


def test_a_vtysh_that_is_too_slow_is_told_and_nothing_is_written(
    lone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone.configure(BY_HAND)
    config = lone.config.model_copy(update={"timeout_s": 5})
    before, book = lone.running(), Book(FRRPlane(config))
    observed = book.plane.observe()
    plan = book.plane.plan(ONE, observed, book.ownership)
    vtysh_that(tmp_path, monkeypatch, 'sleep 30; exec /usr/bin/vtysh "$@"')
    fresh = FRRPlane(config)
    for attempt in (fresh.observe, lambda: list(book.plane.apply(plan, observed))):
        with pytest.raises(PlaneError) as caught:
            attempt()
        assert caught.value.reason == "FRRDaemonDown"
        assert "\n" not in caught.value.message
    monkeypatch.undo()
    assert lone.running() == before


@pytest.mark.parametrize("version", ["8.1", "10.3.1"])
def test_another_frr_is_not_driven_unless_it_is_accepted(
    lone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """That of the test says that it is another one: what those print differently no test here knows."""
    lone.configure(BY_HAND)
    before = lone.running()
    script = f'/usr/bin/vtysh "$@" | sed "s/^frr version .*/frr version {version}/"'
    vtysh_that(tmp_path, monkeypatch, script)
    with pytest.raises(PlaneError) as caught:
        FRRPlane(lone.config).observe()
    assert caught.value.reason == "FRRUntested"
    assert version in caught.value.message
    assert "accept" in caught.value.hint
    assert [line for line in lone.running().split("\n") if "frr version" not in line] == [
        line for line in before.split("\n") if "frr version" not in line
    ]
    accepted = lone.config.model_copy(update={"accept": (".".join(version.split(".")[:2]),)})
    done(Book(FRRPlane(accepted)), ONE)
