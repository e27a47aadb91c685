"""What specs may say, what is wrong with the others, and the rules across boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartxd.errors import SpecError
from smartxd.source import folder
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import load

ROOT = Path(__file__).parents[2]

HEAD = "apiVersion: smartx.io/v1alpha1\n"
BOXES = """
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: a, labels: {site: x}}
spec: {underlay: {interface: wan0, address: 192.0.2.1/24}, loopback: 10.255.0.1, asn: 65001}
---
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: b, labels: {site: x}}
spec: {underlay: {interface: wan0, address: 192.0.2.2/24}, loopback: 10.255.0.2, asn: 65002}
"""


ROUTERS = [f"{HEAD}kind: BGPRouter\nmetadata: {{name: {box}}}\nspec: {{box: {box}}}" for box in "ab"]


def fleet_of(*documents: str) -> Fleet:
    return load({"boxes.yaml": BOXES.encode(), "a.yaml": "\n---\n".join(documents).encode()})


def findings_of(*documents: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        fleet_of(*documents)
    return list(caught.value.findings)


def tunnel(name: str, vni: int = 100, more: str = "") -> str:
    return (
        f"{HEAD}kind: Tunnel\nmetadata: {{name: {name}}}\nspec:\n  boxes: {{names: [a, b]}}\n  vni: {vni}\n"
        f"  flood: {{mode: multicast, group: 239.1.1.1}}\n{more}"
    )


def router(name: str, box: str, more: str = "") -> str:
    return f"{HEAD}kind: BGPRouter\nmetadata: {{name: {name}}}\nspec:\n  box: {box}\n{more}"


def peer(name: str, one: str, other: str) -> str:
    return (
        f"{HEAD}kind: BGPPeer\nmetadata: {{name: {name}}}\n"
        f"spec:\n  between:\n    - {{box: {one}}}\n    - {{box: {other}}}\n"
    )


@pytest.mark.parametrize("repo", sorted(p.name for p in (ROOT / "examples").iterdir() if p.is_dir()))
def test_every_example_is_valid(repo: str) -> None:
    fleet = load(folder.read(ROOT / "examples" / repo))
    assert fleet.boxes


def test_all_findings_of_all_files_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        load({"a.yaml": tunnel("A", 0).encode(), "b.yaml": b"kind: Box\n", "c.yaml": b"{"})
    assert {line.split(":")[0] for line in caught.value.findings} == {"a.yaml", "b.yaml", "c.yaml"}


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        (
            f"{HEAD}kind: Tunel\nmetadata: {{name: t}}\nspec: {{}}\n",
            "a.yaml:2:1: Tunel/t: kind: must be 'Box', 'Tunnel', 'Bridge', 'Port', 'BGPRouter', 'BGPPeer', "
            "'PrefixList', 'RouteMap', 'CommunityList', 'ASPathList', 'Route', 'TracePolicy' or "
            "'CheckPolicy' (was 'Tunel'); did you mean Tunnel? [SX007]",
        ),
        (
            tunnel("t", more="  gatway: {}\n"),
            "a.yaml:8:3: Tunnel/t: spec.gatway: no such field; did you mean gateways? [SX004]",
        ),
        (
            tunnel("t").replace("group: 239.1.1.1", "group: 239.1.1.1, grup: x"),
            "a.yaml:7:46: Tunnel/t: spec.flood.grup: no such field; did you mean group? [SX004]",
        ),
        (
            tunnel("t").replace("239.1.1.1", "10.1.1.1"),
            "a.yaml:7:28: Tunnel/t: spec.flood.group: not a multicast group; use one of 239.0.0.0/8 "
            "(was '10.1.1.1') [SX006]",
        ),
        (
            tunnel("t", 16777216),
            "a.yaml:6:3: Tunnel/t: spec.vni: must be at most 16777215 (was 16777216) [SX006]",
        ),
        (
            tunnel("t", more="  bridge: a-name-that-is-too-long\n"),
            "a.yaml:8:3: Tunnel/t: spec.bridge: an interface name has 1 to 15 bytes "
            "(was 'a-name-that-is-too-long') [SX006]",
        ),
        (
            tunnel("t").replace("names: [a, b]", "names: [a, c]"),
            "a.yaml:5:22: Tunnel/t: spec.boxes.names[1]: no Box is named c [SX101]",
        ),
        (
            tunnel("t").replace("names: [a, b]", "matchLabels: {site: y}"),
            "a.yaml:5:11: Tunnel/t: spec.boxes.matchLabels: no Box carries this label; "
            "did you mean site: x? [SX102]",
        ),
        (
            router("r", "a", "  asn: 65001.5\n"),
            "a.yaml:6:3: BGPRouter/r: spec.asn: an AS number with a dot must be in quotes, as '1.10' [SX006]",
        ),
        (peer("p", "a", "a"), "a.yaml:7:8: BGPPeer/p: spec.between[1].box: both ends are a [SX411]"),
        (
            f"{HEAD}kind: TracePolicy\nmetadata: {{name: t}}\nspec:\n  boxes: {{names: [a]}}\n"
            "  interfaces: [{tunnel: x}]\n",
            "a.yaml:6:17: TracePolicy/t: spec.interfaces[0].tunnel: no Tunnel is named x [SX103]",
        ),
    ],
)
def test_a_mistake_is_located_named_and_explained(document: str, finding: str) -> None:
    assert findings_of(document) == [finding]


@pytest.mark.parametrize("bad", ["a\\nneighbor 1.1.1.1 shutdown", "a\\rb", "a\\u2028b", "a\\0b", "a\\eb"])
def test_free_text_cannot_begin_a_line(bad: str) -> None:
    document = peer("p", "a", "b") + f'  description: "{bad}"\n'
    (finding,) = findings_of(router("ra", "a"), router("rb", "b"), document)
    assert "control characters and line breaks are not allowed" in finding
    assert finding.isprintable()


def test_an_object_declared_twice_names_both_places() -> None:
    (finding,) = findings_of(tunnel("t"), tunnel("t", 101))
    assert finding == "a.yaml:12:12: Tunnel/t: metadata.name: declared twice, first at a.yaml:3:12 [SX010]"


def test_a_vni_and_its_link_serve_one_tunnel_of_a_box() -> None:
    findings = findings_of(tunnel("s", more="  bridge: br-s\n"), tunnel("t"))
    assert any("VNI 100 on a is also that of Tunnel/s (a.yaml:6:3)" in f for f in findings)


def test_a_gateway_belongs_to_a_box_that_is_declared() -> None:
    (finding,) = findings_of(tunnel("t", more="  gateways: {c: 10.0.0.1/24}\n"))
    assert "no Box is named c" in finding


def test_two_boxes_do_not_share_an_address() -> None:
    box = BOXES.split("---", maxsplit=1)[0].replace("name: a", "name: c")
    findings = findings_of(box)
    assert any("192.0.2.1 is also that of Box/a" in f for f in findings)
    assert any("10.255.0.1 is also that of Box/a" in f for f in findings)


def test_a_session_needs_a_router_at_both_ends() -> None:
    (finding,) = findings_of(router("ra", "a"), peer("p", "a", "b"))
    assert finding.endswith("spec.between[1].box: b has no BGPRouter [SX411]")


def test_a_box_has_one_router() -> None:
    findings = findings_of(router("r1", "a"), router("r2", "a"))
    assert any("a already has BGPRouter/r1" in f for f in findings)


def test_two_peers_do_not_join_the_same_addresses() -> None:
    (finding,) = findings_of(*ROUTERS, peer("p", "a", "b"), peer("q", "b", "a"))
    assert finding == (
        "a.yaml:24:3: BGPPeer/q: spec.between: neighbor 192.0.2.1 on b is also that of BGPPeer/p "
        "(a.yaml:15:3) [SX206]"
    )


def test_two_peers_do_not_give_a_box_one_neighbor_twice() -> None:
    given = peer("q", "a", "b").replace("{box: b}", "{box: b, address: 192.0.2.2}")
    (finding,) = findings_of(*ROUTERS, peer("p", "a", "b"), given)
    assert "is also that of BGPPeer/p" in finding


def test_a_four_byte_as_number_may_be_written_asdot() -> None:
    fleet = fleet_of(router("r", "a", "  asn: '1.10'\n"))
    assert fleet.asn_of(fleet.routers["r"]) == 65546


def test_segments_on_different_boxes_may_use_one_private_subnet() -> None:
    one = tunnel("s", 100, "  gateways: {a: 192.168.0.1/24}\n").replace("names: [a, b]", "names: [a]")
    other = tunnel("t", 101, "  gateways: {b: 192.168.0.1/24}\n").replace("names: [a, b]", "names: [b]")
    assert len(fleet_of(one, other).tunnels) == 2


def test_within_a_segment_an_address_is_had_once() -> None:
    findings = findings_of(tunnel("t", 100, "  gateways: {a: 192.168.0.1/24, b: 192.168.0.1/24}\n"))
    assert any("192.168.0.1" in f and "Tunnel/t" in f for f in findings)


def test_a_gateway_is_not_the_address_of_its_own_box() -> None:
    findings = findings_of(tunnel("t", 100, "  gateways: {a: 10.255.0.1/24}\n"))
    assert any("10.255.0.1" in f and "Box/a" in f for f in findings)


def test_labels_select_boxes() -> None:
    fleet = fleet_of(tunnel("t").replace("names: [a, b]", "matchLabels: {site: x}"))
    assert fleet.select(fleet.tunnels["t"].spec.boxes) == ("a", "b")
