from __future__ import annotations

from smartxd.planes.frr.delta import Delta, disputed, parse
from smartxd.planes.frr.edits import Edit, batch, edits, refusals
from smartxd.planes.frr.running import parse as tree
from smartxd.planes.frr.target import target
from smartxd.planes.frr.words import Path
from tests.frr.frr_states import IPV4, SECTION

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
 {IPV4}
  no neighbor 192.0.2.2 activate
{SECTION}
 no neighbor 192.0.2.3 remote-as 65003
{SECTION}
 {IPV4}
  no network 10.0.0.0/8 \n
Lines To Add
============
no ip prefix-list x seq 5 permit any
{SECTION}
 bgp router-id 2.2.2.2
{SECTION}
 neighbor 192.0.2.3 remote-as 65009
{SECTION}
 {IPV4}
  network 10.1.0.0/16 \n
"""


RUNNING = tree(
    "ip prefix-list x seq 5 permit any\n!\n"
    f"{SECTION}\n bgp router-id 1.1.1.1\n"
    " neighbor 192.0.2.2 remote-as 65002\n neighbor 192.0.2.2 description smartxd:BGPPeer/wan\n"
    " neighbor 192.0.2.3 remote-as 65003\n !\n"
    f" {IPV4}\n  neighbor 192.0.2.2 activate\n  network 10.0.0.0/8\n exit-address-family\nexit\n!"
)
WANTED: dict[str, tuple[Path, ...]] = {
    "prefix-list ipv4 x": (),
    "neighbor 192.0.2.2": (),
    "network 10.0.0.0/8": (),
    SECTION: ((SECTION,), (SECTION, "bgp router-id 2.2.2.2")),
    "network 10.1.0.0/16": ((SECTION, IPV4, "network 10.1.0.0/16"),),
    "neighbor 192.0.2.3": ((SECTION, "neighbor 192.0.2.3 remote-as 65009"),),
}
OWN = Delta.between(RUNNING, target(RUNNING, WANTED), WANTED)


def commands(running_text: str, wanted: dict[str, tuple[Path, ...]]) -> list[Path]:
    running = tree(running_text)
    delta = Delta.between(running, target(running, wanted), wanted)
    return [edit.path for edit in edits(delta, running, wanted)]


def test_the_printed_delta_is_read() -> None:
    delta = parse(PRINTED)
    assert len(delta.deletions) == 6
    assert (SECTION, IPV4, "network 10.0.0.0/8") in delta.deletions
    assert (SECTION, "bgp router-id 2.2.2.2") in delta.additions
    assert not parse("")


def test_both_comparisons_agree_on_what_frr_reload_prints() -> None:
    assert disputed(OWN, parse(PRINTED)) == ([], [])


def test_what_only_one_of_the_two_would_change_is_named() -> None:
    more = PRINTED + f"{SECTION}\n no bgp default show-hostname\n"
    assert disputed(OWN, parse(more)) == ([], [(SECTION, "no bgp default show-hostname")])
    fewer = PRINTED.replace(f"{SECTION}\n bgp router-id 2.2.2.2\n", "")
    assert disputed(OWN, parse(fewer)) == ([(SECTION, "bgp router-id 2.2.2.2")], [])


def test_what_goes_as_a_whole_goes_by_one_command_and_what_is_set_anew_is_not_deleted() -> None:
    assert [edit.path for edit in edits(OWN, RUNNING, WANTED)] == [
        ("no ip prefix-list x",),
        (SECTION, "no neighbor 192.0.2.2"),
        (SECTION, IPV4, "no network 10.0.0.0/8"),
        (SECTION, "bgp router-id 2.2.2.2"),
        (SECTION, "neighbor 192.0.2.3 remote-as 65009"),
        (SECTION, IPV4, "network 10.1.0.0/16"),
    ]


def test_timers_and_connect_timers_are_different_things() -> None:
    wanted: dict[str, tuple[Path, ...]] = {
        "neighbor 192.0.2.2": (
            (SECTION, "neighbor 192.0.2.2 remote-as 1"),
            (SECTION, "neighbor 192.0.2.2 timers 3 9"),
        )
    }
    text = f"{SECTION}\n neighbor 192.0.2.2 remote-as 1\n neighbor 192.0.2.2 timers connect 5\nexit"
    assert commands(text, wanted) == [
        (SECTION, "no neighbor 192.0.2.2 timers connect 5"),
        (SECTION, "neighbor 192.0.2.2 timers 3 9"),
    ]


def test_what_goes_with_a_section_is_not_deleted_but_another_section_is_made() -> None:
    wanted: dict[str, tuple[Path, ...]] = {
        SECTION: (),
        "router bgp 65010": (("router bgp 65010",), ("router bgp 65010", "bgp router-id 1.1.1.1")),
        "neighbor 192.0.2.2": (("router bgp 65010", "neighbor 192.0.2.2 remote-as 65002"),),
    }
    text = f"{SECTION}\n neighbor 192.0.2.2 remote-as 65002\n neighbor 192.0.2.2 shutdown\nexit"
    assert commands(text, wanted) == [
        (f"no {SECTION}",),
        ("router bgp 65010",),
        ("router bgp 65010", "bgp router-id 1.1.1.1"),
        ("router bgp 65010", "neighbor 192.0.2.2 remote-as 65002"),
    ]


def test_an_entry_of_a_map_never_permits_more_in_between() -> None:
    old, new = "route-map m permit 10", "route-map m deny 10"
    text = f"{old}\n match tag 7\nexit"
    changed = {"route-map m": ((old,), (old, "match metric 5"))}
    assert commands(text, changed) == [(old, "match metric 5"), (old, "no match tag 7")]
    turned = {"route-map m": ((new,), (new, "match metric 5"))}
    assert commands(text, turned) == [(new,), (new, "match metric 5"), (new, "no match tag 7")]


def test_what_keeps_routes_back_goes_when_what_does_so_from_then_on_has_come() -> None:
    neighbor = "neighbor 192.0.2.2"
    text = (
        f"{SECTION}\n {neighbor} remote-as 1\n {neighbor} shutdown\n"
        f" {IPV4}\n  {neighbor} route-map m out\n exit-address-family\nexit"
    )
    wanted: dict[str, tuple[Path, ...]] = {
        neighbor: (
            (SECTION, f"{neighbor} remote-as 1"),
            (SECTION, IPV4, f"{neighbor} prefix-list l out"),
        )
    }
    assert commands(text, wanted) == [
        (SECTION, IPV4, f"{neighbor} prefix-list l out"),
        (SECTION, IPV4, f"no {neighbor} route-map m out"),
        (SECTION, f"no {neighbor} shutdown"),
    ]


def test_a_list_is_never_emptier_than_it_was_or_will_be() -> None:
    """An empty prefix list permits everything, and FRR acts on each command at once."""
    start = "ip prefix-list l"

    def steps(old: dict[int, str], new: dict[int, str]) -> list[str]:
        text = "\n".join(f"{start} seq {seq} {entry}" for seq, entry in old.items())
        lines = tuple((f"{start} seq {seq} {entry}",) for seq, entry in new.items())
        found = commands(text, {"prefix-list ipv4 l": lines})
        return [path[0].replace(start, "l").replace("permit ", "") for path in found]

    a, b, c = (f"permit 10.{n}.0.0/16" for n in range(3))
    net = "10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16"
    assert steps({5: a}, {7: b}) == [f"l seq 7 {net[1]}", f"no l seq 5 {net[0]}"]
    # FRR takes no notice of an entry that says what another says: that one has to go first.
    assert steps({5: a, 10: b}, {5: c, 10: a, 15: b}) == [
        f"no l seq 5 {net[0]}",
        f"l seq 5 {net[2]}",
        f"no l seq 10 {net[1]}",
        f"l seq 10 {net[0]}",
        f"l seq 15 {net[1]}",
    ]


def test_the_section_of_bfd_goes_with_the_last_that_stands_in_it() -> None:
    text = "bfd\n profile a\n exit\n !\n profile b\n exit\n !\nexit"
    assert commands(text, {"bfd-profile a": ()}) == [("bfd", "no profile a")]
    assert commands(text, {"bfd-profile a": (), "bfd-profile b": ()})[-1] == ("no bfd",)


def test_what_is_refused_as_one_transaction_is_known_line_by_line() -> None:
    edit = Edit(("ip route 10.9.0.0/16 blackhole",))
    _, origin = batch([edit])
    said = (
        "% Configuration failed.\n\nError type: validation\nError description: not both\n"
        "The following commands were dynamically grouped into the same transaction and rejected:\n"
        "- ip route 10.9.0.0/16 blackhole\n- ip route 10.9.0.0/16 192.0.2.1\n"
    )
    assert [(r.edit, r.message) for r in refusals(said, origin)] == [(edit, "not both")]


def test_a_batch_leaves_every_section_it_enters() -> None:
    text, _ = batch(
        [
            Edit((SECTION,)),
            Edit((SECTION, "bgp router-id 2.2.2.2")),
            Edit((SECTION, IPV4)),
            Edit((SECTION, IPV4, "network 10.1.0.0/16")),
            Edit((SECTION, "neighbor 192.0.2.2 remote-as 1")),
            Edit(("no router bgp 9",)),
        ]
    )
    assert text.split("\n") == [
        *(SECTION, "bgp router-id 2.2.2.2", "exit"),
        *(SECTION, IPV4, "network 10.1.0.0/16", "exit-address-family", "exit"),
        *(SECTION, "neighbor 192.0.2.2 remote-as 1", "exit"),
        *("no router bgp 9", ""),
    ]


def test_a_refused_line_is_known_with_its_reason() -> None:
    found = [Edit((SECTION, "neighbor 192.0.2.2 timers 1 3")), Edit((SECTION, "bogus"))]
    _, origin = batch(found)
    said = (
        "% Specify remote-as or peer-group commands first\n"
        "line 2: Failure to communicate[13] to bgpd, line:  neighbor 192.0.2.2 timers 1 3\n\n"
        "line 3: % Unknown command[25]:  bogus\n"
    )
    first, second = refusals(said, origin)
    assert (first.edit, first.message) == (found[0], "Specify remote-as or peer-group commands first")
    assert (second.edit, second.message) == (found[1], "Unknown command[25]:  bogus")
    (shown,) = refusals("line 2: % Unknown command[4]:  neighbor 192.0.2.2 password hunter2\n", origin)
    assert "hunter2" not in shown.message
