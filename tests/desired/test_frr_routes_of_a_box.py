"""Static routes and VNIs in FRR of one box, and what holds for all parts."""

from __future__ import annotations

import pytest
from frr_specs import (
    BOXES,
    EVPN,
    entries,
    fleet_of,
    frr_of,
    peer,
    prefixes,
    route,
    router,
    tunnel,
)

from smartxd.desired import desire
from smartxd.objects import ObjectRef
from smartxd.planes.frr.state import (
    VNI,
    NextHop,
    StaticRoute,
)

STATIC = "redistribute: [{source: static}]"


def kept(*documents: str, speaker: str = STATIC) -> tuple[list[str], list[str]]:
    """The prefixes of the Routes of a that FRR keeps, and of those that the kernel keeps."""
    desired = desire(fleet_of(*BOXES, router("a", speaker), *documents), "a")
    return [r.destination for r in desired.frr.of(StaticRoute)], [
        r.destination for r in desired.kernel.routes
    ]


def test_frr_keeps_the_static_routes_that_its_speaker_announces() -> None:
    given = (
        route("r", "10.10.0.0/16", "via: [{address: 192.0.2.9}, {address: 192.0.2.8, interface: wan0}]"),
        route("s", "10.9.0.0/16", "blackhole: true"),
    )
    state = frr_of(router("a", STATIC), *given)
    assert list(state.of(StaticRoute)) == [
        StaticRoute(ObjectRef("Route", "s"), "10.9.0.0/16"),
        StaticRoute(
            ObjectRef("Route", "r"),
            "10.10.0.0/16",
            (NextHop("192.0.2.8", "wan0"), NextHop("192.0.2.9")),
        ),
    ]
    assert kept(*given) == (["10.9.0.0/16", "10.10.0.0/16"], [])


@pytest.mark.parametrize("speaker", ["", "redistribute: [{source: kernel}]"])
def test_the_kernel_keeps_static_routes_that_no_speaker_announces_as_such(speaker: str) -> None:
    assert kept(route("r", "10.9.0.0/16"), speaker=speaker) == ([], ["10.9.0.0/16"])


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ("ipv4Unicast", (["10.9.0.0/16"], ["2001:db8:9::/48"])),
        ("ipv6Unicast", (["2001:db8:9::/48"], ["10.9.0.0/16"])),
        ("ipv4Unicast, ipv6Unicast", (["10.9.0.0/16", "2001:db8:9::/48"], [])),
    ],
)
def test_static_routes_are_announced_in_the_families_that_are_spoken(
    families: str, expected: tuple[list[str], list[str]]
) -> None:
    given = (route("r", "10.9.0.0/16"), route("s", "2001:db8:9::/48", "via: [{interface: wan0}]"))
    assert kept(*given, speaker=f"families: [{families}], {STATIC}") == expected


@pytest.mark.parametrize(
    "more",
    [
        "via: [{address: 192.0.2.9}], metric: 5",
        "via: [{address: 192.0.2.9}, {address: 192.0.2.8, weight: 2}]",
        "via: [{address: 192.0.2.9}], table: 100",
    ],
)
def test_the_kernel_keeps_what_frr_cannot_hold_or_announce(more: str) -> None:
    assert kept(route("r", "10.9.0.0/16", more), route("s", "10.8.0.0/16")) == (
        ["10.8.0.0/16"],
        ["10.9.0.0/16"],
    )


def test_the_kernel_keeps_all_of_several_routes_to_a_prefix() -> None:
    backup = route("backup", "10.9.0.0/16", "via: [{address: 192.0.2.8}], metric: 50")
    assert kept(route("r", "10.9.0.0/16"), backup) == ([], ["10.9.0.0/16", "10.9.0.0/16"])


# --- EVPN --------------------------------------------------------------------------------------------------

SPEAKERS = (*(router(n, EVPN) for n in "ab"), peer("box: a", "box: b", EVPN))


