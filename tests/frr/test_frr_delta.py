from __future__ import annotations

from smartxd.planes.frr.delta import Edit, batch, parse, prune, refusals

SECTION = "router bgp 65001"
FAMILY = "address-family ipv4 unicast"

PRINTED = f"""
Lines To Delete
===============
{SECTION}
 no bgp router-id 1.1.1.1
{SECTION}
 no neighbor 192.0.2.2 remote-as 65002
{SECTION}
 no neighbor 192.0.2.2 description smartxd:BGPPeer/wan
{SECTION}
 {FAMILY}
  no neighbor 192.0.2.2 activate
{SECTION}
 no neighbor 192.0.2.3 remote-as 65003
{SECTION}
 {FAMILY}
  no network 10.0.0.0/8 \n
Lines To Add
============
{SECTION}
 bgp router-id 2.2.2.2
{SECTION}
 neighbor 192.0.2.3 remote-as 65009
{SECTION}
 {FAMILY}
  network 10.1.0.0/16 \n
"""


def test_the_printed_delta_is_read() -> None:
    deletions, additions = parse(PRINTED)
    assert len(deletions) == 6
    assert deletions[-1] == Edit((SECTION, FAMILY, "no network 10.0.0.0/8"))
    assert additions[0] == Edit((SECTION, "bgp router-id 2.2.2.2"))
    assert parse("") == ([], [])


def test_what_goes_with_a_neighbor_and_what_is_set_anew_is_not_deleted() -> None:
    commands = [e.path[1:] for e in prune(*parse(PRINTED))]
    assert commands == [
        ("no neighbor 192.0.2.2",),
        (FAMILY, "no network 10.0.0.0/8"),
        ("bgp router-id 2.2.2.2",),
        ("neighbor 192.0.2.3 remote-as 65009",),
        (FAMILY, "network 10.1.0.0/16"),
    ]


def test_what_goes_with_a_section_is_not_deleted_but_another_section_is_made() -> None:
    deletions = [Edit((f"no {SECTION}",)), Edit((SECTION, "no neighbor 192.0.2.2 remote-as 65002"))]
    additions = [Edit(("router bgp 65010",)), Edit(("router bgp 65010", "bgp router-id 1.1.1.1"))]
    assert prune(deletions, additions) == [deletions[0], *additions]


def test_timers_and_connect_timers_are_different_subjects() -> None:
    deletion = Edit((SECTION, "no neighbor 192.0.2.2 timers connect 5"))
    addition = Edit((SECTION, "neighbor 192.0.2.2 timers 3 9"))
    assert prune([deletion], [addition]) == [deletion, addition]


def test_each_line_is_known_by_its_object() -> None:
    assert Edit((SECTION, FAMILY, "no network 10.0.0.0/8")).object == "network 10.0.0.0/8"
    assert Edit((SECTION, "no neighbor 192.0.2.2")).object == "neighbor 192.0.2.2"
    assert Edit((SECTION, "bgp router-id 1.1.1.1")).object == SECTION
    assert Edit((f"no {SECTION}",)).object == SECTION
    assert Edit(("no router bgp 65001 vrf blue",)).object is None
    assert Edit(("no ip route 203.0.113.0/24 blackhole",)).object is None


def test_a_batch_leaves_every_section_it_enters() -> None:
    text, _ = batch(
        [
            Edit((SECTION,)),
            Edit((SECTION, "bgp router-id 2.2.2.2")),
            Edit((SECTION, FAMILY)),
            Edit((SECTION, FAMILY, "network 10.1.0.0/16")),
            Edit((SECTION, "neighbor 192.0.2.2 remote-as 1")),
            Edit(("no router bgp 9",)),
        ]
    )
    assert text.split("\n") == [
        *(SECTION, "bgp router-id 2.2.2.2", "exit"),
        *(SECTION, FAMILY, "network 10.1.0.0/16", "exit-address-family", "exit"),
        *(SECTION, "neighbor 192.0.2.2 remote-as 1", "exit"),
        *("no router bgp 9", ""),
    ]


def test_a_refused_line_is_known_with_its_reason() -> None:
    edits = [Edit((SECTION, "neighbor 192.0.2.2 timers 1 3")), Edit((SECTION, "bogus"))]
    _, origin = batch(edits)
    said = (
        "% Specify remote-as or peer-group commands first\n"
        "line 2: Failure to communicate[13] to bgpd, line:  neighbor 192.0.2.2 timers 1 3\n\n"
        "line 3: % Unknown command[25]:  bogus\n"
    )
    first, second = refusals(said, origin)
    assert (first.edit, first.message) == (edits[0], "Specify remote-as or peer-group commands first")
    assert (second.edit, second.message) == (edits[1], "Unknown command[25]:  bogus")
