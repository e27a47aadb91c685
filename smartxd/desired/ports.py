"""Port specs to the rules by which links of others are plugged in, and what VLANs are on a port."""

from __future__ import annotations

from collections.abc import Iterable

from smartxd.planes.kernel.state import PortRule, PortSettings, VlanRange
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.port import PortSpec


def port_rule(fleet: Fleet, port: Object[PortSpec]) -> PortRule:
    """What is plugged into which bridge, and how."""
    spec = port.spec
    return PortRule(
        owner=port.ref,
        patterns=tuple(sorted(set(spec.interfaces))),
        bridge=_bridge(fleet, port),
        namespace=spec.namespace,
        settings=PortSettings(vlans=_vlans(spec), isolated=spec.isolated),
    )


def _bridge(fleet: Fleet, port: Object[PortSpec]) -> str:
    """Name of the bridge that a port plugs into: that of its tunnel or of a Bridge."""
    named = port.spec.bridge
    if named is None:
        tunnel = fleet.tunnels[port.spec.tunnel or ""]
        if (own := tunnel.spec.own_bridge) is not None:
            return own
        named = tunnel.spec.bridge_ref
    return fleet.bridges[named or ""].spec.interface


def _vlans(spec: PortSpec) -> tuple[VlanRange, ...]:
    if spec.access is not None:
        return vlan_ranges(untagged=spec.access)
    if spec.trunk is None:
        return ()
    tagged = {vid for first, last in spec.trunk.vlans for vid in range(first, last + 1)}
    return vlan_ranges(tagged, spec.trunk.native)


def vlan_ranges(tagged: Iterable[int] = (), untagged: int | None = None) -> tuple[VlanRange, ...]:
    """The VLANs of a port, sorted, in as few ranges as can be; the untagged one is the PVID too."""
    runs: list[tuple[int, int]] = []
    for vid in sorted(set(tagged) - {untagged}):
        first, last = runs[-1] if runs else (0, 0)
        if runs and vid == last + 1:
            runs[-1] = (first, vid)
        else:
            runs.append((vid, vid))
    ranges = [VlanRange(first, last) for first, last in runs]
    if untagged is not None:
        ranges.append(VlanRange(untagged, untagged, pvid=True, untagged=True))
    return tuple(sorted(ranges))
