"""Sessions between a box and speakers of other makes: prefixes, policy, passwords and limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smartxd.planes.frr.state import (
    Match,
    MaxPrefixes,
    Policy,
    PrefixEntry,
    PrefixList,
    RouteMap,
    RouteMapEntry,
    Set,
)
from tests.interop.conftest import OWN, PEER, SESSIONS, Wire, neighbor, parts
from tests.interop.speakers import Session, Speaker, until

pytestmark = pytest.mark.kernel


def test_prefixes_go_both_ways(wire: Wire, make: type[Speaker], session: Session) -> None:
    with wire.speaker(make, session) as speaker:
        wire.converge(*parts(neighbor(session)))
        heard = wire.until_both_ways(speaker, session)
        assert {one.as_path for one in heard.values()} == {(65001,)}
        for prefix in session.announce:
            assert wire.attributes(prefix, session.family)["aspath"]["string"] == "65002"


def test_policy_holds_in_both_directions(wire: Wire, make: type[Speaker], session: Session) -> None:
    session = replace(session, community="65002:7")
    wanted, told = session.announce[0], OWN[session.family][0]
    family = "ipv6" if session.family == 6 else "ipv4"
    inbound = PrefixList(PEER, "wanted", family, (PrefixEntry(10, "permit", wanted),))
    outbound = PrefixList(PEER, "told", family, (PrefixEntry(10, "permit", told),))
    prefer = RouteMap(PEER, "prefer", (RouteMapEntry(10, "permit", set=Set(local_preference=250)),))
    mark = RouteMapEntry(
        10,
        "permit",
        match=Match(prefix_list="told", prefix_list_family=family),
        set=Set(communities=("65001:77",), as_path_prepend=(65001,)),
    )
    with wire.speaker(make, session) as speaker:
        wire.converge(*parts(neighbor(session)))
        wire.until_both_ways(speaker, session)
        drops = wire.drops(session)
        policies = {
            "inbound": Policy(route_map="prefer", prefix_list="wanted"),
            "outbound": Policy(route_map="mark"),
        }
        lists = (inbound, outbound, RouteMap(PEER, "mark", (mark,)), prefer)
        wire.converge(*parts(neighbor(session, **policies), *lists))
        assert wire.drops(session) == drops, "a new policy starts no session anew"
        if not speaker.refreshes:
            wire.clear(session)
        until("only what is wanted comes in", lambda: wire.routes(session) == {wanted})
        until("only what is told goes out", lambda: set(speaker.heard(session)) == {told})
        assert wire.attributes(wanted, session.family)["locPrf"] == 250
        assert wire.attributes(wanted, session.family)["community"]["list"] == ["65002:7"]
        until("the community is seen", lambda: speaker.heard(session)[told].communities == {"65001:77"})
        assert speaker.heard(session)[told].as_path == (65001, 65001)
        if speaker.refreshes:
            assert wire.drops(session) == drops
        wire.converge(*parts(neighbor(session)))
        if not speaker.refreshes:
            wire.clear(session)
        wire.until_both_ways(speaker, session)


def test_local_preference_goes_along_within_an_as(wire: Wire, make: type[Speaker]) -> None:
    session = replace(SESSIONS[4], asn=65001)
    prefer = RouteMap(PEER, "prefer", (RouteMapEntry(10, "permit", set=Set(local_preference=250)),))
    with wire.speaker(make, session) as speaker:
        wire.converge(*parts(neighbor(session, outbound=Policy(route_map="prefer")), prefer))
        until("the speaker hears all", lambda: set(speaker.heard(session)) == set(OWN[4]))
        assert {one.local_preference for one in speaker.heard(session).values()} == {250}


def test_a_session_needs_the_right_password(wire: Wire, make: type[Speaker], session: Session) -> None:
    session = replace(session, password="correct-horse")
    wire.secret("wrong-horse")
    with wire.speaker(make, session) as speaker:
        wire.converge(*parts(neighbor(session)))
        until("the kernel drops what is signed wrongly", wire.refused_passwords)
        assert not wire.established(session.address)
        wire.secret("correct-horse")
        wire.converge(*parts(neighbor(session)))
        wire.until_both_ways(speaker, session)


def test_too_many_prefixes_end_a_session(wire: Wire, make: type[Speaker]) -> None:
    session = replace(SESSIONS[4], announce=tuple(f"10.2.{i}.0/24" for i in range(5)))
    with wire.speaker(make, session) as speaker:
        wire.converge(*parts(neighbor(session, max_prefixes=MaxPrefixes(3))))
        until("the session ends", lambda: wire.session(session.address).get("prefixesConfigExceedMax"))
        said = wire.session(session.address)
        assert said["lastNotificationReason"] == "Cease/Maximum Number of Prefixes Reached"
        assert said["bgpState"] == "Idle"
        summary = wire.frr("show bgp ipv4 unicast summary json")["peers"][session.address]
        assert summary["state"] == "Idle (PfxCt)"
        assert wire.routes(session) == set()
        wire.converge(*parts(neighbor(session, max_prefixes=MaxPrefixes(5))))
        wire.clear(session)
        wire.until_both_ways(speaker, session)


def test_a_limit_that_only_warns_keeps_the_session(wire: Wire, make: type[Speaker]) -> None:
    session = replace(SESSIONS[4], announce=tuple(f"10.2.{i}.0/24" for i in range(5)))
    with wire.speaker(make, session) as speaker:
        wire.converge(*parts(neighbor(session, max_prefixes=MaxPrefixes(3, action="warn"))))
        wire.until_both_ways(speaker, session)
        assert wire.established(session.address)
