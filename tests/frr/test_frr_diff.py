from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.frr.diff import plan
from smartxd.planes.frr.running import Configuration, parse
from smartxd.planes.frr.state import FRRState, Neighbor
from smartxd.planes.frr.target import wanted
from smartxd.reconcile.plan import Change, Disruption, Ownership, Verb
from tests.frr.frr_states import IPV4, LAN, ROUTER, SECTION, WAN, after, changed, done_to, speaker

BARE = "!\nfrr defaults traditional\nip prefix-list HAND seq 5 permit 10.0.0.0/8\n!\n"
PEERS = (Neighbor(WAN, "192.0.2.2", 65001, 65002, "text"), Neighbor(LAN, "192.0.2.3", 65001, 65001))
STATE = speaker(65001, "10.255.0.1", "10.255.0.1/32", *PEERS)
NOTHING = Ownership()


def own(state: FRRState) -> Ownership:
    return Ownership(state.objects())


MADE = after(STATE, parse(BARE), NOTHING)


def by_hand(old: str, new: str, configuration: Configuration = MADE) -> Configuration:
    assert old in configuration.text
    return parse(configuration.text.replace(old, new))


def ids(state: FRRState, running: Configuration, owned: Ownership) -> list[tuple[str, str]]:
    return [(a.verb.value, a.id) for a in plan(state, running, owned).actions]


def test_from_nothing_the_section_comes_before_what_is_in_it() -> None:
    assert ids(STATE, parse(BARE), NOTHING) == [
        ("create", "router bgp 65001"),
        ("create", "network 10.255.0.1/32"),
        ("create", "neighbor 192.0.2.2"),
        ("create", "neighbor 192.0.2.3"),
    ]


def test_what_was_made_reads_as_frr_prints_it() -> None:
    assert MADE.text.removeprefix(BARE) == (
        "\nrouter bgp 65001\n"
        " bgp router-id 10.255.0.1\n"
        " no bgp ebgp-requires-policy\n"
        " neighbor 192.0.2.2 remote-as 65002\n"
        " neighbor 192.0.2.2 description smartxd:BGPPeer/wan text\n"
        " neighbor 192.0.2.2 timers 60 180\n"
        " neighbor 192.0.2.2 timers connect 10\n"
        " neighbor 192.0.2.3 remote-as 65001\n"
        " neighbor 192.0.2.3 description smartxd:BGPPeer/lan\n"
        " neighbor 192.0.2.3 timers 60 180\n"
        " neighbor 192.0.2.3 timers connect 10\n"
        " address-family ipv4 unicast\n"
        "  maximum-paths 1\n"
        "  maximum-paths ibgp 1\n"
        "  network 10.255.0.1/32\n"
        " exit-address-family\n"
        " !\n"
        "exit\n"
        "!"
    )


def test_what_is_as_wanted_needs_nothing() -> None:
    found = plan(STATE, MADE, own(STATE))
    assert not found.actions
    assert not found.problems


def test_a_long_description_needs_nothing_once_it_is_there() -> None:
    state = changed(STATE, Neighbor(WAN, "192.0.2.2", 65001, 65002, "x " * 400))
    made = after(state, parse(BARE), NOTHING)
    assert not plan(state, made, own(state)).actions


def test_a_changed_as_number_flaps_the_session_and_a_description_does_not() -> None:
    wan, lan = PEERS
    state = changed(STATE, replace(wan, remote_as=65009), replace(lan, description="new"))
    first, second = plan(state, MADE, own(STATE)).actions
    assert (first.id, first.verb, first.disruption) == ("neighbor 192.0.2.2", Verb.UPDATE, Disruption.FLAP)
    assert first.changes == (Change("remote-as", "65002", "65009"),)
    assert (second.id, second.disruption) == ("neighbor 192.0.2.3", Disruption.NONE)
    assert second.changes == (Change("description", "smartxd:BGPPeer/lan", "smartxd:BGPPeer/lan new"),)


