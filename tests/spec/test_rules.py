"""What each document may say and a box or the fleet cannot be: every rule, by the finding it gives."""

from __future__ import annotations

import pytest

from smartxd.errors import SpecError
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import load

HEAD = "apiVersion: smartx.io/v1alpha1\n"


def box(name: str, address: str, more: str = "", interface: str = "wan0, mtu: 1500") -> str:
    underlay = f"underlay: {{interface: {interface}, address: {address}}}"
    return f"{HEAD}kind: Box\nmetadata: {{name: {name}}}\nspec: {{{underlay}{more}}}"


A = box("a", "192.0.2.1/24", ", loopback: 10.255.0.1, asn: 65001, management: {interface: mgmt0}")
B = box("b", "192.0.2.2/24", ", loopback: 10.255.0.2, asn: 65002")


def tunnel(name: str, vni: int, *more: str, boxes: str = "a, b") -> str:
    spec = (
        f"boxes: {{names: [{boxes}]}}",
        f"vni: {vni}",
        "flood: {mode: multicast, group: 239.1.1.1}",
        *more,
    )
    return f"{HEAD}kind: Tunnel\nmetadata: {{name: {name}}}\nspec:\n  " + "\n  ".join(spec)


def gateways(name: str, vni: int, addresses: str) -> str:
    return tunnel(name, vni, f"gateways: {{{addresses}}}")


def router(name: str, more: str = "") -> str:
    return f"{HEAD}kind: BGPRouter\nmetadata: {{name: {name}}}\nspec: {{box: {name}{more}}}"


def peer(one: str, other: str) -> str:
    return f"{HEAD}kind: BGPPeer\nmetadata: {{name: p}}\nspec:\n  between: [{{box: {one}}}, {{box: {other}}}]"


def fleet_of(*documents: str) -> Fleet:
    return load({f"{i}.yaml": document.encode() for i, document in enumerate(documents, 1)})


def finding_of(*documents: str) -> str:
    """The only finding, without the name of its object."""
    with pytest.raises(SpecError) as caught:
        fleet_of(*documents)
    (finding,) = caught.value.findings
    location, _, rest = finding.split(": ", 2)
    return f"{location}: {rest}"


@pytest.mark.parametrize(
    ("documents", "finding"),
    [
        ((A, box("b", "192.0.2.2/24", ", loopback: 192.0.2.1")), "address 192.0.2.1 is also that of Box/a"),
        ((A, box("b", "192.0.2.2/24", ", loopback: 192.0.2.2")), "address 192.0.2.2 is also that of Box/b"),
        (
            (A, box("b", "10.255.0.1/24")),
            "2.yaml:4:47: spec.underlay.address: address 10.255.0.1 is also that of Box/a (1.yaml:4:71)",
        ),
        (
            (A, B, gateways("t", 100, "a: 10.255.0.2/24")),
            "3.yaml:8:14: spec.gateways.a: address 10.255.0.2 on a is also that of Box/b (2.yaml:4:71)",
        ),
        ((A, B, gateways("t", 100, "a: 192.0.2.1/24")), "address 192.0.2.1 on a is also that of Box/a"),
        (
            (A, B, gateways("t", 100, "a: 10.10.0.1/24, b: 10.10.0.1/24")),
            "address in Tunnel/t 10.10.0.1 is also that of Tunnel/t",
        ),
        (
            (A, B, router("a", ", routerId: 10.255.0.9"), router("b", ", routerId: 10.255.0.9")),
            "spec.routerId: router ID 10.255.0.9 is also that of BGPRouter/a",
        ),
    ],
)
def test_an_address_is_had_once_in_the_fleet(documents: tuple[str, ...], finding: str) -> None:
    assert finding in finding_of(*documents)


@pytest.mark.parametrize(
    ("documents", "finding"),
    [
        (
            (A, B, gateways("t", 100, "a: 192.0.2.9/25")),
            "192.0.2.0/25 overlaps 192.0.2.0/24 of Box/a (1.yaml:4:47)",
        ),
        (
            (A, B, gateways("t", 100, "a: 192.0.0.9/16")),
            "192.0.0.0/16 overlaps 192.0.2.0/24 of Box/a (1.yaml:4:47)",
        ),
        (
            (A, B, gateways("s", 100, "a: 10.10.0.1/24"), gateways("t", 101, "a: 10.10.0.9/24")),
            "4.yaml:8:14: spec.gateways.a: 10.10.0.0/24 overlaps 10.10.0.0/24 of Tunnel/s (3.yaml:8:14)",
        ),
        (
            (A, B, gateways("t", 100, "a: 10.10.0.1/24, b: 10.11.0.2/24")),
            "3.yaml:8:31: spec.gateways.b: 10.11.0.2/24 is not in 10.10.0.0/24 (3.yaml:8:14); "
            "an L2 segment is one subnet",
        ),
        (
            (A, B, gateways("t", 100, "a: 10.10.0.1/24, b: 10.10.0.2/25")),
            "10.10.0.2/25 is not in 10.10.0.0/24 (3.yaml:8:14)",
        ),
    ],
)
def test_a_link_has_a_subnet_of_its_own(documents: tuple[str, ...], finding: str) -> None:
    assert finding in finding_of(*documents)


