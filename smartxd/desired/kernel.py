"""Box and Tunnel specs to the kernel state of one box."""

from __future__ import annotations

from smartxd.planes.kernel.state import Address, Bridge, KernelState, Vxlan
from smartxd.spec.envelope import Object
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.tunnel import MulticastFlood, TunnelSpec


def lower(fleet: Fleet, box: str) -> KernelState:
    """The links and addresses that the specs ask of ``box``."""
    me = fleet.boxes[box]
    tunnels: tuple[Object[TunnelSpec], ...] = fleet.on("Tunnel", box)
    bridges = sorted((_bridge(t, me) for t in tunnels), key=lambda link: link.name)
    vxlans = sorted((_vxlan(t, me) for t in tunnels), key=lambda link: link.name)
    addresses = [
        Address(t.ref, _bridge_name(t), str(gateway))
        for t in tunnels
        for gateway in t.spec.gateways.get(box, ())
    ]
    if me.spec.loopback is not None:
        addresses.append(Address(me.ref, "lo", f"{me.spec.loopback}/32"))
    return KernelState((*bridges, *vxlans), tuple(sorted(addresses, key=lambda a: a.id)))


def _bridge_name(tunnel: Object[TunnelSpec]) -> str:
    name = tunnel.spec.own_bridge
    if name is None:
        raise ValueError(f"{tunnel.ref}: not a checked fleet")
    return name


def _mtu(tunnel: Object[TunnelSpec], box: Object[BoxSpec]) -> int:
    if isinstance(tunnel.spec.mtu, int):
        return tunnel.spec.mtu
    return box.spec.underlay.mtu - tunnel.spec.overhead_bytes


def _bridge(tunnel: Object[TunnelSpec], box: Object[BoxSpec]) -> Bridge:
    return Bridge(tunnel.ref, _bridge_name(tunnel), _mtu(tunnel, box))


def _vxlan(tunnel: Object[TunnelSpec], box: Object[BoxSpec]) -> Vxlan:
    spec, underlay = tunnel.spec, box.spec.underlay
    local = box.spec.underlay_address(spec.underlay)
    if not isinstance(spec.flood, MulticastFlood) or local is None:
        raise ValueError(f"{tunnel.ref}: not a checked fleet")
    return Vxlan(
        owner=tunnel.ref,
        name=spec.link_name,
        vni=spec.vni,
        group=str(spec.flood.group),
        local=str(local.ip),
        underlay=underlay.interface,
        bridge=_bridge_name(tunnel),
        mtu=_mtu(tunnel, box),
        port=spec.port,
        ttl=spec.ttl,
    )