def test_a_line_put_on_our_neighbor_by_hand_is_drift() -> None:
    line = " neighbor 192.0.2.2 timers connect 10\n"
    drifted = by_hand(line, line + " neighbor 192.0.2.2 shutdown\n")
    (action,) = plan(STATE, drifted, own(STATE)).actions
    assert action.changes == (Change("shutdown", "yes", None),)
    assert action.disruption is Disruption.FLAP
    assert set(after(STATE, drifted, own(STATE)).paths) == set(MADE.paths)


def test_a_password_put_on_by_hand_is_not_shown() -> None:
    line = " neighbor 192.0.2.2 timers connect 10\n"
    drifted = by_hand(line, line + " neighbor 192.0.2.2 password hunter2\n")
    (action,) = plan(STATE, drifted, own(STATE)).actions
    assert action.changes == (Change("password", "***", None),)
    assert "hunter2" not in repr(plan(STATE, drifted, own(STATE)))


def test_lost_timers_are_put_back_quietly() -> None:
    drifted = by_hand(" neighbor 192.0.2.2 timers 60 180\n", "")
    (action,) = plan(STATE, drifted, own(STATE)).actions
    assert action.changes == (Change("timers", None, "60 180"),)
    assert action.disruption is Disruption.NONE


def test_a_changed_router_id_of_ours_is_put_back() -> None:
    drifted = by_hand("router-id 10.255.0.1", "router-id 9.9.9.9")
    (action,) = plan(STATE, drifted, own(STATE)).actions
    assert action.changes == (Change("router-id", "9.9.9.9", "10.255.0.1"),)
    assert action.disruption is Disruption.FLAP


def test_a_foreign_neighbor_at_our_address_is_a_problem_and_untouched() -> None:
    for description in ("", " neighbor 192.0.2.2 description smartxd:BGPPeer/other\n"):
        foreign = by_hand(" neighbor 192.0.2.2 description smartxd:BGPPeer/wan text\n", description)
        for owned, said in (
            (own(STATE), "no longer begins with 'smartxd:BGPPeer/wan'"),
            (Ownership(own(STATE).objects - {OwnedObject("frr", "neighbor 192.0.2.2", WAN)}), "did not make"),
        ):
            found = plan(STATE, foreign, owned)
            assert not found.actions
            (problem,) = found.problems
            assert (problem.owner, problem.reason, problem.permanent) == (WAN, "ForeignNeighbor", True)
            assert said in problem.message


def test_our_mark_without_our_mark_is_not_deleted() -> None:
    foreign = by_hand(" neighbor 192.0.2.2 description smartxd:BGPPeer/wan text\n", "")
    left = after(FRRState(), foreign, own(STATE))
    assert left.parts["neighbor 192.0.2.2"] == foreign.parts["neighbor 192.0.2.2"]
    assert "neighbor 192.0.2.3" not in left.parts


def test_the_mark_without_the_inventory_deletes_nothing() -> None:
    assert not plan(FRRState(), MADE, NOTHING).actions


def test_a_neighbor_of_a_life_before_is_taken_into_the_inventory() -> None:
    inventory = Ownership(frozenset(o for o in STATE.objects() if not o.id.startswith("neighbor ")))
    first, second = plan(STATE, MADE, inventory).actions
    assert first.changes == (Change("inventory", None, WAN),)
    assert second.changes == (Change("inventory", None, LAN),)
    assert set(done_to(MADE, (first, second)).paths) == set(MADE.paths)


def test_a_lost_inventory_is_regained_where_the_section_is_all_ours() -> None:
    found = plan(STATE, MADE, NOTHING)
    assert not found.problems
    assert {(a.verb, a.owned, a.disruption) for a in found.actions} == {
        (Verb.UPDATE, o, Disruption.NONE) for o in STATE.objects()
    }
    assert all(a.changes == (Change("inventory", None, a.owner),) for a in found.actions)
    assert set(done_to(MADE, found.actions).paths) == set(MADE.paths)
    drifted = by_hand(" neighbor 192.0.2.2 timers 60 180\n", " neighbor 192.0.2.2 shutdown\n")
    assert "router bgp 65001" in {a.id for a in plan(STATE, drifted, NOTHING).actions}


