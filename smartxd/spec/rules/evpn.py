"""EVPN tunnels: VTEPs that FRR can tell of, and a path of EVPN sessions between all members."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.bgprouter import AddressFamily
from smartxd.spec.kinds.tunnel import EVPNFlood, TunnelSpec
from smartxd.spec.propagation import Sessions

EVPN_SPEAKER = Rule(
    "SX321",
    "evpn-speaker",
    "Each box of an EVPN tunnel has a BGPRouter that speaks l2vpnEvpn.",
    "Its VTEPs and MACs are told by BGP alone: a box without a speaker hears of no other and is heard by"
    " none. Declare a BGPRouter with `families: [ipv4Unicast, l2vpnEvpn]`, or choose another flood mode.",
)
EVPN_PATH = Rule(
    "SX322",
    "evpn-path",
    "BGP carries EVPN routes between all boxes of an EVPN tunnel.",
    "Routes pass from speaker to speaker over sessions with the family l2vpnEvpn. What was learned by"
    " iBGP is told to other iBGP neighbours by a route reflector only (RFC 4456): join all boxes of an AS"
    " with each other, or each with a reflector whose end says `routeReflectorClient: true`. A reflector"
    " drops what another of its own `clusterId` has reflected, and a speaker refuses a route with its own AS"
    " number in the path unless `allowAsIn` lets it. Speakers outside the repo are taken to pass all on.",
)

EVPN_UNDERLAY = Rule(
    "SX323",
    "evpn-underlay",
    "The VTEPs of an EVPN tunnel are IPv4 addresses.",
    "FRR tells no VTEP of IPv6: it would announce the router ID instead, behind which there is none. Leave"
    " `underlay` at ipv4, or choose another flood mode.",
)
EVPN_DISTINGUISHER = Rule(
    "SX324",
    "evpn-distinguisher",
    "No route distinguisher that is given is one that FRR derives.",
    "FRR derives them from a box's router ID and a number that it counts up from 2, VNI by VNI. One that it"
    " gives to another VNI makes their routes one; one that it has given to the very VNI it does not keep:"
    " the next start may derive another. Behind a router ID choose a number above that of the box's tunnels,"
    " or one behind an AS number.",
)

FAMILY: AddressFamily = "l2vpnEvpn"


def evpn_boxes_speak(fleet: Fleet) -> Iterator[Finding]:
    """Each box of an EVPN tunnel has a speaker with the family."""
    for tunnel in _evpn_tunnels(fleet):
        for box in fleet.members(tunnel):
            router = fleet.router_of(box)
            if router is None:
                yield tunnel.finding(EVPN_SPEAKER, ("flood", "mode"), f"{box} has no BGPRouter")
                break
            if FAMILY not in router.spec.families:
                at = router.at("families")
                message = f"{router.ref} of {box} does not speak {FAMILY} ({at})"
                yield tunnel.finding(EVPN_SPEAKER, ("flood", "mode"), message, other=at)
                break


def evpn_routes_reach_all(fleet: Fleet) -> Iterator[Finding]:
    """The routes of each box of an EVPN tunnel reach all others."""
    sessions = Sessions(fleet, FAMILY)
    for tunnel in _evpn_tunnels(fleet):
        members = fleet.members(tunnel)
        if not all(sessions.speaks(box) for box in members):
            continue  # said by the other rule
        for box in members:
            missed = sessions.missed(box, frozenset(members))
            if missed is not None:
                message = f"no EVPN routes come from {box} to {missed}; {sessions.where_it_ends(box, missed)}"
                yield tunnel.finding(EVPN_PATH, ("flood", "mode"), message)
                break


def evpn_vteps_are_ipv4(fleet: Fleet) -> Iterator[Finding]:
    """No EVPN tunnel is over IPv6."""
    for tunnel in _evpn_tunnels(fleet):
        if tunnel.spec.underlay == "ipv6":
            message = "evpn is over IPv4 only; leave underlay out or choose another flood mode"
            yield tunnel.finding(EVPN_UNDERLAY, ("underlay",), message)


def evpn_distinguishers_are_not_derived(fleet: Fleet) -> Iterator[Finding]:
    """No route distinguisher is a router ID with a number that FRR comes to by itself."""
    counted: dict[str, tuple[str, int]] = {}
    for router in fleet.routers.values():
        if (router_id := fleet.router_id_of(router)) is not None:
            # The first number is that of the speaker itself.
            counted[router_id] = router.spec.box, len(fleet.on("Tunnel", router.spec.box)) + 1
    for tunnel in fleet.tunnels.values():
        for name, given in tunnel.spec.route_distinguishers.items():
            head, _, number = given.partition(":")
            box, highest = counted.get(head, ("", 0))
            if 1 <= int(number) <= highest:
                message = (
                    f"FRR on {box} derives {head}:1 to {head}:{highest} by itself; choose a higher number"
                )
                yield tunnel.finding(EVPN_DISTINGUISHER, ("flood", "routeDistinguishers", name), message)


def _evpn_tunnels(fleet: Fleet) -> Iterator[Object[TunnelSpec]]:
    return (t for t in fleet.tunnels.values() if isinstance(t.spec.flood, EVPNFlood))


RULES: tuple[Rule, ...] = (EVPN_SPEAKER, EVPN_PATH, EVPN_UNDERLAY, EVPN_DISTINGUISHER)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    evpn_vteps_are_ipv4,
    evpn_distinguishers_are_not_derived,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (evpn_boxes_speak, evpn_routes_reach_all)
