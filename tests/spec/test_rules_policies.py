"""What the rules of lists and maps say where two places are in conflict, and where they are silent."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartxd.spec.load import judge
from smartxd.spec.rules import policies, shadows
from smartxd.spec.rules.policies import CALLS_MAX

HEAD = "apiVersion: smartx.io/v1alpha1\nkind: {}\nmetadata: {{name: {}}}\nspec: {}\n---\n"
OURS = {rule.id for rule in (*policies.RULES, *shadows.RULES)}


def document(kind: str, name: str, spec: str) -> str:
    return HEAD.format(kind, name, spec)


def said(*documents: str) -> list[str]:
    """What these rules find in one file of such documents."""
    findings = judge({"site.yaml": "".join(documents).encode()}).open
    return [str(finding) for finding in findings if finding.rule in OURS]


def fleet(session: str) -> str:
    """Two boxes with a session between them: 25 lines."""
    families = "families: [ipv4Unicast, ipv6Unicast, l2vpnEvpn]"
    boxes = [
        document("Box", n, f"{{underlay: {{interface: w, address: 203.0.113.{i}/24}}, asn: {65000 + i}}}")
        + document("BGPRouter", n, f"{{box: {n}, routerId: 10.255.0.{i}, {families}}}")
        for i, n in enumerate("ab", 1)
    ]
    return "".join(boxes) + document("BGPPeer", "p", session)


def calling(count: int) -> str:
    """Maps of which each calls the next, in so many calls."""
    call = "{{entries: [{{seq: 10, action: permit, call: m{}}}]}}"
    maps = [document("RouteMap", f"m{i}", call.format(i + 1)) for i in range(count)]
    return "".join(maps) + document("RouteMap", f"m{count}", "{entries: [{seq: 10, action: permit}]}")


def test_calls_are_as_deep_as_frr_follows_them_and_no_deeper() -> None:
    assert said(calling(CALLS_MAX)) == []
    assert said(calling(CALLS_MAX + 3)) == [
        "site.yaml:14:44: RouteMap/m2: spec.entries[0].call: calls go 11 deep from here; FRR follows 10"
        " [SX503]"
    ]


def test_a_ring_of_many_maps_is_told_in_short() -> None:
    call = "{{entries: [{{seq: 10, action: permit, call: m{:03}}}]}}"
    maps = (document("RouteMap", f"m{i:03}", call.format((i + 1) % 100)) for i in range(100))
    rings = [line for line in said(*maps) if "a ring" in line]
    assert rings == [
        "site.yaml:499:44: RouteMap/m099: spec.entries[0].call:"
        " a ring: m000 → m001 → m002 → m003 → m004 → m005 → … → m099 → m000 [SX503]"
    ]


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        (
            "[ipv4Unicast]",
            [
                "site.yaml:29:52: RouteMap/m: spec.entries[0].match.prefixList: PrefixList/v6 is ipv6"
                " (site.yaml:34:8); what uses RouteMap/m carries ipv4 alone [SX508 warning]"
            ],
        ),
        ("[ipv4Unicast, ipv6Unicast]", []),
        ("[l2vpnEvpn]", []),
    ],
)
def test_an_entry_for_a_family_that_nothing_carries_is_told(families: str, expected: list[str]) -> None:
    session = f"{{between: [{{box: a, in: {{routeMap: m}}}}, {{box: b}}], families: {families}}}"
    entries = "[{seq: 10, action: permit, match: {prefixList: v6}}, {seq: 20, action: permit}]"
    v6 = "{family: ipv6, entries: [{seq: 10, action: permit, prefix: '2001:db8::/32'}]}"
    route_map = document("RouteMap", "m", f"{{entries: {entries}}}")
    assert said(fleet(session), route_map, document("PrefixList", "v6", v6)) == expected


def test_a_list_of_denials_in_a_match_matches_nothing() -> None:
    entries = "[{seq: 10, action: deny, match: {asPathList: l}}, {seq: 20, action: permit}]"
    documents = (
        document("RouteMap", "m", f"{{entries: {entries}}}"),
        document("ASPathList", "l", "{entries: [{seq: 10, action: deny, regex: _65009_}]}"),
    )
    assert said(*documents) == [
        "site.yaml:9:8: ASPathList/l: spec.entries: every entry denies: it matches nothing [SX506 warning]"
    ]


def test_paths_of_one_as_or_more_leave_those_of_the_own_as() -> None:
    entries = "[{seq: 10, action: deny, regex: .}, {seq: 20, action: permit, regex: .*}]"
    assert said(document("ASPathList", "l", f"{{entries: {entries}}}")) == []


LOCAL = "match: {localPreference: 200}"
BOTH = "match: {localPreference: 200, metric: 5}"


@pytest.mark.parametrize(
    ("entries", "shadowed"),
    [
        ((LOCAL, LOCAL), {1: 0}),
        ((LOCAL, "match: {metric: 5}", BOTH), {2: 0}),
        ((BOTH, LOCAL), {}),
        ((LOCAL, f"{LOCAL}, set: {{metric: 5}}, onMatch: next"), {1: 0}),
        ((f"{LOCAL}, onMatch: next", LOCAL), {}),
        ((f"{LOCAL}, call: other", LOCAL), {}),
        (("onMatch: 25", LOCAL, LOCAL), {}),
        (("onMatch: 30", LOCAL, LOCAL), {}),
        (("onMatch: 30", LOCAL, LOCAL, LOCAL), {3: 2}),
        # What passes the first may be changed by the second to what the third matches.
        ((LOCAL, "set: {localPreference: 200}, onMatch: next", LOCAL), {}),
        ((LOCAL, "match: {metric: 5}, onMatch: next", LOCAL), {2: 0}),
        # Of what stands behind one that takes all the first is told; a jump leads by it.
        (("description: all", LOCAL, LOCAL), {1: 0}),
        (("match: {metric: 5}, onMatch: 30", "description: all", LOCAL), {}),
        (("match: {metric: 5}, onMatch: 40", "description: all", LOCAL, LOCAL), {2: 1}),
        (("match: {communityList: c, exactCommunities: true}", "match: {communityList: c}"), {}),
        (("match: {communityList: c}", "match: {communityList: c, exactCommunities: true}"), {1: 0}),
    ],
)
def test_an_entry_of_a_map_is_in_the_shadow_where_an_earlier_one_takes_its_routes(
    entries: tuple[str, ...], shadowed: dict[int, int]
) -> None:
    lines = (f"{{seq: {10 * i}, action: permit, {entry}}}" for i, entry in enumerate(entries, 1))
    found = said(document("RouteMap", "m", f"{{entries: [{', '.join(lines)}]}}"))
    told = (line.split("seq ")[1:] for line in found if "SX502" in line)
    pairs = {int(one.split()[0]) // 10 - 1: int(other.split()[0]) // 10 - 1 for one, other in told}
    assert pairs == shadowed


Entry = tuple[int, int, int, int]
"""The prefix's number among those of its length in 10.0.0.0/28, its length, and the range of lengths."""


