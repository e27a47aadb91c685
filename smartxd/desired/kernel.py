"""Box and Tunnel specs to the kernel state of one box."""

from __future__ import annotations

from smartxd.planes.kernel.state import Address, Bridge, KernelState, Vxlan
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.tunnel import VXLAN_OVERHEAD_BYTES, TunnelSpec


def lower(fleet: Fleet, box: str) -> KernelState:
    """The links and addresses that the specs ask of ``box``."""
    me = fleet.boxes[box]
    tunnels = [t for t in fleet.tunnels.values() if box in fleet.select(t.spec.boxes)]
    bridges = sorted((_bridge(t, me) for t in tunnels), key=lambda link: link.name)
    vxlans = sorted((_vxlan(t, me) for t in tunnels), key=lambda link: link.name)
    addresses = [
        Address(t.ref, t.spec.bridge_name, str(t.spec.gateways[box]))
        for t in tunnels
        if box in t.spec.gateways
    ]
    if me.spec.loopback is not None:
        addresses.append(Address(me.ref, "lo", f"{me.spec.loopback}/32"))
    return KernelState((*bridges, *vxlans), tuple(sorted(addresses, key=lambda a: a.id)))


def _mtu(tunnel: Object[TunnelSpec], box: Object[BoxSpec]) -> int:
    if isinstance(tunnel.spec.mtu, int):
        return tunnel.spec.mtu
    return box.spec.underlay.mtu - VXLAN_OVERHEAD_BYTES


def _bridge(tunnel: Object[TunnelSpec], box: Object[BoxSpec]) -> Bridge:
    return Bridge(tunnel.ref, tunnel.spec.bridge_name, _mtu(tunnel, box))


def _vxlan(tunnel: Object[TunnelSpec], box: Object[BoxSpec]) -> Vxlan:
    spec, underlay = tunnel.spec, box.spec.underlay
    return Vxlan(
        owner=tunnel.ref,
        name=spec.link_name,
        vni=spec.vni,
        group=str(spec.flood.group),
        local=str(underlay.address.ip),
        underlay=underlay.interface,
        bridge=spec.bridge_name,
        mtu=_mtu(tunnel, box),
        port=spec.port,
        ttl=spec.ttl,
    )
