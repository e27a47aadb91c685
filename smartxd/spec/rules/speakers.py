"""BGP speakers: each whole, one to a box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from smartxd.spec.addresses import family_of
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgprouter import BGPRouterSpec

INCOMPLETE = Rule(
    "SX401",
    "speaker-incomplete",
    "Each BGPRouter has an AS number and a router ID, its own or its Box's.",
    "FRR needs both, and one that it chooses by itself changes with the addresses of the box. Give `asn` and"
    " `routerId` in the BGPRouter, or `asn` and `loopback` in the Box.",
    fixed=True,
)
SPEAKER_TWICE = Rule(
    "SX402",
    "speaker-twice",
    "A box has one BGPRouter.",
    "FRR runs one speaker in a routing table. Put what both say into one.",
    fixed=True,
)
NETWORK = Rule(
    "SX403",
    "network-wrong",
    "A BGPRouter announces each prefix once, and of families that it speaks.",
    "A prefix of a family that the speaker does not speak is never announced, and one that is named twice is"
    " mostly a slip in the other.",
)
NETWORK_UNKNOWN = Rule(
    "SX404",
    "network-unknown",
    "The box has a route to each prefix that its BGPRouter announces.",
    "FRR announces a prefix only while the box has a route to exactly it. Nothing in the specs gives the"
    " box one: no address, no gateway's subnet, no Route. If something else on the box does, nothing is"
    " wrong.",
    severity=Severity.NOTE,
)


def routers_are_whole(fleet: Fleet) -> Iterator[Finding]:
    """Each BGPRouter has an AS number and a router ID."""
    for router in fleet.routers.values():
        if router.spec.box not in fleet.boxes:
            continue
        if fleet.asn_of(router) is None:
            yield router.finding(INCOMPLETE, ("asn",), f"give asn here or in Box/{router.spec.box}")
        if fleet.router_id_of(router) is None:
            message = f"give routerId here, or routerId or loopback in Box/{router.spec.box}"
            yield router.finding(INCOMPLETE, ("routerId",), message)


def boxes_have_one_speaker(fleet: Fleet) -> Iterator[Finding]:
    """A box has one BGPRouter."""
    for router in fleet.routers.values():
        first = fleet.router_of(router.spec.box)
        if first is not None and first is not router:
            at = first.at("box")
            message = f"{router.spec.box} already has {first.ref} ({at})"
            yield router.finding(SPEAKER_TWICE, ("box",), message, other=at)


def networks_are_right(fleet: Fleet) -> Iterator[Finding]:
    """Each prefix is announced once, and of a family that the speaker speaks."""
    for router in fleet.routers.values():
        first: dict[object, int] = {}
        for i, network in enumerate(router.spec.networks):
            family = family_of(network)
            if f"{family}Unicast" not in router.spec.families:
                message = f"{network} is {family}, and {family}Unicast is not one of families"
                yield router.finding(NETWORK, ("networks", i), message)
            elif first.setdefault(network, i) != i:
                at = router.at("networks", first[network])
                message = f"{network} is given twice, first at {at}"
                yield router.finding(NETWORK, ("networks", i), message, other=at)


def networks_have_routes(fleet: Fleet) -> Iterator[Finding]:
    """Something in the specs gives the box a route to what it announces."""
    for router in fleet.routers.values():
        if router.spec.box in fleet.boxes:
            known = _known(fleet, router)
            for i, network in enumerate(router.spec.networks):
                if network not in known:
                    message = f"nothing in the specs gives {router.spec.box} a route to {network}"
                    yield router.finding(NETWORK_UNKNOWN, ("networks", i), message)


def _known(fleet: Fleet, router: Object[BGPRouterSpec]) -> set[Any]:
    box = router.spec.box
    connected = {link.address.network for link in fleet.links_of(box)}
    return connected | {route.spec.destination for route in fleet.on("Route", box)}


RULES: tuple[Rule, ...] = (INCOMPLETE, SPEAKER_TWICE, NETWORK, NETWORK_UNKNOWN)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (boxes_have_one_speaker, networks_are_right)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (routers_are_whole, networks_have_routes)
