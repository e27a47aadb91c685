"""smartxd may die at any line of a batch: the next life owns just what is smartxd's, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartxd.planes.frr import vtysh as shell
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import FRRState
from smartxd.reconcile.plan import Verb
from tests.frr.conftest import Book, Instance
from tests.frr.test_frr_drift import LISTS, STATE

pytestmark = pytest.mark.kernel


class Killed(BaseException):
    """The end of a life."""


def live_until(
    line: int, box: Instance, book: Book, state: FRRState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin a round as the daemon does, claims first, and die once a line of its batch has been written."""
    call = shell.call

    def cut(argv: list[str], timeout_s: float, **more: bool) -> shell.Output:
        if "-f" not in argv:
            return call(argv, timeout_s, **more)
        text = Path(argv[-1]).read_text()
        box.configure("\n".join(text.split("\n")[:line]) + "\n", whole=False)
        raise Killed

    observed = book.plane.observe()
    plan = book.plane.plan(state, observed, book.ownership)
    book.owned |= {action.owned for action in plan.actions if action.verb is not Verb.DELETE}
    with monkeypatch.context() as patch:
        patch.setattr(shell, "call", cut)
        with pytest.raises(Killed):
            list(book.plane.apply(plan, observed))


def reborn(box: Instance, before: Book, state: FRRState) -> Book:
    """The next life, which has all done."""
    book = Book(FRRPlane(box.config), before.owned)
    assert [result.problem for result in book.converge(state) if result.problem] == []
    rest = book.plan(state)
    assert (rest.actions, rest.problems) == ((), ())
    return book


def test_a_life_that_ends_within_a_batch_is_gone_on_with(
    lone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a few lines: in the profile, behind a neighbour's AS number, in its families, in the map."""
    lone.start_daemon("bfdd")
    lone.configure(LISTS)
    before, book = lone.running(), Book(FRRPlane(lone.config))
    for making, ending in ((2, 1), (8, 2), (18, 3), (23, 1)):
        live_until(making, lone, book, STATE, monkeypatch)
        book = reborn(lone, book, STATE)
        assert {o.id for o in book.owned} == {part.id for part in STATE.parts}
        live_until(ending, lone, book, FRRState(), monkeypatch)
        book = reborn(lone, book, FRRState())
        assert not book.owned
        assert lone.running() == before
