"""Neighbours of the ``router bgp`` section."""

from __future__ import annotations

from collections.abc import Iterator

from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.render.text import DESCRIPTION_MAX, description, free_text
from smartxd.planes.frr.state import MaxPrefixes, Neighbor, NeighborFamily
from smartxd.planes.frr.words import FAMILIES, Path

_ALLOW_AS_IN = 3
"""How often FRR lets the own AS stand in a path where ``allowas-in`` gives no number."""
_WARN_AT_PERCENT = 75
"""FRR's own threshold of ``maximum-prefix``."""


def neighbor(part: Neighbor, context: Context) -> tuple[Path, ...]:
    """A neighbour; its AS number comes first, because FRR makes the neighbour by it."""
    section = f"router bgp {part.asn}"
    session = [(section, f"neighbor {part.name} {line}") for line in _session(part, context)]
    spoken = {family.family: family for family in part.families}
    families: list[Path] = []
    for name, header in FAMILIES.items():
        if name == "ipv4":
            families += [(section, header, line) for line in _activation(part, context, "ipv4" in spoken)]
        elif name in spoken:
            families.append((section, header, f"neighbor {part.name} activate"))
        if name in spoken:
            families += [(section, header, line) for line in _family(part.name, spoken[name])]
    return (*session, *families)


def _activation(part: Neighbor, context: Context, wanted: bool) -> Iterator[str]:
    """The line that FRR prints only where it differs from what neighbours do by themselves."""
    if wanted != context.activates_ipv4:
        yield f"{'' if wanted else 'no '}neighbor {part.name} activate"


def _session(part: Neighbor, context: Context) -> Iterator[str]:
    yield f"{'interface ' if part.unnumbered else ''}remote-as {part.remote_as}"
    yield f"description {description(part.owner, part.description)}"
    if part.shutdown is not None:
        message = free_text(part.shutdown)[:DESCRIPTION_MAX].rstrip()
        yield f"shutdown message {message}" if message else "shutdown"
    if part.secret:
        yield f"password {context.passwords.get(part.secret, '')}"
    if part.multihop:
        yield f"ebgp-multihop {part.multihop}"
    if part.ttl_security:
        yield f"ttl-security hops {part.ttl_security}"
    if part.bfd_profile:
        yield "bfd"
        yield f"bfd profile {part.bfd_profile}"
    if part.update_source:
        yield f"update-source {part.update_source}"
    if part.advertisement_interval_s is not None:
        yield f"advertisement-interval {part.advertisement_interval_s}"
    yield f"timers {part.keepalive_s} {part.hold_s}"
    yield f"timers connect {part.connect_retry_s}"
    if part.graceful_restart != "helper":  # FRR's own
        yield "graceful-restart" if part.graceful_restart == "enabled" else "graceful-restart-disable"


def _family(name: str, family: NeighborFamily) -> Iterator[str]:
    neighbor = f"neighbor {name}"
    if family.next_hop_self:
        yield f"{neighbor} next-hop-self"
    if family.route_reflector_client:
        yield f"{neighbor} route-reflector-client"
    if family.family != "evpn":
        yield from _unicast(neighbor, family)
    if family.allow_as_in:
        times = f" {family.allow_as_in}" if family.allow_as_in != _ALLOW_AS_IN else ""
        yield f"{neighbor} allowas-in{times}"
    for direction, policy in (("in", family.inbound), ("out", family.outbound)):
        if policy.route_map:
            yield f"{neighbor} route-map {policy.route_map} {direction}"


def _unicast(neighbor: str, family: NeighborFamily) -> Iterator[str]:
    """What FRR 8.4 does not have for EVPN: given there, vtysh would take it for IPv4 unicast."""
    if family.default_originate:
        yield f"{neighbor} default-originate"
    for kind in _unsent(family):
        yield f"no {neighbor} send-community{kind}"
    if family.max_prefixes is not None:
        yield f"{neighbor} maximum-prefix {_limit(family.max_prefixes)}"
    for direction, policy in (("in", family.inbound), ("out", family.outbound)):
        if policy.prefix_list:
            yield f"{neighbor} prefix-list {policy.prefix_list} {direction}"
        if policy.as_path_list:
            yield f"{neighbor} filter-list {policy.as_path_list} {direction}"


def _unsent(family: NeighborFamily) -> Iterator[str]:
    """What FRR puts behind ``no … send-community``: it announces all kinds by itself."""
    unsent = [kind for kind in ("standard", "extended", "large") if kind not in family.send_communities]
    if len(unsent) == 3:
        yield " all"
        return
    for kind in unsent:
        yield f" {kind}" if kind != "standard" else ""


def _limit(limit: MaxPrefixes) -> str:
    words = [str(limit.limit)]
    if limit.warn_at_percent != _WARN_AT_PERCENT:
        words.append(str(limit.warn_at_percent))
    if limit.action == "warn":
        words.append("warning-only")
    elif limit.action == "restart":
        words.append(f"restart {limit.restart_after_minutes}")
    return " ".join(words)
