"""A list or map that something names is not taken away, and nothing names one that is not there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from smartxd.objects import ObjectRef
from smartxd.planes.frr.needs import named
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import (
    FRRState,
    Neighbor,
    NeighborFamily,
    Policy,
    PrefixEntry,
    PrefixList,
)
from tests.frr.conftest import Book, Instance
from tests.frr.frr_states import WAN, beside, changed, speaker

LIST = ObjectRef("PrefixList", "l")
FILTER = PrefixList(LIST, "l", "ipv4", (PrefixEntry(5, "permit", "10.0.0.0/8"),))
SESSION = Neighbor(
    WAN, "192.0.2.2", 65001, 65002, families=(NeighborFamily("ipv4", outbound=Policy(prefix_list="l")),)
)
BARE = replace(SESSION, families=(NeighborFamily("ipv4"),))
FILTERED = beside(speaker(65001, "10.255.0.1", SESSION), FILTER)
OPEN = speaker(65001, "10.255.0.1", BARE)


def problems(book: Book, state: FRRState, waiting: Collection[ObjectRef] = ()) -> dict[str, str]:
    """What a round says in which it is not the turn of some owners."""
    observed = book.plane.observe()
    plan = book.plane.plan(state, observed, book.ownership).without(waiting)
    return {r.action.id: r.problem.reason for r in book.plane.apply(plan, observed) if r.problem}


def test_what_a_line_names() -> None:
    assert set(named(("router bgp 1", "neighbor x bfd profile p"))) == {"bfd-profile p"}
    assert set(named(("router ospf", "redistribute bgp metric 5 route-map m"))) == {"route-map m"}
    assert set(named(("route-map m permit 10", "match as-path l"))) == {"as-path-list l"}
    assert set(named(("route-map m permit 10", "set comm-list l delete"))) == {"community-list standard l"}
    match = ("route-map m permit 10", "match ipv6 address prefix-list l")
    assert set(named(match)) == {"prefix-list ipv6 l"}
    session = ("router bgp 1", "address-family ipv4 unicast", "neighbor x prefix-list l in")
    assert set(named(session)) == {"prefix-list ipv4 l"}
    assert set(named(("ip prefix-list description description prefix-list l",))) == set()


@pytest.mark.parametrize(
    "path",
    [
        ("router bgp 1", "neighbor x description route-map m"),
        ("router bgp 1", "neighbor x shutdown message for a route-map m in"),
        ("interface eth0", "description route-map m"),
        ("route-map a permit 10", "description call m"),
        ("route-map a permit 10", "set as-path prepend 65001"),
        ("route-map a permit 10", "set community internet additive"),
        ("route-map a permit 10", "set extcommunity rt 65001:1"),
    ],
)
def test_words_of_people_and_values_name_nothing(path: tuple[str, ...]) -> None:
    """Configurations 217 and 359 of seed 1: a map could not go, because a message had its name in it."""
    assert set(named(path)) == set()


def test_a_neighbour_called_as_a_word_hides_nothing() -> None:
    line = "neighbor description route-map m in"
    assert set(named(("router bgp 1", "address-family ipv4 unicast", line))) == {"route-map m"}


@pytest.mark.kernel
def test_a_list_stays_while_a_session_that_was_not_changed_names_it(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    book.converge(FILTERED)
    before = lone.running()
    refused = changed(OPEN, replace(BARE, remote_as=0))
    kept = {"prefix-list ipv4 l": "StillNamed"}
    assert problems(book, refused) == {"neighbor 192.0.2.2": "FRRRefused", **kept}
    assert problems(book, OPEN, waiting={WAN}) == kept
    assert lone.running() == before
    assert problems(book, OPEN) == {}
    assert "prefix-list" not in lone.running()


@pytest.mark.kernel
def test_a_list_stays_while_a_session_of_others_names_it(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    book.converge(FILTERED)
    lone.configure(
        "router bgp 65001\n neighbor 203.0.113.9 remote-as 64999\n address-family ipv4 unicast\n"
        "  neighbor 203.0.113.9 prefix-list l out\n exit-address-family\nexit\n"
    )
    assert problems(book, OPEN) == {"prefix-list ipv4 l": "StillNamed"}
    assert "ip prefix-list l seq 5 permit 10.0.0.0/8" in lone.running()
    lone.configure("router bgp 65001\n no neighbor 203.0.113.9\nexit\n")
    assert problems(book, OPEN) == {}
    assert "prefix-list" not in lone.running()


@pytest.mark.kernel
def test_a_session_waits_for_the_list_that_it_names(lone: Instance) -> None:
    book = Book(FRRPlane(lone.config))
    assert problems(book, FILTERED, waiting={LIST}) == {"neighbor 192.0.2.2": "DependencyFailed"}
    assert "192.0.2.2" not in lone.running()
    assert problems(book, FILTERED) == {}
    assert "prefix-list l out" in lone.running()
