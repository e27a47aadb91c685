from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartxd.planes.frr.running import parse, parse_running
from smartxd.planes.frr.words import part_of
from tests.frr.frr_states import IPV4, SECTION

PRINTED = """Building configuration...

Current configuration:
!
frr version 8.4.4
frr defaults datacenter
hostname box
!
interface lo
 description hello
exit
!
router bgp 65001 vrf blue
exit
!
router bgp 65001
 bgp router-id 10.255.0.1
 neighbor 192.0.2.2 remote-as 65002
 !
 address-family ipv4 unicast
  network 10.0.0.0/8 route-map RM
  neighbor 192.0.2.2 activate
 exit-address-family
 !
 address-family l2vpn evpn
  vni 100
   rd 1:1
  exit-vni
 exit-address-family
exit
!
end
"""

LINES = st.lists(
    st.one_of(
        st.sampled_from(["!", " !", "exit", " exit-address-family", "end", "", "router bgp 1", " a", "  b"]),
        st.builds(lambda n, text: " " * n + text, st.integers(0, 6), st.text(max_size=12)),
    ),
    max_size=40,
)


@given(st.one_of(st.text(), LINES.map("\n".join)))
def test_any_text_comes_back_byte_for_byte(text: str) -> None:
    assert parse(text).text == text


@given(LINES.map("\n".join))
def test_every_line_that_says_something_is_a_path_or_a_section_end(text: str) -> None:
    tree = parse(text)
    said = sorted(path[-1] for path in tree.paths)
    lines = [" ".join(n.split()) for n in text.split("\n")]
    assert set(said) <= set(lines)
    assert not any(s.startswith("!") or not s for s in said)


def test_preamble_version_and_end_are_no_part_of_the_tree() -> None:
    text = parse_running(PRINTED).text
    assert text.startswith("!\nfrr defaults datacenter\n")
    assert text == PRINTED.split("configuration:\n")[1].replace("frr version 8.4.4\n", "").replace(
        "end\n", ""
    )


def test_the_router_of_the_default_vrf_is_found() -> None:
    tree = parse_running(PRINTED)
    section = tree.section
    assert section is not None
    assert (tree.profile, section.asn, section.router_id) == ("datacenter", 65001, "10.255.0.1")
    assert tree.parts["neighbor 192.0.2.2"] == {
        (SECTION, "neighbor 192.0.2.2 remote-as 65002"),
        (SECTION, IPV4, "neighbor 192.0.2.2 activate"),
    }
    assert tree.parts["network 10.0.0.0/8"] == {(SECTION, IPV4, "network 10.0.0.0/8 route-map RM")}
    assert (SECTION, "address-family l2vpn evpn", "vni 100", "rd 1:1") in section.paths


def test_a_neighbor_is_not_taken_for_one_whose_address_begins_alike() -> None:
    text = "router bgp 1\n neighbor 10.0.0.1 remote-as 2\n neighbor 10.0.0.10 remote-as 3\nexit"
    assert parse(text).parts["neighbor 10.0.0.1"] == {("router bgp 1", "neighbor 10.0.0.1 remote-as 2")}


def test_without_a_router_there_is_none() -> None:
    assert parse("router bgp 65001 vrf blue\nexit\n").section is None


def test_each_line_is_known_by_its_part() -> None:
    for path, part in (
        ((SECTION, IPV4, "no neighbor 192.0.2.2 activate"), "neighbor 192.0.2.2"),
        ((SECTION, "address-family ipv6 unicast", "network 2001:db8::/32"), "network 2001:db8::/32"),
        ((SECTION, "address-family ipv6 multicast", "network 2001:db8::/32"), None),
        ((SECTION, IPV4, "redistribute connected route-map x"), "redistribute ipv4 connected"),
        ((SECTION, "address-family l2vpn evpn", "vni 100"), "vni 100"),
        ((SECTION, "address-family l2vpn evpn", "vni 100", "rd 1:1"), "vni 100"),
        ((SECTION, "bgp router-id 1.1.1.1"), SECTION),
        ((f"no {SECTION}",), SECTION),
        ((SECTION, "bgp bestpath compare-routerid"), None),
        (("router bgp 65001 vrf blue",), None),
        (("router bgp 65001 vrf blue", "neighbor 192.0.2.2 remote-as 1"), None),
        (("ip prefix-list x seq 5 permit any",), "prefix-list ipv4 x"),
        (("ipv6 prefix-list x description y",), "prefix-list ipv6 x"),
        (("bgp as-path access-list x seq 5 permit ^1_",), "as-path-list x"),
        (("no bgp extcommunity-list standard x seq 5 permit rt 1:1",), "community-list extended x"),
        (("route-map x permit 10", "set metric 5"), "route-map x"),
        (("bfd", "profile x", "receive-interval 50"), "bfd-profile x"),
        (("bfd", "peer 192.0.2.1"), None),
        (("ip route 203.0.113.0/24 blackhole",), "route 203.0.113.0/24"),
        (("ip route 203.0.113.0/24 192.0.2.1 table 7",), "route 203.0.113.0/24 table 7"),
        (("hostname x",), None),
    ):
        assert part_of(path) == part


def test_a_line_is_found_by_its_number() -> None:
    tree = parse(PRINTED)
    lines = PRINTED.split("\n")
    number = lines.index("  network 10.0.0.0/8 route-map RM") + 1
    assert tree.path_at(number) == ("router bgp 65001", IPV4, "network 10.0.0.0/8 route-map RM")
    for number, line in enumerate(lines, 1):
        if not line.strip().startswith("exit"):
            assert tree.path_at(number)[-1] == line.strip()
    assert tree.path_at(1000) == ("",)
