"""Trace policies: interfaces and filters that can exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.tracepolicy import TracePolicySpec
from smartxd.spec.pcap import FilterError, LibpcapMissing, compiled
from smartxd.spec.places import Path

INTERFACES_MAX = 128
"""Interfaces of one policy on a box; its tracer has room for no more."""

FILTER = Rule(
    "SX601",
    "filter-refused",
    "The filters of a policy are pcap-filter(7) expressions that need nothing but the packet.",
    "The filter is compiled by libpcap, here as on the boxes. Names of hosts, networks, services and"
    " protocols are refused, because each machine would look them up differently: give addresses and"
    " numbers.",
)
UNCHECKED = Rule(
    "SX602",
    "filter-unchecked",
    "libpcap is there to compile filters.",
    "Without it the filters are not judged here, and a box would find out. Install libpcap (Debian and"
    " Ubuntu: `libpcap0.8`).",
    severity=Severity.NOTE,
)
NOWHERE = Rule(
    "SX603",
    "trace-nowhere",
    "A traced Tunnel or session is on at least one of the policy's boxes.",
    "Nothing would be traced. Add the boxes of the tunnel or session to the policy.",
)
NO_INTERFACE = Rule(
    "SX604",
    "trace-no-interface",
    "A traced interface that smartxd makes is made on one of the policy's boxes.",
    "A name such as vx100 or br100 is that of a tunnel; on these boxes no tunnel makes it, so the tracer"
    " would wait for it for ever. Name the `tunnel` instead: it follows a change of the VNI.",
    severity=Severity.WARNING,
)
OPTION = Rule(
    "SX605",
    "trace-option",
    "An option of a mode stands with its mode.",
    "`activeTimeout` and `idleTimeout` are of the mode flows, `flowsMax` is of flows, drops and tcp,"
    " `snapLength` of packets; drops and tcp are not sampled, by a `budget` neither, and have no direction."
    " Without the mode they do nothing, and mostly the mode was forgotten.",
    severity=Severity.WARNING,
)
TWICE = Rule(
    "SX606",
    "trace-twice",
    "A policy names each of its interfaces once.",
    "An interface is watched once, however often it is named; mostly the second was to be another one.",
    severity=Severity.WARNING,
)
TOO_MANY = Rule(
    "SX607",
    "trace-too-many",
    f"A policy watches at most {INTERFACES_MAX} interfaces of a box.",
    "The ledger of a policy, which accounts for every packet, has room for so many. Make several policies"
    " of it.",
)

TCP_FILTER = Rule(
    "SX608",
    "trace-tcp-filter",
    "A policy of the mode tcp has no filter.",
    "The mode tcp records what the kernel tells of connections, not packets, so that no pcap filter can judge"
    " it: the policy would record some packets, and all connections. Make a policy of its own for tcp.",
)

HIDDEN_BYTES = Rule(
    "SX621",
    "trace-hidden-bytes",
    "A policy that hides addresses keeps no more of its packets than their headers.",
    "What is behind the headers may hold addresses too: what an ICMP error quotes, an answer of DNS. Of the"
    " headers a box stores what tells of none (docs/packets.md). Leave `snapLength` out, or give `headers`,"
    " or 0 for no bytes at all.",
)
HIDDEN_HASH = Rule(
    "SX622",
    "trace-hidden-hash",
    "A policy that hides the addresses of packets does not choose them by a hash.",
    "What `hash` chooses depends on the addresses, and on what the specs (`seed`) and the recorded headers"
    " tell. Who has a few packets of a host could try which of its hidden addresses have these chosen. Sample"
    " by `count` or `random`, or record flows without packets.",
)


def filters_compile(fleet: Fleet) -> Iterator[Finding]:
    """libpcap takes the filters."""
    for policy in fleet.policies.values():
        for field, text in (("filter", policy.spec.filter), ("innerFilter", policy.spec.inner_filter)):
            if text is None:
                continue
            try:
                wrong = _refusal(text)
            except LibpcapMissing as err:
                yield policy.finding(UNCHECKED, (field,), str(err))
                return  # once is enough
            if wrong:
                yield policy.finding(FILTER, (field,), wrong)


@lru_cache(maxsize=1024)
def _refusal(text: str) -> str:
    """Why a filter cannot be; empty when it can. A fleet has many policies and few filters."""
    try:
        compiled(text)
    except FilterError as err:
        return str(err)
    return ""


def points_are_on_the_boxes(fleet: Fleet) -> Iterator[Finding]:
    """A tunnel or session that is traced has a box of the policy."""
    for policy in fleet.policies.values():
        boxes = fleet.member_set(policy)
        for i, point in enumerate(policy.spec.interfaces):
            tunnel = fleet.tunnels.get(point.tunnel or "")
            if tunnel is not None and boxes and boxes.isdisjoint(fleet.member_set(tunnel)):
                at = tunnel.at("boxes")
                message = f"no box of the policy is one of {tunnel.ref} ({at})"
                yield policy.finding(NOWHERE, ("interfaces", i, "tunnel"), message, other=at)
            peer = fleet.peers.get(point.peer or "")
            if peer is not None and boxes and boxes.isdisjoint(end.box for end in peer.spec.box_ends):
                at = peer.at("between")
                message = f"no box of the policy is an end of {peer.ref} ({at})"
                yield policy.finding(NOWHERE, ("interfaces", i, "peer"), message, other=at)


_MADE = re.compile(r"(vx|br)[1-9][0-9]{0,7}")


def names_of_smartxd_are_there(fleet: Fleet) -> Iterator[Finding]:
    """An interface that bears a name of smartxd's is made on one of the policy's boxes."""
    makers: dict[str, list[Object[Any]]] = {}
    for obj in (*fleet.tunnels.values(), *fleet.bridges.values()):
        for made in fleet.made_by(obj) if fleet.members(obj) else ():
            makers.setdefault(made, []).append(obj)
    boxes = {
        name: frozenset[str]().union(*map(fleet.member_set, objects)) for name, objects in makers.items()
    }
    for policy in fleet.policies.values():
        members = fleet.member_set(policy)
        for i, point in enumerate(policy.spec.interfaces):
            name = point.name
            if name is None or not (name in boxes or _MADE.fullmatch(name)):
                continue
            if not members.isdisjoint(boxes.get(name, ())):
                continue
            message = f"no tunnel or bridge of the policy's boxes makes {name}"
            yield policy.finding(NO_INTERFACE, ("interfaces", i, "name"), message)


_OF_MODES = {
    "flows_max": ("flowsMax", ("flows", "drops", "tcp")),
    "active_timeout": ("activeTimeout", ("flows",)),
    "idle_timeout": ("idleTimeout", ("flows",)),
    "snap_length": ("snapLength", ("packets",)),
    "directions": ("directions", ("flows", "packets")),
    "sampling": ("sampling", ("flows", "packets")),
    "budget": ("budget", ("flows", "packets")),
}


def connections_are_not_filtered(fleet: Fleet) -> Iterator[Finding]:
    """No policy has a filter and the mode tcp."""
    for policy in fleet.policies.values():
        if "tcp" in policy.spec.modes:
            for field, text in (("filter", policy.spec.filter), ("innerFilter", policy.spec.inner_filter)):
                if text is not None:
                    message = "is of packets, and the mode tcp records connections"
                    yield policy.finding(TCP_FILTER, (field,), message)


def hidden_addresses_stay_hidden(fleet: Fleet) -> Iterator[Finding]:
    """No packets of a policy with privacy have payload, or are there because of their addresses."""
    for policy in fleet.policies.values():
        spec = policy.spec
        if "packets" not in spec.modes or spec.privacy.addresses == "keep":
            continue
        how = spec.privacy.addresses
        if spec.snap_length not in ("headers", 0):
            message = (
                f"bytes behind the headers may hold addresses, which privacy hides ({how}): headers or 0"
            )
            yield policy.finding(HIDDEN_BYTES, ("snapLength",), message)
        if spec.sampling.mode == "hash":
            message = f"chooses by the addresses, which privacy hides ({how}): count or random"
            yield policy.finding(HIDDEN_HASH, ("sampling", "mode"), message)


def options_have_their_mode(fleet: Fleet) -> Iterator[Finding]:
    """An option that is given is of a mode that is given."""
    for policy in fleet.policies.values():
        for attribute, (field, modes) in _OF_MODES.items():
            if attribute in policy.spec.model_fields_set and not set(modes) & set(policy.spec.modes):
                message = f"{field} is of the mode {' or '.join(modes)}, which is not one of modes"
                yield policy.finding(OPTION, (field,), message)


def points_are_named_once(fleet: Fleet) -> Iterator[Finding]:
    """No two points of a policy are the same, and no name is that of a tunnel that is traced as well."""
    for policy in fleet.policies.values():
        links: dict[str, int] = {}
        for i, point in enumerate(policy.spec.interfaces):
            tunnel = fleet.tunnels.get(point.tunnel or "")
            if tunnel is not None:
                links.setdefault(tunnel.spec.link_name, i)
        first: dict[object, int] = {}
        for i, point in enumerate(policy.spec.interfaces):
            earlier = first.setdefault(point, i)
            earlier = links.get(point.name or "", earlier) if earlier == i else earlier
            if earlier != i:
                at = policy.at("interfaces", earlier)
                message = f"is watched already by {at}"
                path: Path = ("interfaces", i)
                yield policy.finding(TWICE, path, message, other=at)


def interfaces_are_bounded(fleet: Fleet) -> Iterator[Finding]:
    """What a policy is known to watch on a box is within the bound."""
    for policy in fleet.policies.values():
        # A tunnel is two interfaces: its link and the underlay's.
        few = 2 * len(policy.spec.interfaces) <= INTERFACES_MAX
        for box in () if few else fleet.members(policy):
            count = len(_watched(fleet, policy, box))
            if count > INTERFACES_MAX:
                message = f"{count} interfaces on {box}; a policy watches at most {INTERFACES_MAX}"
                yield policy.finding(TOO_MANY, ("interfaces",), message)
                break


def _watched(fleet: Fleet, policy: Object[TracePolicySpec], box: str) -> set[str]:
    names: set[str] = set()
    for point in policy.spec.interfaces:
        tunnel = fleet.tunnels.get(point.tunnel or "")
        if point.name is not None:
            names.add(point.name)
        elif tunnel is not None and box in fleet.member_set(tunnel):
            names |= {tunnel.spec.link_name, fleet.boxes[box].spec.underlay.interface}
    return names


RULES: tuple[Rule, ...] = (
    FILTER,
    UNCHECKED,
    NOWHERE,
    NO_INTERFACE,
    OPTION,
    TWICE,
    TOO_MANY,
    TCP_FILTER,
    HIDDEN_BYTES,
    HIDDEN_HASH,
)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    filters_compile,
    connections_are_not_filtered,
    hidden_addresses_stay_hidden,
    options_have_their_mode,
    points_are_named_once,
    interfaces_are_bounded,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    points_are_on_the_boxes,
    names_of_smartxd_are_there,
)