def test_a_section_with_a_foreign_part_is_not_adopted_when_the_inventory_is_lost() -> None:
    for line in (" neighbor 192.0.2.9 remote-as 65099\n", " bgp cluster-id 1.1.1.1\n"):
        shared = by_hand(" address", line + " address")
        found = plan(STATE, shared, NOTHING)
        assert {a.id for a in found.actions} == {"neighbor 192.0.2.2", "neighbor 192.0.2.3"}
    unmarked = changed(STATE)
    assert not plan(unmarked, after(unmarked, parse(BARE), NOTHING), NOTHING).actions


def test_a_renamed_owner_changes_the_mark_only() -> None:
    renamed = ObjectRef("BGPPeer", "uplink")
    wan, lan = PEERS
    state = changed(STATE, replace(wan, owner=renamed), lan)
    (action,) = plan(state, MADE, own(STATE)).actions
    assert (action.owner, action.disruption) == (renamed, Disruption.NONE)
    assert Change("inventory", WAN, renamed) in action.changes
    assert "description smartxd:BGPPeer/uplink text" in after(state, MADE, own(STATE)).text


def test_teardown_leaves_the_text_that_was_there() -> None:
    deletions = plan(FRRState(), MADE, own(STATE)).actions
    assert [a.id for a in deletions][-1] == "router bgp 65001"
    assert {a.verb for a in deletions} == {Verb.DELETE}
    assert set(after(FRRState(), MADE, own(STATE)).paths) == set(parse(BARE).paths)


def test_a_section_with_foreign_parts_is_left_to_them() -> None:
    shared = by_hand(" address", " neighbor 192.0.2.9 remote-as 65099\n address")
    left = after(FRRState(), shared, own(STATE))
    assert left.section is not None
    assert left.section.paths == (
        (SECTION,),
        (SECTION, "bgp router-id 10.255.0.1"),
        (SECTION, "no bgp ebgp-requires-policy"),
        (SECTION, "neighbor 192.0.2.9 remote-as 65099"),
        (SECTION, IPV4, "maximum-paths 1"),
        (SECTION, IPV4, "maximum-paths ibgp 1"),
    )
    assert not plan(FRRState(), left, own(STATE)).actions


def test_a_foreign_section_of_the_same_as_is_used_and_kept() -> None:
    foreign = parse("router bgp 65001\n bgp router-id 10.255.0.1\n no bgp ebgp-requires-policy\nexit\n")
    found = plan(STATE, foreign, NOTHING)
    assert not found.problems
    assert "router bgp 65001" not in {a.id for a in found.actions}
    full = done_to(foreign, found.actions)
    owned = Ownership(frozenset(a.owned for a in found.actions))
    assert not plan(STATE, full, owned).actions
    assert set(after(FRRState(), full, owned).paths) == set(foreign.paths)


def test_a_foreign_section_that_does_not_fit_the_spec_is_a_problem() -> None:
    found = plan(STATE, parse("router bgp 65001\n bgp router-id 9.9.9.9\nexit\n"), NOTHING)
    assert {(p.owner, p.reason, p.permanent) for p in found.problems} == {
        (ROUTER, "ForeignRouterID", True),
        (WAN, "EBGPRequiresPolicy", True),
    }
    assert {a.id for a in found.actions} == {o.id for o in STATE.objects()} - {"router bgp 65001"}


def test_a_foreign_speaker_of_another_as_stops_all_of_bgp() -> None:
    found = plan(STATE, parse("router bgp 65099\n neighbor 192.0.2.2 remote-as 1\nexit\n"), NOTHING)
    assert not found.actions
    assert {(p.owner, p.reason, p.permanent) for p in found.problems} == {
        (owner, "ForeignRouter", True) for owner in (ROUTER, WAN, LAN)
    }


def test_networks_in_a_section_that_took_the_place_of_ours_are_not_ours() -> None:
    foreign = parse(
        "router bgp 65099\n address-family ipv4 unicast\n  network 10.255.0.1/32\n exit-address-family\nexit"
    )
    assert not plan(FRRState(), foreign, own(STATE)).actions


def test_a_network_that_is_announced_by_hand_already_stays_theirs() -> None:
    text = "router bgp 65001\n bgp router-id 10.255.0.1\n no bgp ebgp-requires-policy\n"
    foreign = parse(
        text
        + " address-family ipv4 unicast\n  network 10.255.0.1/32 route-map RM\n exit-address-family\nexit\n"
    )
    assert "network 10.255.0.1/32" not in {a.id for a in plan(STATE, foreign, NOTHING).actions}


