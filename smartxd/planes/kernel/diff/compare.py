"""In what a link, or the port of a bridge, differs from what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

from smartxd.planes.kernel.observed import ObservedLink
from smartxd.planes.kernel.state import Bridge, Link, PortSettings, Vlan, VlanRange, Vxlan, mark
from smartxd.reconcile.plan import Change, Disruption

IMMUTABLE = {
    Bridge: frozenset({"kind"}),
    Vlan: frozenset({"kind", "bridge", "vid"}),
    Vxlan: frozenset({"kind", "vni", "group", "local", "underlay", "port"}),
}
"""Fields that are fixed when a link is made."""

_FIELDS = {
    kind: tuple(f.name for f in fields(kind) if f.name not in ("owner", "name")) for kind in Link.__args__
}


def differences(want: Link, have: ObservedLink, *, aware: bool) -> tuple[Change, ...]:
    """The changes that make ``have`` what is wanted, the mark among them.

    ``aware``: the bridge of which it is to be a port is VLAN-aware. Both are values that stay the same
    objects from round to round where nothing happens, so that comparing them once is enough.
    """
    if have.compared and have.compared[0] is want and have.compared[1] is aware:
        found: tuple[Change, ...] = have.compared[2]
        return found
    changes = tuple(_differences(want, have, aware))
    have.compared[:] = want, aware, changes
    return changes


def _differences(want: Link, have: ObservedLink, aware: bool) -> Iterator[Change]:
    old = have.as_state(want.owner)
    if type(old) is not type(want):
        yield Change("kind", have.kind, type(want).__name__.lower())
        return
    if old != want:
        for name in _FIELDS[type(want)]:
            before, after = getattr(old, name), getattr(want, name)
            if name == "settings" and isinstance(want, Vxlan):
                yield from settings(port_settings(have, want.bridge), after, aware=aware)
            elif before != after and _compared(want, name):
                yield Change(name, before, after)
    if not have.up:
        yield Change("up", False, True)
    if isinstance(want, Vxlan) and have.link_local:
        yield Change("link_local", True, False)
    if isinstance(want, Bridge) and want.vlan_aware and have.bridge and have.bridge.default_pvid:
        yield Change("default_pvid", have.bridge.default_pvid, 0)
    if have.owner != want.owner:
        yield Change("alias", have.alias, mark(want.owner))


def _compared(want: Link, field: str) -> bool:
    """Whether the spec says what the field should be."""
    if isinstance(want, Vxlan):
        return field not in ("remotes", "stations") or want.remotes is not None
    if field == "mac":
        return bool(want.mac)
    return field != "vlans" or not isinstance(want, Bridge) or want.vlan_aware


def port_settings(have: ObservedLink, bridge: str) -> PortSettings:
    """The settings that it has, or will have when it becomes a port of ``bridge``: those of a new one."""
    if have.port is None or have.master != bridge:
        return PortSettings()
    return have.port.settings


def settings(old: PortSettings, new: PortSettings, *, aware: bool) -> Iterator[Change]:
    """The settings of a port that differ; its VLANs where the bridge knows any."""
    if old == new:
        return
    for name in (f.name for f in fields(PortSettings)):
        before, after = getattr(old, name), getattr(new, name)
        if before != after and (aware or name != "vlans"):
            yield Change(f"settings.{name}", before, after)


def disruption(changes: Iterable[Change], *, moved: bool) -> Disruption:
    """What traffic notices when a link, or a port that is ``moved`` from bridge to bridge, is changed."""
    return Disruption.FLAP if moved or any(map(_flaps, changes)) else Disruption.NONE


def _flaps(change: Change) -> bool:
    if change.field in ("vlans", "settings.vlans"):
        return _pvid(change.old) is not None and _pvid(change.old) != _pvid(change.new)
    # Ports of a bridge that begins with STP listen before they forward; a new MAC is to be asked for anew.
    return change.field in ("vlan_aware", "default_pvid", "stp", "mac")


def _pvid(vlans: object) -> int | None:
    ranges = vlans if isinstance(vlans, tuple) else ()
    return next((v.first for v in ranges if isinstance(v, VlanRange) and v.pvid), None)
