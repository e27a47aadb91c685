"""What FRR does not take is undone, named, and keeps nothing else from converging."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import (
    CommunityEntry,
    CommunityList,
    FRRState,
    Match,
    Neighbor,
    NeighborFamily,
    Policy,
    RouteMap,
    RouteMapEntry,
    Set,
)
from tests.frr.conftest import Book, Instance
from tests.frr.frr_states import LAN, WAN, beside, changed, speaker

pytestmark = pytest.mark.kernel

MAP, LIST = ObjectRef("RouteMap", "m"), ObjectRef("CommunityList", "c")
GOOD = RouteMap(MAP, "m", (RouteMapEntry(10, "permit", set=Set(metric=5)),))
# A grammar that frr-reload knows, and a value that bgpd does not take.
WRONG = RouteMap(MAP, "m", (RouteMapEntry(10, "permit", set=Set(metric=7, communities=("65001:99999",))),))
MAPPED = NeighborFamily("ipv4", inbound=Policy("m"))
ONE = speaker(
    65001,
    "10.255.0.1",
    Neighbor(WAN, "192.0.2.2", 65001, 65002, families=(MAPPED,)),
    Neighbor(LAN, "198.51.100.2", 65001, 65003),
)

ONE_BARE = changed(ONE, *(replace(n, families=(NeighborFamily("ipv4"),)) for n in ONE.neighbors))


def problems(book: Book, state: FRRState) -> dict[str, str]:
    return {str(r.action.id): r.problem.reason for r in book.converge(state) if r.problem}


def test_a_refused_line_is_named_and_the_rest_is_done(lone: Instance) -> None:
    wrong = Neighbor(LAN, "198.51.100.2", 65001, 0)
    results = Book(FRRPlane(lone.config)).converge(changed(beside(ONE, GOOD), ONE.neighbors[0], wrong))
    (problem,) = {r.problem for r in results if r.problem}
    assert (problem.owner, problem.reason, problem.permanent) == (LAN, "FRRRefused", True)
    assert problem.message.startswith("FRR refused 'neighbor 198.51.100.2 remote-as 0': Unknown command")
    assert "neighbor 192.0.2.2 route-map m in" in lone.running()
    assert "198.51.100.2" not in lone.running()


def test_what_was_half_written_when_frr_refused_is_undone_and_what_names_it_waits(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    assert problems(book, beside(ONE, WRONG)) == {
        "route-map m": "FRRRefused",
        "neighbor 192.0.2.2": "DependencyFailed",
    }
    running = lone.running()
    assert "route-map" not in running
    assert "192.0.2.2" not in running
    assert "neighbor 198.51.100.2 remote-as 65003" in running


def test_a_change_that_frr_refuses_leaves_what_was_there_before(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    assert not problems(book, beside(ONE, GOOD))
    before = lone.running()
    assert problems(book, beside(ONE, WRONG)) == {"route-map m": "FRRRefused"}
    assert lone.running() == before
    assert not problems(book, beside(ONE, GOOD))


def test_lists_in_use_follow_their_maps_both_ways(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    standard = CommunityList(LIST, "c", "standard", (CommunityEntry(10, "permit", ("65001:1",)),))
    regex = CommunityList(LIST, "c", "standard", (CommunityEntry(10, "permit", regex="^65001:"),))
    uses = RouteMap(MAP, "m", (RouteMapEntry(10, "permit", match=Match(community_list="c")),))
    for parts in ((standard, uses), (regex, uses), (GOOD,), (standard, uses)):
        state = beside(ONE, *parts)
        assert not problems(book, state)
        assert not book.plan(state).actions
    assert not problems(book, FRRState())
    assert "router bgp" not in lone.running()


def test_a_foreign_map_of_the_same_name_is_left_alone_and_no_session_uses_it(lone: Instance) -> None:
    lone.configure("route-map m permit 10\n set metric 99\nexit\n")
    before = lone.running()
    book = Book(FRRPlane(lone.config))
    state = beside(ONE, GOOD)
    assert not problems(book, state)
    found = {(p.owner, p.reason) for p in book.plan(state).problems}
    assert found == {(MAP, "ForeignObject"), (WAN, "DependencyFailed")}
    assert "192.0.2.2" not in lone.running()
    assert "198.51.100.2" in lone.running()
    # By annotation what is just as wanted may be taken over, and only that.
    assert not problems(book, replace(state, adopt=frozenset({MAP})))
    assert "set metric 99" in lone.running()
    assert not problems(book, FRRState())
    assert lone.running() == before


def test_of_maps_that_are_written_together_the_refused_one_is_found(lone: Instance) -> None:
    def named(name: str, **given: Any) -> RouteMap:
        entries = (
            RouteMapEntry(10, "permit", set=Set(metric=5)),
            RouteMapEntry(20, "permit", set=Set(**given)),
        )
        return RouteMap(ObjectRef("RouteMap", name), name, entries)

    # Taken by FRR's grammar, and refused as a whole with all that is written at once.
    maps = (named("a"), named("b", next_hop="240.0.0.1"), named("c"))
    book = Book(FRRPlane(lone.config))
    assert problems(book, beside(ONE, GOOD, *maps)) == {"route-map b": "FRRRefused"}
    running = lone.running()
    assert [name for name in "abc" if f"route-map {name} permit 20" in running] == ["a", "c"]
    assert "route-map b" not in running
    assert "neighbor 192.0.2.2 route-map m in" in running


def test_a_daemon_that_has_not_loaded_its_configuration_yet_loses_nothing(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    assert not problems(book, ONE_BARE)
    lone.configure("router bgp 65001\n neighbor 203.0.113.99 remote-as 64999\nexit\n")
    lone.vtysh("write memory")
    saved, before = (lone.etc / "frr.conf").read_text(), lone.running()
    lone.kill("bgpd")
    lone.start_daemon("bgpd")
    with pytest.raises(PlaneError) as caught:
        book.plan(ONE_BARE)
    assert caught.value.reason == "FRRNotLoaded"
    assert (lone.etc / "frr.conf").read_text() == saved
    # Another smartxd, which has not seen the daemon before, knows no better.
    with pytest.raises(PlaneError, match="has not loaded all of"):
        Book(FRRPlane(lone.config), book.owned).plan(ONE_BARE)
    lone.vtysh_boot()
    assert not book.plan(ONE_BARE).actions
    assert lone.running() == before
    # What nobody else has anything in is made again at once.
    lone.configure("router bgp 65001\n no neighbor 203.0.113.99\nexit\n")
    lone.vtysh("write memory")
    lone.kill("bgpd")
    lone.start_daemon("bgpd")
    assert not problems(book, ONE_BARE)
    assert "neighbor 192.0.2.2 remote-as 65002" in (lone.etc / "frr.conf").read_text()


def test_what_another_daemon_has_not_loaded_yet_is_not_lost(bare: Instance) -> None:
    bare.start(daemons=("zebra", "bgpd", "staticd", "ospfd"))
    book = Book(FRRPlane(bare.config))
    assert not problems(book, ONE_BARE)
    bare.configure("router ospf\n ospf router-id 10.255.0.1\n network 10.0.0.0/8 area 0\nexit\n")
    bare.vtysh("write memory")
    assert not book.plan(ONE_BARE).actions
    bare.kill("ospfd")
    bare.start_daemon("ospfd")
    longer = changed(ONE_BARE, *(replace(n, hold_s=200) for n in ONE_BARE.neighbors))
    with pytest.raises(PlaneError, match="ospfd has been started and has not loaded all of"):
        book.converge(longer)
    assert "router ospf" in (bare.etc / "frr.conf").read_text()
    bare.vtysh_boot()
    assert not problems(book, longer)
    saved = (bare.etc / "frr.conf").read_text()
    assert "router ospf" in saved
    assert "timers 60 200" in saved
