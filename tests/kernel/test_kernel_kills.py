"""kill -9 after every single message of an apply: the next start ends where it should, and owns just that."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from conftest import Namespace, _enter

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.observe import observe_fdb
from smartxd.planes.kernel.plane import KernelPlane
from smartxd.planes.kernel.rtnl import Rtnl
from smartxd.planes.kernel.state import (
    Address,
    Bridge,
    Forwarding,
    Host,
    KernelState,
    NextHop,
    PortRule,
    PortSettings,
    Route,
    Station,
    Vxlan,
)
from smartxd.planes.kernel.sysctl import Setting, Sysctls
from smartxd.reconcile.converge import converge
from smartxd.reconcile.plan import Ownership
from smartxd.store.control import ControlStore

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

TUNNELS = 20
STATION = "02:00:00:00:00:05"
PORTS = ObjectRef("Bridge", "ports")


def tunnel(i: int) -> tuple[Bridge, Vxlan, Address]:
    """One of four kinds: multicast, static, EVPN, static over IPv6."""
    owner = ObjectRef("Tunnel", f"t{i}")
    bridge = Bridge(owner, f"br{i}", 1400)
    vxlan = Vxlan(owner, f"vx{i}", i, "192.0.2.1", bridge.name, 1400)
    if i % 4 == 0:
        bridge = replace(
            bridge, forwarding4=True, hosts=frozenset({Host(f"10.0.{i}.9", "02:00:00:00:00:09")})
        )
        vxlan = replace(vxlan, group="239.1.1.1", underlay="wan")
    elif i % 4 == 1:
        stations = frozenset({Station(STATION, "192.0.2.2")})
        vxlan = replace(vxlan, remotes=frozenset({"192.0.2.2", "192.0.2.3"}), stations=stations)
    elif i % 4 == 2:
        settings = PortSettings(learning=False, neighbor_suppression=True)
        vxlan = replace(vxlan, remotes=None, learning=False, settings=settings)
    else:
        vxlan = replace(vxlan, local="2001:db8::1", remotes=frozenset({"2001:db8::2"}))
    return bridge, vxlan, Address(owner, bridge.name, f"10.0.{i}.1/24")


FLEET = [tunnel(i) for i in range(1, TUNNELS + 1)]
WHOLE = KernelState(
    links=(*(bridge for bridge, _, _ in FLEET), *(vxlan for _, vxlan, _ in FLEET)),
    ports=(PortRule(PORTS, ("tap*",), "br1", settings=PortSettings(isolated=True)),),
    addresses=tuple(address for _, _, address in FLEET),
    routes=(
        Route(FLEET[0][0].owner, "10.9.0.0/16", (NextHop("10.0.1.7", "br1"),)),
        Route(FLEET[1][0].owner, "10.10.0.0/16", table=100),
    ),
    forwarding=(Forwarding(PORTS, "wan", "ipv4"),),
)


def changed(i: int, bridge: Bridge, vxlan: Vxlan, address: Address) -> tuple[Bridge, Vxlan, Address]:
    match i % 5:
        case 0:
            return bridge, replace(vxlan, vni=vxlan.vni + 100), address
        case 1:
            return replace(bridge, mtu=1300, link_local=True), replace(vxlan, mtu=1300), address
        case 2:
            return bridge, vxlan, replace(address, address=address.address.replace(".1/24", ".2/24"))
        case 3:
            name = f"b{i}"
            return replace(bridge, name=name), replace(vxlan, bridge=name), replace(address, link=name)
    return bridge, vxlan, address


def otherwise() -> KernelState:
    """The fleet, of which something is changed in each way: anew, in place, by another address, gone."""
    found = [changed(i, *segment) for i, segment in enumerate(FLEET)]
    return replace(
        WHOLE,
        links=(*(bridge for bridge, _, _ in found), *(vxlan for _, vxlan, _ in found)),
        addresses=tuple(address for _, _, address in found),
        routes=(Route(FLEET[0][0].owner, "10.9.0.0/16", (NextHop("10.0.1.8", "br1"),)),),
        ports=(PortRule(PORTS, ("tap*",), "br2"),),
        forwarding=(),
    )


class Fuse:
    """Kills this very process after some messages."""

    def __init__(self, messages: int) -> None:
        self._left = messages

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalRtnl(Rtnl):
    """Sends one change at a time."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__(window=1)
        self._fuse = fuse

    def change(self, type_: int, body: bytes) -> None:
        super().change(type_, body)
        self._fuse.burn()

    def batch(self, changes: Sequence[tuple[int, int, bytes]]) -> list[OSError | None]:
        outcomes = []
        for change in changes:
            outcomes += super().batch([change])
            self._fuse.burn()
        return outcomes