def test_a_vni_is_named_where_its_tunnel_has_route_targets() -> None:
    targets = "mode: evpn, routeTargets: ['65000:20', '65000:100']"
    state = frr_of(
        *SPEAKERS,
        tunnel("high", 300, targets),
        tunnel("low", 20, "mode: evpn, routeTargets: ['65000:20']"),
        tunnel("derived", 30),
    )
    assert list(state.of(VNI)) == [
        VNI(ObjectRef("Tunnel", "low"), 20, 65001, ("65000:20",)),
        VNI(ObjectRef("Tunnel", "high"), 300, 65001, ("65000:100", "65000:20")),
    ]


@pytest.mark.parametrize(("name", "found"), [("a", "10.255.0.1:300"), ("b", "65002:300")])
def test_a_vni_has_the_route_distinguisher_of_its_box(name: str, found: str) -> None:
    given = "mode: evpn, routeDistinguishers: {a: '10.255.0.1:300', b: '65002:300'}"
    (vni,) = frr_of(*SPEAKERS, tunnel("t", 300, given), name=name).of(VNI)
    assert (vni.route_distinguisher, vni.route_targets) == (found, ())


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_tunnel_that_finds_its_vteps_otherwise_hears_no_other_box_by_evpn(name: str) -> None:
    state = frr_of(*SPEAKERS, tunnel("flooded", 40, "mode: static"), name=name)
    assert state.router is not None
    (vni,) = state.of(VNI)
    assert vni == VNI(ObjectRef("Tunnel", "flooded"), 40, state.router.asn, (f"{state.router.router_id}:0",))


def test_without_evpn_no_vni_is_named() -> None:
    assert list(frr_of(router("a"), router("b"), tunnel("flooded", 40, "mode: static")).of(VNI)) == []


def test_a_box_that_is_not_in_a_tunnel_has_nothing_of_its_vni() -> None:
    targets = tunnel("t", 20, "mode: evpn, routeTargets: ['65000:20']")
    assert list(frr_of(*SPEAKERS, router("c", EVPN), targets, name="c").of(VNI)) == []


# --- all of it ---------------------------------------------------------------------------------------------


def everything() -> tuple[str, ...]:
    return (
        router(
            "a", f"{EVPN}, {STATIC}, networks: [10.255.0.1/32]", ", annotations: {smartx.io/adopt: 'true'}"
        ),
        router("b", EVPN),
        peer("box: a, in: {routeMap: map, prefixLists: [ours]}", "box: b", f"{EVPN}, bfd: {{}}"),
        prefixes("ours"),
        entries("RouteMap", "map", "seq: 10, action: permit, match: {prefixList: ours}"),
        route("r", "10.9.0.0/16"),
        tunnel("t", 20, "mode: evpn, routeTargets: ['65000:20']"),
    )


def test_nothing_names_what_comes_after_it() -> None:
    kinds = [type(part).__name__ for part in frr_of(*everything()).parts]
    assert kinds == [
        *("PrefixList", "RouteMap", "BFDProfile", "StaticRoute", "Router"),
        *("Network", "Redistribution", "VNI", "Neighbor"),
    ]


def test_those_may_adopt_that_are_annotated_so() -> None:
    assert frr_of(*everything()).adopt == {ObjectRef("BGPRouter", "r-a")}


def test_the_objects_of_a_box_are_also_the_lists_and_maps_that_it_uses() -> None:
    objects = [str(ref) for ref in desire(fleet_of(*BOXES, *everything(), prefixes("x")), "a").objects]
    assert objects == [
        *("Box/a", "Tunnel/t", "Route/r", "BGPRouter/r-a", "BGPPeer/p", "PrefixList/ours", "RouteMap/map")
    ]


def test_parts_are_alone_under_their_names() -> None:
    state = frr_of(*everything())
    assert len({part.id for part in state.parts}) == len(state.parts)