def test_a_new_as_number_moves_everything_of_ours() -> None:
    state = speaker(65010, "10.255.0.1", "10.255.0.1/32", *PEERS)
    assert ids(state, MADE, own(STATE)) == [
        ("delete", "router bgp 65001"),
        ("create", "router bgp 65010"),
        ("recreate", "network 10.255.0.1/32"),
        ("recreate", "neighbor 192.0.2.2"),
        ("recreate", "neighbor 192.0.2.3"),
    ]
    moved = after(state, MADE, own(STATE))
    assert set(moved.paths) == set(after(state, parse(BARE), NOTHING).paths)


def test_a_new_as_number_waits_for_foreign_parts_to_go() -> None:
    shared = by_hand(" address", " neighbor 192.0.2.9 remote-as 65099\n address")
    found = plan(speaker(65010, "10.255.0.1", "10.255.0.1/32", *PEERS), shared, own(STATE))
    assert not found.actions
    assert {p.reason for p in found.problems} == {"ForeignRouter"}
    assert "192.0.2.9" in found.problems[0].message


def test_what_stands_in_a_section_waits_for_it() -> None:
    actions = plan(STATE, parse(BARE), NOTHING).without({ROUTER}).actions
    assert not wanted(actions, parse(BARE), {})


ADDRESSES = [f"192.0.2.{n}" for n in range(2, 8)]
NEIGHBORS = st.builds(
    Neighbor,
    owner=st.sampled_from([WAN, LAN]),
    name=st.sampled_from(ADDRESSES),
    asn=st.just(65001),
    remote_as=st.integers(1, 2**32 - 2),
    description=st.text(max_size=20),
    keepalive_s=st.integers(1, 60),
)
STATES = st.builds(
    lambda asn, networks, neighbors: speaker(
        asn, "10.255.0.1", *sorted(networks), *{n.name: n for n in neighbors}.values()
    ),
    st.sampled_from([65001, 65002]),
    st.sets(st.sampled_from(["10.0.0.0/8", "10.255.0.1/32", "192.0.2.0/24"])),
    st.lists(NEIGHBORS, max_size=5),
) | st.just(FRRState())
FOREIGN = """ip route 203.0.113.0/24 blackhole
route-map RM permit 10
 description | x
exit
router bgp 1 vrf v
exit"""


@given(st.lists(STATES, min_size=1, max_size=4))
def test_any_sequence_of_states_ends_in_the_last_and_keeps_the_rest(states: list[FRRState]) -> None:
    running, owned = parse(FOREIGN), NOTHING
    for state in [*states, FRRState()]:
        running = after(state, running, owned)
        owned = own(state)
        again = plan(state, running, owned)
        assert not again.actions
        assert not again.problems
        assert set(parse(FOREIGN).paths) <= set(running.paths)
    assert set(running.paths) == set(parse(FOREIGN).paths)


def test_a_neighbor_whose_making_was_cut_off_before_its_mark_is_finished() -> None:
    begun = by_hand(
        " neighbor 192.0.2.2 description smartxd:BGPPeer/wan text\n neighbor 192.0.2.2 timers 60 180\n"
        " neighbor 192.0.2.2 timers connect 10\n",
        "",
    )
    assert ids(STATE, begun, own(STATE)) == [("update", "neighbor 192.0.2.2")]
    finished, made = after(STATE, begun, own(STATE)).text, MADE.text
    assert sorted(finished.splitlines()) == sorted(made.splitlines())
    assert "ForeignNeighbor" in {p.reason for p in plan(STATE, begun, NOTHING).problems}


def test_an_unmarked_neighbor_that_someone_has_shaped_is_foreign() -> None:
    shaped = by_hand(
        " neighbor 192.0.2.2 description smartxd:BGPPeer/wan text\n", " neighbor 192.0.2.2 shutdown\n"
    )
    assert [p.reason for p in plan(STATE, shaped, own(STATE)).problems] == ["ForeignNeighbor"]
