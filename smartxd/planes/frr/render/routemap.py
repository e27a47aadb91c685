"""Route maps."""

from __future__ import annotations

from collections.abc import Iterator

from smartxd.planes.frr.render.lists import communities
from smartxd.planes.frr.render.text import description
from smartxd.planes.frr.state import Match, RouteMap, RouteMapEntry, Set
from smartxd.planes.frr.words import Path

_UNICAST = {"ipv4": "ip", "ipv6": "ipv6"}
_MATCHES = {"standard": "community", "extended": "extcommunity", "large": "large-community"}
_DELETES = {"standard": "comm-list", "large": "large-comm-list", "extended": "extended-comm-list"}


def route_map(part: RouteMap) -> tuple[Path, ...]:
    """The map; each entry bears the mark before anything else."""
    found: list[Path] = []
    for entry in part.entries:
        header = f"{part.id} {entry.action} {entry.seq}"
        mark = f"description {description(part.owner, entry.description)}"
        found += [(header,), *((header, line) for line in (mark, *_clauses(entry)))]
    return tuple(found)


def _clauses(entry: RouteMapEntry) -> Iterator[str]:
    if entry.call:
        yield f"call {entry.call}"
    yield from _match(entry.match)
    if entry.on_match:
        yield f"on-match {entry.on_match if entry.on_match == 'next' else f'goto {entry.on_match}'}"
    yield from _set(entry.set)


def _match(match: Match) -> Iterator[str]:
    if match.prefix_list:
        yield f"match {_UNICAST[match.prefix_list_family]} address prefix-list {match.prefix_list}"
    if match.next_hop_prefix_list:
        family = _UNICAST[match.next_hop_family]
        yield f"match {family} next-hop prefix-list {match.next_hop_prefix_list}"
    if match.community_list:
        exact = " exact-match" if match.exact_communities else ""
        yield f"match {_MATCHES[match.community_type]} {match.community_list}{exact}"
    values: tuple[tuple[str, object], ...] = (
        ("as-path", match.as_path_list),
        ("local-preference", match.local_preference),
        ("metric", match.metric),
        ("tag", match.tag),
        ("interface", match.interface),
        ("source-protocol", match.source_protocol),
        ("evpn vni", match.evpn_vni),
        ("evpn route-type", match.evpn_route_type),
    )
    yield from (f"match {name} {value}" for name, value in values if value not in (None, ""))


def _set(given: Set) -> Iterator[str]:
    additive = " additive" if given.additive else ""
    values: tuple[tuple[str, object], ...] = (
        ("local-preference", given.local_preference),
        ("metric", given.metric),
        ("weight", given.weight),
        ("origin", given.origin),
        ("tag", given.tag),
        ("as-path prepend", " ".join(map(str, given.as_path_prepend))),
    )
    yield from (f"set {name} {value}" for name, value in values if value not in (None, ""))
    yield from _next_hop(given.next_hop)
    if given.communities:
        yield f"set community {' '.join(communities(given.communities))}{additive}"
    if given.large_communities:
        yield f"set large-community {' '.join(communities(given.large_communities))}{additive}"
    for kind in ("rt", "soo"):
        mine = [c for c in communities(given.extended_communities) if c.startswith(f"{kind} ")]
        if mine:
            yield f"set extcommunity {kind} {' '.join(c.removeprefix(f'{kind} ') for c in mine)}"
    if given.delete_communities:
        yield f"set {_DELETES[given.delete_type]} {given.delete_communities} delete"


def _next_hop(next_hop: str) -> Iterator[str]:
    """``peer-address`` is of both families; ``unchanged`` FRR has for IPv4 routes only."""
    match next_hop:
        case "":
            return
        case "unchanged":
            yield "set ip next-hop unchanged"
        case "peer-address":
            yield "set ip next-hop peer-address"
            yield "set ipv6 next-hop peer-address"
        case _ if ":" in next_hop:
            yield f"set ipv6 next-hop global {next_hop}"
        case _:
            yield f"set ip next-hop {next_hop}"