class MortalSysctls(Sysctls):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def write(self, settings: Sequence[Setting]) -> list[OSError | None]:
        outcomes = []
        for setting in settings:
            outcomes += super().write([setting])
            self._fuse.burn()
        return outcomes


def killed(box: Namespace, path: Path, desired: KernelState, messages: int) -> bool:
    """Whether a daemon that begins to converge is killed after so many messages; else it is done."""
    child = os.fork()
    if child == 0:
        status = 3
        try:
            _enter(box.path)
            store, plane, fuse = ControlStore(path), KernelPlane(), Fuse(messages)
            plane._rtnl, plane._sysctls = MortalRtnl(fuse), MortalSysctls(fuse)
            found = converge(plane, desired, store, ())
            print(*(p.message for p in found.failures), sep="\n", file=sys.stderr)
            status = 4 if found.failures else 0
        except BaseException:  # noqa: BLE001 (the child never returns to the test)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@contextmanager
def started(box: Namespace, path: Path) -> Iterator[tuple[KernelPlane, ControlStore]]:
    """A daemon's plane and inventory after its start."""
    store = ControlStore(path)
    with box.inside():
        plane = KernelPlane()
    try:
        yield plane, store
    finally:
        plane.close()
        store.close()


def check(box: Namespace, path: Path, desired: KernelState, where: str) -> None:
    """One round after the start all is as wanted, and smartxd owns what the specs say."""
    with started(box, path) as (plane, store):
        found = converge(plane, desired, store, ())
        assert [p.message for p in found.failures] == [], where
        plane.resync()
        observed = plane.observe()
        left = plane.plan(desired, observed, Ownership(store.owned()))
        assert [(a.verb, a.id, a.changes) for a in left.actions] == [], where
        plugs = {f"port tap1 in {rule.bridge}" for rule in desired.ports}
        assert {o.id for o in store.owned()} == {o.id for o in desired.objects()} | plugs, where
        assert {(o.id, o.owner) for o in desired.objects()} <= {(o.id, o.owner) for o in store.owned()}, where
        owners = {link.name: link.owner for link in desired.links}
        others = dict.fromkeys(("lo", "wan", "wan-peer", "tap1"))
        assert {name: link.owner for name, link in observed.links.items()} == owners | others, where
        assert {link.group for link in observed.links.values()} == {0}, where
        fixed = [e.index for e in observe_fdb(plane._rtnl) if e.master and e.mac == STATION]
        stationed = [link.name for link in desired.links if isinstance(link, Vxlan) and link.stations]
        assert sorted(fixed) == sorted(observed.links[name].index for name in stationed), where
        marked = {(a.link, a.address) for a in observed.addresses.values() if a.marked}
        assert marked == {(a.link, a.address) for a in desired.addresses}, where
        keys = {(r.destination, r.metric, r.table) for r in desired.routes}
        assert observed.routes.keys() == keys, where
        assert observed.links["wan"].forwarding4 == bool(desired.forwarding), where
        assert observed.links["tap1"].master == "".join(rule.bridge for rule in desired.ports), where


@pytest.mark.parametrize("way", ["made and removed", "changed and changed back"])
def test_a_kill_after_any_message_leaves_nothing_that_the_next_start_does_not_mend(
    box: Namespace, tmp_path: Path, way: str
) -> None:
    box.batch(["address add 2001:db8::1/64 dev wan nodad", "tuntap add tap1 mode tap"])
    path = tmp_path / "control.db"
    there, back = (WHOLE, KernelState()) if way == "made and removed" else (otherwise(), WHOLE)
    with started(box, path) as (plane, store):
        converge(plane, back, store, ())
    mortal = {there: True, back: True}
    for messages in count(1):
        for target, dies in mortal.items():
            # Who is no longer killed needs no child: the check is another daemon's first round.
            mortal[target] = dies and killed(box, path, target, messages)
            check(box, path, target, f"killed after message {messages} of {way}")
        if not any(mortal.values()):
            break
    assert messages > 60
    print(f"{way}: {messages - 1} positions")
