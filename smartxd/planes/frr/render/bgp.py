"""The ``router bgp`` section: its settings, and what it announces."""

from __future__ import annotations

from collections.abc import Iterator

from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.running import Section
from smartxd.planes.frr.state import VNI, Network, Redistribution, Router
from smartxd.planes.frr.words import FAMILIES, Path, part_of

_POLICY = "bgp ebgp-requires-policy"


def router(part: Router, context: Context) -> tuple[Path, ...]:
    """The section and its own settings.

    Routes of eBGP neighbours pass without a policy (not so by RFC 8212): what a spec gives no policy is
    meant to pass. The datacenter profile has that as its default.

    ``bgp network import-check`` stays FRR's default, on: a declared network is announced as long as the box
    itself has a route to it (a loopback or gateway address, a connected or static route), so that no box
    draws traffic that it can only drop.
    """
    return ((part.id,), *((part.id, *path) for path in _settings(part, context)))


def _settings(part: Router, context: Context) -> Iterator[Path]:
    if part.router_id is not None:
        yield (f"bgp router-id {part.router_id}",)
    if context.profile != "datacenter":
        yield (f"no {_POLICY}",)
    if part.cluster_id:
        yield (f"bgp cluster-id {part.cluster_id}",)
    for family in part.families:
        header = FAMILIES[family]
        if family != "evpn":
            yield (header, f"maximum-paths {part.multipath_ebgp}")
            yield (header, f"maximum-paths ibgp {part.multipath_ibgp}")
            continue
        if part.advertise_all_vni:
            yield (header, "advertise-all-vni")
        if part.advertise_svi_ip:
            yield (header, "advertise-svi-ip")


def passes_ebgp(section: Section, profile: str) -> bool:
    """Whether a section lets routes of eBGP neighbours through without a policy."""
    default = profile == "datacenter"
    off, on = (section.id, f"no {_POLICY}"), (section.id, _POLICY)
    return off in section.paths or (default and on not in section.paths)


def is_setting(section: Section, path: Path) -> bool:
    """Whether a line of a section is the section itself or one of the settings that ``router`` renders."""
    return part_of(path) == section.id


def network(part: Network) -> tuple[Path, ...]:
    """The announcement of a prefix."""
    family = FAMILIES["ipv6" if ":" in part.prefix else "ipv4"]
    return ((f"router bgp {part.asn}", family, f"network {part.prefix}"),)


def redistribution(part: Redistribution) -> tuple[Path, ...]:
    """The announcement of another source's routes."""
    words = [f"redistribute {part.source}"]
    if part.metric is not None:
        words.append(f"metric {part.metric}")
    if part.route_map:
        words.append(f"route-map {part.route_map}")
    return ((f"router bgp {part.asn}", FAMILIES[part.family], " ".join(words)),)


def vni(part: VNI) -> tuple[Path, ...]:
    """The route distinguisher of a VNI, and its route targets, each imported and exported.

    The one that FRR derives by itself (RFC 8365, section 5.1.2.1) it neither prints nor keeps beside others
    that come after it.
    """
    above = (f"router bgp {part.asn}", FAMILIES["evpn"])
    derived = f"{part.asn & 0xFFFF}:{part.vni}"
    given = sorted(part.route_targets, key=lambda target: (target == derived, target))
    targets = [
        (*above, part.id, f"route-target {way} {target}")
        for way in ("import", "export")
        for target in given
        if given != [derived]
    ]
    rd = [(*above, part.id, f"rd {part.route_distinguisher}")] if part.route_distinguisher else []
    return ((*above, part.id), *rd, *targets)
