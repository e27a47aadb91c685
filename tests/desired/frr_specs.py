"""Specs of boxes that speak BGP, and what of FRR they ask for."""

from __future__ import annotations

from smartxd.desired import desire
from smartxd.planes.frr.state import (
    FRRState,
    Neighbor,
    Part,
)
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import judge

HEAD = "apiVersion: smartx.io/v1alpha1\n"
NAMES = "abcdefghijklmnopq"
EVPN = "families: [ipv4Unicast, l2vpnEvpn]"
DUAL = "families: [ipv6Unicast, ipv4Unicast]"


def doc(kind: str, name: str, spec: str, metadata: str = "") -> str:
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}{metadata}}}\nspec: {{{spec}}}\n"


def box(name: str, more: str = "") -> str:
    n = NAMES.index(name) + 1
    under = f"underlay: {{interface: wan0, address: 192.0.2.{n}/24, address6: '2001:db8::{n}/64'}}"
    return doc("Box", name, f"{under}, asn: {65000 + n}, loopback: 10.255.0.{n}{more}")


def router(name: str, more: str = "", metadata: str = "") -> str:
    return doc("BGPRouter", f"r-{name}", f"box: {name}, {more}", metadata)


def peer(one: str, other: str, more: str = "", name: str = "p") -> str:
    return doc("BGPPeer", name, f"between: [{{{one}}}, {{{other}}}], {more}")


def entries(kind: str, name: str, *given: str, more: str = "") -> str:
    return doc(kind, name, f"{more} entries: [{', '.join(f'{{{entry}}}' for entry in given)}]")


def prefixes(name: str, block: str = "10.0.0.0/8", family: str = "ipv4") -> str:
    return entries(
        "PrefixList", name, f"seq: 10, action: permit, prefix: '{block}'", more=f"family: {family},"
    )


def route(name: str, destination: str, more: str = "via: [{address: 192.0.2.99}]") -> str:
    return doc("Route", name, f"boxes: {{names: [a]}}, destination: '{destination}', {more}")


def tunnel(name: str, vni: int, flood: str = "mode: evpn", boxes: str = "a, b") -> str:
    return doc("Tunnel", name, f"boxes: {{names: [{boxes}]}}, vni: {vni}, flood: {{{flood}}}")


BOXES = (box("a"), box("b"), box("c"))


def fleet_of(*documents: str) -> Fleet:
    """The fleet of these, which no rule calls wrong."""
    verdict = judge({"specs.yaml": "---\n".join(documents).encode()})
    assert [str(finding) for finding in verdict.errors] == []
    return verdict.fleet


def frr_of(*documents: str, name: str = "a") -> FRRState:
    return desire(fleet_of(*BOXES, *documents), name).frr


def parts(state: FRRState, *kinds: type[Part]) -> list[Part]:
    return [part for kind in kinds for part in state.of(kind)]


def session(
    *documents: str, one: str = "box: a", other: str = "box: b", more: str = "", name: str = "a"
) -> Neighbor:
    """The one session of a box, of a fleet with a speaker on a and b."""
    named = {d.split("name: ", 1)[1].split("}")[0] for d in documents}
    speakers = (router(n) for n in "ab" if f"r-{n}" not in named)
    (found,) = frr_of(*speakers, *documents, peer(one, other, more), name=name).neighbors
    return found


# --- the speaker -------------------------------------------------------------------------------------------
