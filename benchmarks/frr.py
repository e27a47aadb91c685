"""The FRR plane with many neighbours, against frr-reload.py with the same configurations on another FRR.

A neighbour has a route map and a prefix list in and out, shared with others, timers and BFD. Nobody is there:
their addresses lead nowhere. A round of the plane is what the daemon does: observe, plan, enter into
the inventory, apply, save, observe again.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache

from benchmarks.feed import feed
from benchmarks.table import Row
from smartxd.config import FRRConfig
from smartxd.errors import LabError
from smartxd.lab import frr, namespace
from smartxd.lab.layout import ROOT, BoxLayout
from smartxd.lab.process import end
from smartxd.objects import ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.running import Configuration, parse, parse_running
from smartxd.planes.frr.state import (
    BFDProfile,
    FRRState,
    Match,
    Neighbor,
    NeighborFamily,
    Part,
    Policy,
    PrefixEntry,
    PrefixList,
    RouteMap,
    RouteMapEntry,
    Router,
    Set,
)
from smartxd.reconcile.converge import converge
from smartxd.store.control import ControlStore

FEW, SEVERAL, MANY = 100, 300, 1_000
"""Neighbours: frr-reload needs most of a minute to delete the fewest of them."""
GROUPS = 4
"""Policies that they share, as customers, peers and upstreams do."""
FEED = 200_000
REPEATS = 5
PEER = "frr-reload.py"

_ASN = 65001
_OWNER = ObjectRef("BGPRouter", "bench")
_PROFILE = BFDProfile(_OWNER, 1000, 1000, 3)
_BARE = FRRState((Router(_OWNER, _ASN, "10.255.0.1"),))
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


def run() -> list[Row]:
    """The rows."""
    return [*_against_frr_reload(), *_growth(), *_beside_a_full_table()]


@cache
def sessions(count: int, change: str = "") -> FRRState:
    """A speaker with so many neighbours and their policies; ``change`` is in the description of the first."""
    numbers = range(1, count + 1)
    lists: list[Part] = [_list("private", *_PRIVATE), _list("own", "198.51.100.0/24")]
    lists += [_list(f"from-{group}", f"{20 + group}.0.0.0/8") for group in range(GROUPS)]
    maps: list[Part] = [part for group in range(GROUPS) for part in _maps(group)]
    neighbors = [_neighbor(n, change if n == 1 else "") for n in numbers]
    return FRRState((*lists, *maps, _PROFILE, *_BARE.parts, *neighbors))


def _list(name: str, *prefixes: str) -> PrefixList:
    entries = (PrefixEntry(5 * i, "permit", prefix, le=24) for i, prefix in enumerate(prefixes, 1))
    return PrefixList(ObjectRef("PrefixList", name), name, "ipv4", tuple(entries))


def _maps(group: int) -> Iterator[RouteMap]:
    taken = (
        RouteMapEntry(10, "deny", match=Match(prefix_list="private")),
        RouteMapEntry(20, "permit", match=Match(prefix_list=f"from-{group}"), set=Set(local_preference=200)),
    )
    told = (
        RouteMapEntry(10, "permit", match=Match(prefix_list="own"), set=Set(communities=(f"65001:{group}",))),
    )
    for name, entries in ((f"in-{group}", taken), (f"out-{group}", told)):
        yield RouteMap(ObjectRef("RouteMap", name), name, entries)


def _neighbor(number: int, change: str) -> Neighbor:
    group = number % GROUPS
    policies = (Policy(f"in-{group}", "private"), Policy(f"out-{group}", "own"))
    return Neighbor(
        ObjectRef("BGPPeer", f"n{number}"),
        f"10.0.{number >> 8}.{number & 255}",
        _ASN,
        65100 + number,
        description=f"customer {number} {change}",
        keepalive_s=10,
        hold_s=30,
        bfd_profile=_PROFILE.name,
        families=(NeighborFamily("ipv4", inbound=policies[0], outbound=policies[1]),),
    )


class Box:
    """An FRR in a namespace, with a plane and an inventory."""

    def __init__(self, layout: BoxLayout) -> None:
        self.name = layout.namespace
        self._target = layout.frr_config / "target.conf"
        self._plane = FRRPlane(FRRConfig(pathspace=self.name), layout.folder / "secrets")
        self._inventory = ControlStore(layout.folder / "control.sqlite")

    def round(self, state: FRRState) -> float:
        """Seconds of a round; LabError where it does not come to ``state``."""
        began = time.perf_counter()
        done = converge(self._plane, state, self._inventory, ())
        took = time.perf_counter() - began
        problems = (*done.failures, *done.obstacles)
        if problems:
            raise LabError(problems[0].message)
        return took

    def text(self) -> str:
        """What runs, as frr-reload takes it."""
        return self.running().text

    def running(self) -> Configuration:
        """What runs."""
        return parse_running(namespace.run(["vtysh", "-N", self.name, "-c", "show running-config"]))

    def reload(self, text: str) -> float:
        """Seconds that frr-reload takes to bring FRR to a configuration."""
        self._target.write_text(text)
        argv = [str(FRRConfig().reload), "--reload", "--stdout", "--pathspace", self.name, str(self._target)]
        began = time.perf_counter()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=1800, check=False)
        took = time.perf_counter() - began
        if done.returncode:
            raise LabError(f"{PEER} exited with {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}")
        if self.running().paths != parse(text).paths:  # It leaves an empty section here and there.
            raise LabError(f"{PEER} has not come to what it was given")
        return took


@contextmanager
def box() -> Iterator[Box]:
    """A box for a while."""
    layout = BoxLayout(f"bench-{uuid.uuid4().hex[:8]}", "a")
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, ROOT / layout.lab)
        layout.folder.mkdir(parents=True)
        undo.callback(namespace.delete, layout.namespace)
        namespace.create(layout.namespace)
        undo.callback(frr.remove, layout)
        frr.prepare(layout)
        for daemon in frr.DAEMONS:
            process = frr.start(daemon, layout, os.environ)
            undo.callback(frr.clear_scratch, daemon, process)
            undo.callback(end, [process])
        yield Box(layout)


def _in_turns(*timed: Callable[[], float], times: int = REPEATS) -> list[float]:
    """Medians of what is done in turns, so that all of it meets the same machine."""
    rounds = [[do() for do in timed] for _ in range(times)]
    return [statistics.median(took) for took in zip(*rounds, strict=True)]


def _against_frr_reload() -> Iterator[Row]:
    few, changed = sessions(FEW), sessions(FEW, "and more")
    adopted = replace(few, adopt=frozenset(part.owner for part in few.parts))
    with box() as ours, box() as theirs:
        ours.round(_BARE)
        whole, other, bare = (_text_of(theirs, state) for state in (few, changed, _BARE))

        def cleared() -> float:
            """frr-reload deletes for most of a minute: the plane takes away what it has added."""
            theirs.round(adopted)  # What is not the plane's it would not delete.
            took = theirs.round(_BARE)
            if theirs.text() != bare:
                raise LabError(f"what {PEER} has added is still there")
            return took

        added, deleted, peer_added, _ = _in_turns(
            lambda: ours.round(few), lambda: ours.round(_BARE), lambda: theirs.reload(whole), cleared
        )
        ours.round(few)
        theirs.round(few)
        states, texts = itertools.cycle((changed, few)), itertools.cycle((other, whole))
        one, peer_one = _in_turns(lambda: ours.round(next(states)), lambda: theirs.reload(next(texts)))
        ours.round(few)
        theirs.round(few)
        rest, peer_rest = _in_turns(lambda: ours.round(few), lambda: theirs.reload(whole))
        peer_deleted = theirs.reload(bare)
    many = f"{FEW} neighbours"
    yield from _compared(f"delete {many}", deleted, peer_deleted, 1 / 40)
    yield from _compared(f"add {many}", added, peer_added, 1)
    yield from _compared(f"change one of {many}", one, peer_one, 0.6)
    yield from _compared(f"find no change in {many}", rest, peer_rest, 1 / 5)


def _rest(box: Box, state: FRRState) -> float:
    """To find no change, once it is there."""
    box.round(state)
    return statistics.median(box.round(state) for _ in range(REPEATS))


def _text_of(box: Box, state: FRRState) -> str:
    box.round(state)
    return box.text()


def _compared(what: str, ours: float, peer: float, limit: float) -> Iterator[Row]:
    yield Row(f"{what}, against {PEER}", ours / peer, "x", limit, PEER, 1)
    yield Row(what, ours * 1e3, "ms", None, PEER, peer * 1e3)


def _growth() -> Iterator[Row]:
    sizes = (FEW, SEVERAL, MANY)
    times: dict[str, list[float]] = {"add": [], "delete": [], "find no change in": []}
    for count in sizes:
        with box() as ours:
            ours.round(_BARE)
            state = sessions(count)
            added, deleted = _in_turns(lambda: ours.round(state), lambda: ours.round(_BARE))  # noqa: B023
            rest = _rest(ours, state)
        for name, took in zip(times, (added, deleted, rest), strict=True):
            times[name].append(took)
            if count != FEW:
                yield Row(f"{name} {count} neighbours", took * 1e3, "ms")
    for name, found in times.items():
        logs = [math.log(n) for n in sizes], [math.log(t) for t in found]
        slope = statistics.linear_regression(*logs).slope
        yield Row(f"{name} {FEW} to {MANY} neighbours, growth exponent", slope, "", 1.2)


def _beside_a_full_table() -> Iterator[Row]:
    state = sessions(FEW)
    with box() as quiet, box() as fed:
        quiet.round(state)
        fed.round(state)
        with feed(fed.name, _ASN, prefixes=FEED):
            alone, beside = _in_turns(lambda: quiet.round(state), lambda: fed.round(state), times=25)
    what = f"find no change in {FEW} neighbours beside {FEED} prefixes"
    yield Row(f"{what}, against none", beside / alone, "x", 1.2, "no feed", 1)
    yield Row(what, beside * 1e3, "ms", None, "no feed", alone * 1e3)
