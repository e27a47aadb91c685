"""BFD (RFC 5880) with BIRD: a path that is cut is noticed long before BGP's own timers would."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smartxd.planes.frr.state import BFDProfile
from tests.interop.conftest import PEER, Wire, neighbor, parts
from tests.interop.speakers import Bird, Session, until

pytestmark = pytest.mark.kernel

PROFILE = BFDProfile(PEER, receive_ms=200, transmit_ms=200, multiplier=4)


def test_a_path_that_is_cut_ends_the_session(wire: Wire, session: Session) -> None:
    session = replace(session, bfd=True)

    def bfd() -> str:
        found = {peer["peer"]: peer["status"] for peer in wire.frr("show bfd peers json")}
        return str(found.get(session.address))

    with wire.speaker(Bird, session) as speaker:
        wire.converge(*parts(neighbor(session, bfd_profile=PROFILE.name), PROFILE))
        wire.until_both_ways(speaker, session)
        until("BFD is up", lambda: bfd() == "up")
        (peer,) = wire.frr("show bfd peers json")
        assert (peer["receive-interval"], peer["transmit-interval"], peer["detect-multiplier"]) == (
            200,
            200,
            4,
        )
        wire.cut()
        until("the session ends", lambda: not wire.established(session.address))
        # BGP itself would have waited for its hold time, three minutes.
        assert bfd() == "down"
        (peer,) = wire.frr("show bfd peers json")
        assert peer["diagnostic"] == "control detection time expired"
        wire.cut(mend=True)
        wire.until_both_ways(speaker, session)
        until("BFD is up again", lambda: bfd() == "up")