def test_boxes_apart_may_use_one_subnet_for_their_tunnels() -> None:
    s, t = gateways("s", 100, "a: 10.10.0.1/24"), gateways("t", 101, "b: 10.10.0.2/24")
    assert fleet_of(A, B, s, t).tunnels.keys() == {"s", "t"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.10.0.1/0", "the prefix length is from 8 to 32"),
        ("10.10.0.1/7", "the prefix length is from 8 to 32"),
        ("10.10.0.0/24", "10.10.0.0 is no host of 10.10.0.0/24"),
        ("10.10.0.255/24", "10.10.0.255 is no host of 10.10.0.0/24"),
        ("239.1.1.1/24", "not the address of a host"),
        ("10.10.0.1", "give the prefix length too, as in 192.0.2.1/24"),
        ("10.10.0.1/33", "must be an IPv4 address with its prefix length, as 192.0.2.1/24"),
        ("10", "must be text; put it in quotes"),
    ],
)
def test_a_link_has_a_hosts_address(address: str, message: str) -> None:
    was = address if address == "10" else repr(address)
    assert finding_of(A, B, gateways("t", 100, f"a: {address}")) == (
        f"3.yaml:8:14: spec.gateways.a: {message} (was {was})"
    )
    assert finding_of(box("a", address)).endswith(f"spec.underlay.address: {message} (was {was})")


def test_two_boxes_may_be_a_subnet_of_two_addresses() -> None:
    assert fleet_of(box("a", "192.0.2.0/31"), box("b", "192.0.2.1/31")).boxes.keys() == {"a", "b"}


@pytest.mark.parametrize(
    ("documents", "finding"),
    [
        (
            (A, B, tunnel("t", 100, "bridge: mgmt0")),
            "3.yaml:8:3: spec.bridge: interface mgmt0 on a is also that of Box/a",
        ),
        ((A, B, tunnel("t", 100, "bridge: wan0")), "interface wan0 on a is also that of Box/a (1.yaml:4:19)"),
        ((A, B, tunnel("t", 100, "bridge: vx100")), "interface vx100 on a is also that of Tunnel/t"),
        (
            (A, B, tunnel("s", 100), tunnel("t", 101, "bridge: vx100")),
            "interface vx100 on a is also that of Tunnel/s",
        ),
        (
            (A, B, tunnel("s", 100), tunnel("t", 100)),
            "4.yaml:6:3: spec.vni: VNI 100 on a is also that of Tunnel/s",
        ),
        (
            (A, B, tunnel("s", 100, "bridge: br"), tunnel("t", 101, "bridge: br")),
            "interface br on a is also that of Tunnel/s",
        ),
        (
            (A, box("b", "192.0.2.2/24", interface="vx100"), tunnel("t", 100)),
            "3.yaml:6:3: spec.vni: interface vx100 on b is also",
        ),
        (
            (A, B, tunnel("t", 100, "bridge: lo")),
            "spec.bridge: the loopback of every box; choose another name (was 'lo')",
        ),
        (
            (A, B, tunnel("t", 100, "bridge: all")),
            "the kernel's name for the settings of every interface (was 'all')",
        ),
        (
            (box("a", "192.0.2.1/24", interface="default"),),
            "the kernel's name for the settings of every interface",
        ),
    ],
)
def test_an_interface_is_one_thing_on_a_box(documents: tuple[str, ...], finding: str) -> None:
    assert finding in finding_of(*documents)


def test_management_may_use_the_underlay_and_tunnels_apart_a_name() -> None:
    one = box("a", "192.0.2.1/24", ", management: {interface: wan0}")
    apart = tunnel("s", 100, "bridge: br", boxes="a"), tunnel("t", 100, "bridge: br", boxes="b")
    assert len(fleet_of(one, B, *apart).tunnels) == 2


def test_an_overlay_fits_into_the_underlay_of_each_box() -> None:
    small = box("b", "192.0.2.2/24", interface="wan0, mtu: 1400")
    assert fleet_of(A, small, tunnel("t", 100, "mtu: 1350")).tunnels
    assert finding_of(A, small, tunnel("t", 100, "mtu: 1351")) == (
        "3.yaml:8:3: spec.mtu: 1351 is more than the 1350 that Box/b has room for (2.yaml:4:36)"
    )


