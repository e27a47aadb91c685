"""What the rules of sessions say where two places are in conflict, and where they are silent."""

from __future__ import annotations

import pytest

from smartxd.spec.load import judge

HEAD = "apiVersion: smartx.io/v1alpha1\nkind: {}\nmetadata: {{name: {}}}\nspec: {}\n"


def document(kind: str, name: str, spec: str) -> bytes:
    return HEAD.format(kind, name, spec).encode()


def box(name: str, number: int, asn: int) -> bytes:
    underlay = f"{{interface: wan0, address: 203.0.113.{number}/24}}"
    return document("Box", name, f"{{underlay: {underlay}, loopback: 10.255.0.{number}, asn: {asn}}}")


def said(files: dict[str, bytes], asn: int = 65002) -> list[str]:
    """The findings of a fleet of the boxes a and b with these files beside them."""
    fleet = {
        "0a.yaml": box("a", 1, 65001),
        "0b.yaml": box("b", 2, asn),
        "1a.yaml": document("BGPRouter", "a", "{box: a}"),
        "1b.yaml": document("BGPRouter", "b", "{box: b}"),
    }
    return [str(finding) for finding in judge({**fleet, **files}).open]


def facing(one: str, other: str) -> dict[str, bytes]:
    """Two one-sided sessions that face each other."""
    a = f"{{between: [{{box: a}}, {{asn: 65002, address: 203.0.113.2}}]{one}}}"
    b = f"{{between: [{{box: b}}, {{asn: 65001, address: 203.0.113.1}}]{other}}}"
    return {"p.yaml": document("BGPPeer", "p", a), "q.yaml": document("BGPPeer", "q", b)}


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            ", passwordRef: x",
            "",
            "spec: passwordRef not given here, given at the other end, BGPPeer/p (p.yaml:4:1) [SX416]",
        ),
        (
            ", bfd: {}",
            "",
            "spec: bfd off here, 300/300 ms × 3 at the other end, BGPPeer/p (p.yaml:4:1) [SX421 warning]",
        ),
        (
            ", families: [ipv6Unicast]",
            "",
            "spec: families ipv4Unicast here, ipv6Unicast at the other end, BGPPeer/p (p.yaml:4:1) [SX416]",
        ),
        (
            ", multihop: 254",
            ", ttlSecurity: 1",
            "spec.ttlSecurity: 1 takes no TTL below 255; the other end, BGPPeer/p (p.yaml:4:65), sends 254"
            " [SX416]",
        ),
        (
            "",
            ", ttlSecurity: 254",
            "spec.ttlSecurity: 254 takes no TTL below 2; the other end, BGPPeer/p (p.yaml:4:1), sends 1"
            " [SX416]",
        ),
        (
            ", timers: {keepalive: 10, hold: 30}",
            "",
            "spec: timers 60/180 s here, 10/30 s at the other end, BGPPeer/p (p.yaml:4:1) [SX421 warning]",
        ),
        (
            ", shutdown: {}",
            "",
            "spec: shutdown not given here, given at the other end, BGPPeer/p (p.yaml:4:1) [SX421 warning]",
        ),
    ],
)
def test_sessions_that_face_each_other_and_differ_are_told_in_what(
    one: str, other: str, message: str
) -> None:
    found = [line for line in said(facing(one, other)) if "[SX4" in line]
    assert [line.split(" ", 2)[2] for line in found if line.startswith("q.yaml")] == [message]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (", multihop: 2", ", multihop: 3"),
        (", multihop: 2", ""),
        (", multihop: 255", ", ttlSecurity: 1"),
        (", passwordRef: to-b", ", passwordRef: to-a"),
        (", ttlSecurity: 1", ", ttlSecurity: 2"),
        (", timers: {connectRetry: 5}", ""),
        (", families: [ipv4Unicast]", ""),
    ],
)
def test_what_each_end_decides_for_itself_may_differ(one: str, other: str) -> None:
    assert said(facing(one, other)) == []


def test_the_ttl_of_sessions_within_an_as_is_enough_for_who_secures_it() -> None:
    files = facing(", ttlSecurity: 1", "")
    within = {name: text.replace(b"asn: 65002", b"asn: 65001") for name, text in files.items()}
    assert said(within, asn=65001) == []


def test_boxes_in_a_row_that_reflect_to_each_other_are_mostly_a_slip() -> None:
    ends = "[{box: a, routeReflectorClient: true}, {box: b, routeReflectorClient: true}]"
    files = {"p.yaml": document("BGPPeer", "p", f"{{between: {ends}}}")}
    assert [line.split("[SX")[-1] for line in said(files, asn=65001)] == ["422 warning]"]
    assert [line.split("[SX")[-1] for line in said(files)] == ["415]", "415]"]


def test_a_ttl_may_be_secured_within_an_as() -> None:
    session = document("BGPPeer", "p", "{between: [{box: a}, {box: b}], ttlSecurity: 1}")
    assert said({"p.yaml": session}, asn=65001) == []


def test_loopbacks_that_only_their_own_session_announces_are_unreachable() -> None:
    ends = "[{box: a, address: 10.255.0.1}, {box: b, address: 10.255.0.2}]"
    files = {
        "1a.yaml": document("BGPRouter", "a", "{box: a, networks: [10.255.0.1/32]}"),
        "1b.yaml": document("BGPRouter", "b", "{box: b, networks: [10.255.0.2/32]}"),
        "p.yaml": document("BGPPeer", "p", f"{{between: {ends}, multihop: 2}}"),
    }
    assert said(files) == [
        "p.yaml:4:18: BGPPeer/p: spec.between[0]: nothing in the specs leads from b to 10.255.0.1"
        " [SX420 note]",
        "p.yaml:4:49: BGPPeer/p: spec.between[1]: nothing in the specs leads from a to 10.255.0.2"
        " [SX420 note]",
    ]
    underlay = document("BGPPeer", "underlay", "{between: [{box: a}, {box: b}]}")
    assert said({**files, "underlay.yaml": underlay}) == []


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("ipv4Unicast", []),
        (
            "ipv6Unicast",
            [
                "p.yaml:4:41: BGPPeer/p: spec.between[0].maxPrefixes.limit: 1 is less than the 2 of"
                " BGPRouter/b (1b.yaml:4:54) [SX418 warning]"
            ],
        ),
    ],
)
def test_a_limit_counts_the_families_that_the_session_carries(family: str, expected: list[str]) -> None:
    both = "families: [ipv4Unicast, ipv6Unicast]"
    session = f"{{between: [{{box: a, maxPrefixes: {{limit: 1}}}}, {{box: b}}], families: [{family}]}}"
    files = {
        "1a.yaml": document("BGPRouter", "a", f"{{box: a, {both}}}"),
        "1b.yaml": document(
            "BGPRouter", "b", f"{{box: b, {both}, networks: ['2001:db8::/64', '2001:db8:1::/64']}}"
        ),
        "p.yaml": document("BGPPeer", "p", session),
    }
    assert [line for line in said(files) if "SX418" in line] == expected
