"""How far routes come: never less far than BGP carries them, and not over what it surely refuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartxd.spec.load import judge
from smartxd.spec.propagation import Sessions

HEAD = "apiVersion: smartx.io/v1alpha1\nkind: {}\nmetadata: {{name: {}}}\nspec: {}\n---\n"


@dataclass(frozen=True)
class Speaker:
    """A box with a speaker of EVPN."""

    asn: int
    cluster: int


@dataclass(frozen=True)
class Session:
    """A session between two boxes by number: what each end says of the other."""

    ends: tuple[int, int]
    clients: tuple[bool, bool] = (False, False)
    allowed: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Network:
    """Speakers and sessions."""

    speakers: tuple[Speaker, ...]
    sessions: tuple[Session, ...]
    outside: tuple[int, ...] = ()

    def reach(self) -> Sessions:
        """What is said of it."""
        text = ""
        for i, speaker in enumerate(self.speakers):
            where = f"underlay: {{interface: w, address: 203.0.113.{i + 1}/24}}, loopback: 10.255.0.{i + 1}"
            text += HEAD.format("Box", f"b{i}", f"{{{where}, asn: {speaker.asn}}}")
            spec = f"{{box: b{i}, families: [l2vpnEvpn], clusterId: 10.0.0.{speaker.cluster}}}"
            text += HEAD.format("BGPRouter", f"b{i}", spec)
        for session in self.sessions:
            ends = [
                f"{{box: b{i}"
                + ", routeReflectorClient: true" * client
                + f", allowAsIn: {allowed}" * bool(allowed)
                + "}"
                for i, client, allowed in zip(session.ends, session.clients, session.allowed, strict=True)
            ]
            spec = f"{{between: [{', '.join(ends)}], families: [l2vpnEvpn]}}"
            text += HEAD.format("BGPPeer", "p{}-{}".format(*session.ends), spec)
        for i in self.outside:
            spec = (
                f"{{between: [{{box: b{i}}}, {{asn: 64496, address: 203.0.113.99}}], families: [l2vpnEvpn]}}"
            )
            text += HEAD.format("BGPPeer", f"outside{i}", spec)
        return Sessions(judge({"site.yaml": text.encode()}).fleet, "l2vpnEvpn")

    def carried(self, origin: int) -> set[int]:
        """The boxes to which a route comes on a way that BGP lets pass, of all ways there are."""
        reached: set[int] = set()
        todo: list[tuple[int, str, tuple[int, ...], frozenset[int], frozenset[int]]] = [
            (origin, "freely", (), frozenset(), frozenset({origin}))
        ]
        while todo:
            here, came, path, clusters, way = todo.pop()
            reached.add(here)
            for session in self.sessions:
                if here not in session.ends:
                    continue
                mine = session.ends.index(here)
                there = session.ends[1 - mine]
                one, other = self.speakers[here], self.speakers[there]
                if there in way:
                    continue
                if one.asn != other.asn:
                    told, reflected, how = (one.asn, *path), frozenset[int](), "freely"
                elif came == "neighbor" and not session.clients[mine]:
                    continue
                else:
                    told, how = path, "client" if session.clients[1 - mine] else "neighbor"
                    reflected = clusters if came == "freely" else clusters | {one.cluster}
                if Counter(told)[other.asn] <= session.allowed[1 - mine] and other.cluster not in reflected:
                    todo.append((there, how, told, reflected, way | {there}))
        return reached


def missed(network: Network, origin: int) -> set[int]:
    """The boxes to which the routes of a box are said not to come."""
    sessions = network.reach()
    boxes = range(len(network.speakers))
    return {i for i in boxes if sessions.missed(f"b{origin}", frozenset({f"b{i}"}))}


@st.composite
def networks(draw: st.DrawFn) -> Network:
    speakers = draw(
        st.lists(st.builds(Speaker, st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=6)
    )
    pairs = list(combinations(range(len(speakers)), 2))
    sessions = []
    for one, other in draw(st.lists(st.sampled_from(pairs), unique=True)):
        internal = speakers[one].asn == speakers[other].asn
        flags = draw(st.tuples(st.booleans(), st.booleans())) if internal else (False, False)
        allowed = draw(st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 0), (0, 1), (2, 2)]))
        sessions.append(Session((one, other), flags, allowed))
    return Network(tuple(speakers), tuple(sessions))


@settings(deadline=None)
@given(networks())
def test_a_box_is_said_to_be_out_of_reach_only_where_no_way_leads_to_it(network: Network) -> None:
    assert not missed(network, 0) & network.carried(0)


A, B, C = (Speaker(asn, asn) for asn in (1, 2, 3))
REFLECTING = (True, False)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        # The own AS again behind another, the same by two ways, and where the second AS returns.
        (Network((A, B, A), (Session((0, 1)), Session((1, 2)))), {2}),
        (
            Network((A, B, C, A), (Session((0, 1)), Session((0, 2)), Session((1, 3)), Session((2, 3)))),
            {3},
        ),
        (Network((C, A, B, A), (Session((0, 1)), Session((1, 2)), Session((2, 3)))), {3}),
        (Network((A, B, A), (Session((0, 1)), Session((1, 2), allowed=(0, 1)))), set()),
        # Who lets it in tells its own AS too, which does not.
        (
            Network((A, B, A, A), (Session((0, 1)), Session((1, 2), allowed=(0, 1)), Session((2, 3)))),
            {3},
        ),
        # Leaves of one AS under spines of one AS: a leaf needs no other leaf to be told of by the spine.
        (
            Network((A, B, B, A), (Session((0, 1)), Session((0, 2)), Session((1, 3)), Session((2, 3)))),
            {3},
        ),
        # Two reflectors with a client each: with one cluster ID the second drops what the first reflects.
        (
            Network(
                (Speaker(1, 7), Speaker(1, 8), Speaker(1, 8), Speaker(1, 9)),
                (Session((1, 0), REFLECTING), Session((1, 2)), Session((2, 3), REFLECTING)),
            ),
            {2, 3},
        ),
        (
            Network(
                (Speaker(1, 7), Speaker(1, 8), Speaker(1, 6), Speaker(1, 9)),
                (Session((1, 0), REFLECTING), Session((1, 2)), Session((2, 3), REFLECTING)),
            ),
            set(),
        ),
        # Cluster IDs are of an AS: another may have the same.
        (
            Network(
                (Speaker(1, 7), Speaker(1, 8), Speaker(1, 9), Speaker(2, 8)),
                (Session((1, 0), REFLECTING), Session((1, 2), REFLECTING), Session((2, 3))),
            ),
            set(),
        ),
        # Outside may be what joins them; a session of one of them alone joins nothing.
        (Network((A, A, A), (), outside=(0, 2)), {1}),
        (Network((A, B), (), outside=(1,)), {1}),
        (Network((A, B, A), (Session((0, 1)),), outside=(1, 2)), set()),
    ],
)
def test_who_is_out_of_reach(network: Network, expected: set[int]) -> None:
    assert missed(network, 0) == expected


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Network((A, B), ()), "b0 has no session for them that is up"),
        (
            Network((A, A, A), (Session((0, 1)), Session((1, 2)))),
            "they reach b1, and no reflector or other AS takes them further",
        ),
        (
            Network((A, B, A), (Session((0, 1)), Session((1, 2)))),
            "they reach b1, and b2 refuses a path with its own AS 1 and has no allowAsIn",
        ),
        (
            Network(
                (Speaker(1, 7), Speaker(1, 8), Speaker(1, 8)), (Session((1, 0), REFLECTING), Session((1, 2)))
            ),
            "they reach b1, and b2 drops what a reflector of its own cluster ID, 10.0.0.8, has reflected",
        ),
    ],
)
def test_where_routes_end_is_said(network: Network, words: str) -> None:
    sessions = network.reach()
    last = len(network.speakers) - 1
    assert sessions.missed("b0", frozenset({f"b{last}"})) == f"b{last}"
    assert sessions.where_it_ends("b0", f"b{last}") == words