@pytest.mark.parametrize("value", ["0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_a_router_id_is_a_hosts_address(value: str) -> None:
    message = f"spec.routerId: not the address of a host (was '{value}')"
    assert message in finding_of(box("a", "192.0.2.1/24", f", routerId: {value}"))
    assert message in finding_of(A, router("a", f", routerId: {value}"))


def test_a_session_runs_over_a_link_that_both_boxes_have() -> None:
    segment = gateways("t", 100, "a: 10.10.0.1/24, b: 10.10.0.2/24")
    explicit = peer("a, address: 10.10.0.1", "b, address: 10.10.0.2")
    assert fleet_of(A, B, router("a"), router("b"), segment, explicit).peers
    assert fleet_of(A, B, router("a"), router("b"), peer("a, address: 192.0.2.1", "b")).peers


FAR = box("b", "198.51.100.2/24", ", loopback: 10.255.0.2, asn: 65002")
SEGMENT = gateways("t", 100, "a: 10.10.0.1/24, b: 10.10.0.2/24")


@pytest.mark.parametrize(
    ("other", "session", "finding"),
    [
        (
            B,
            peer("a, address: 192.0.2.9", "b"),
            "6.yaml:5:22: spec.between[0].address: 192.0.2.9 is no address of Box/a; "
            "it has 192.0.2.1/24 (underlay), 10.10.0.1/24 (Tunnel/t)",
        ),
        (
            B,
            peer("a", "b, address: 10.255.0.2"),
            "6.yaml:5:32: spec.between[1].address: 10.255.0.2 is the loopback of Box/b; a session "
            "from there needs update-source and multihop, which this release does not have",
        ),
        (
            B,
            peer("a", "b, address: 10.10.0.2"),
            "6.yaml:5:3: spec.between: 192.0.2.1/24 (underlay) and 10.10.0.2/24 (Tunnel/t) are on different "
            "links; a session needs one",
        ),
        (
            FAR,
            peer("a", "b"),
            "6.yaml:5:3: spec.between: 192.0.2.1/24 (underlay) and 198.51.100.2/24 (underlay) are in "
            "different subnets; eBGP between them needs multihop, which this release does not have",
        ),
    ],
)
def test_a_session_that_cannot_come_up_is_a_finding(other: str, session: str, finding: str) -> None:
    assert finding_of(A, other, router("a"), router("b"), SEGMENT, session) == finding


def test_ibgp_reaches_over_subnets() -> None:
    assert fleet_of(A, FAR, router("a"), router("b", ", asn: 65001"), peer("a", "b")).peers


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        (tunnel("t", 100, "mtu: foo"), "8:3: spec.mtu: must be a whole number or 'auto' (was 'foo')"),
        (
            tunnel("t", 100, "mtu: atuo"),
            "8:3: spec.mtu: must be a whole number or 'auto' (was 'atuo'); did you mean auto?",
        ),
        (tunnel("t", 100, "mtu: 70000"), "8:3: spec.mtu: must be at most 65535 or 'auto' (was 70000)"),
        (tunnel("t", 100, "mtu: [1]"), "8:3: spec.mtu: must be a whole number or 'auto'"),
        (tunnel("t", 100, "ttl: true"), "8:3: spec.ttl: must be a whole number (was True)"),
        (tunnel("t", 100, "gateways: 5"), "8:3: spec.gateways: must be a mapping (was 5)"),
        (
            router("a", ", networks: [10.0.0.1/8]"),
            "4:27: spec.networks[0]: host bits are set; the prefix is 10.0.0.0/8 (was '10.0.0.1/8')",
        ),
        (
            router("a", ", networks: [x]"),
            "4:27: spec.networks[0]: must be an IPv4 prefix, as 192.0.2.0/24 (was 'x')",
        ),
        (router("a", ", networks: [5]"), "4:27: spec.networks[0]: must be text; put it in quotes (was 5)"),
        (
            router("a").replace("name: a", "name: a, labels: {vlan: 100}"),
            "3:30: metadata.labels.vlan: must be text; put it in quotes (was 100)",
        ),
        (
            router("a").replace("name: a", 'name: a, annotations: {"a\\nb": x}'),
            "3:35: metadata.annotations.a\N{REPLACEMENT CHARACTER}b: control characters and line breaks are "
            "not allowed (was 'a\\nb')",
        ),
        (
            router("a").replace("name: a", f"name: a, labels: {{{'k' * 201}: x}}"),
            f"3:30: metadata.labels.{'k' * 63}: string should have at most 200 characters (was '{'k' * 56}…)",
        ),
        (
            router("a").replace("BGPRouter", "5"),
            "2:1: kind: must be 'Box', 'Tunnel', 'BGPRouter', 'BGPPeer' or 'TracePolicy' (was 5)",
        ),
        (
            router("a").replace("v1alpha1", "v1"),
            "1:1: apiVersion: must be 'smartx.io/v1alpha1' (was 'smartx.io/v1'); did you mean "
            "smartx.io/v1alpha1?",
        ),
    ],
)
def test_a_mistake_in_a_field_is_one_clear_finding(document: str, finding: str) -> None:
    with pytest.raises(SpecError) as caught:
        fleet_of(A, B, document)
    (line,) = caught.value.findings
    location, _, rest = line.removeprefix("3.yaml:").partition(": ")
    assert f"{location}: {rest.removeprefix('Tunnel/t: ').removeprefix('BGPRouter/a: ')}" == finding