@st.composite
def prefix_entries(draw: st.DrawFn) -> Entry:
    own = draw(st.integers(28, 32))
    low = draw(st.integers(own, 32))
    return draw(st.integers(0, (1 << (own - 28)) - 1)), own, low, draw(st.integers(low, 32))


def text(entry: Entry) -> str:
    """The prefix and the lengths of an entry, as a spec says them."""
    number, own, low, high = entry
    prefix = f"10.0.0.{number << (32 - own)}/{own}"
    return prefix if own == low == high else f"{prefix}, ge: {low}, le: {high}".replace(f", ge: {own},", ",")


def matched(entry: Entry) -> set[object]:
    """Every prefix that an entry is for."""
    number, own, low, high = entry
    block = ip_network((f"10.0.0.{number << (32 - own)}", own))
    return {subnet for length in range(low, high + 1) for subnet in block.subnets(new_prefix=length)}


@given(st.lists(prefix_entries(), min_size=1, max_size=8))
def test_a_prefix_entry_is_in_the_shadow_where_an_earlier_one_has_all_it_matches(
    entries: list[Entry],
) -> None:
    shadowed = [
        i for i, entry in enumerate(entries) if any(matched(entry) <= matched(e) for e in entries[:i])
    ]
    lines = [f"{{seq: {i}, action: permit, prefix: {text(entry)}}}" for i, entry in enumerate(entries, 1)]
    found = said(document("PrefixList", "l", f"{{entries: [{', '.join(lines)}]}}"))
    assert [int(line.split("entries[")[1].split("]")[0]) for line in found] == shadowed
