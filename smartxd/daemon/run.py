"""``smartxd run`` and ``smartxd teardown``: build the parts, join them, take them apart again."""

from __future__ import annotations

import signal
import sys
import threading
import time

from smartxd.config import Config
from smartxd.daemon.claim import Claim
from smartxd.daemon.converger import Converger
from smartxd.daemon.loop import Loop
from smartxd.daemon.planning import Planner
from smartxd.daemon.server import StatusServer
from smartxd.errors import DaemonError
from smartxd.manifest import Manifest
from smartxd.planes.frr.lookout import Lookout
from smartxd.planes.frr.watch import FRRWatch
from smartxd.planes.kernel.watch import KernelWatch
from smartxd.reconcile.plan import Verb
from smartxd.source.follow import Follower
from smartxd.source.gitcall import redacted
from smartxd.source.repo import Repo
from smartxd.store.control import ControlStore


def run(config: Config) -> None:
    """Follow the repo and converge until SIGTERM or SIGINT, which leave the network as it is."""
    source = config.source
    with Claim(config.state_dir):
        repo = Repo(config.state_dir / "source.git", source.url, source.branch, source.timeout_s)
        store = ControlStore(config.control_db)
        converger = Converger(config, store)
        loop = Loop(config, converger)
        follower = Follower(repo, source, loop.findings, loop.seen)
        planner = Planner(config.box, loop.ask, loop.findings)
        server = StatusServer(
            config.socket,
            config.socket_group,
            gets={"/status": loop.status, "/ready": loop.ready, "/plan": planner.for_target},
            posts={"/plan": planner.for_specs},
        )
        kernel_watch = KernelWatch(converger.kernel.view, lambda: loop.mark("kernel"))
        frr_watch = FRRWatch(converger.frr.run_dir, lambda: loop.mark("frr"))
        frr_lookout = Lookout(converger.frr.run_dir, config.frr.status_interval_s, loop.wanted, loop.looked)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.stop())
        threading.excepthook = loop.crashed
        server.start()
        kernel_watch.start()
        frr_watch.start()
        frr_lookout.start()
        follower.start()
        try:
            _say(f"smartxd: {config.box} follows {redacted(source.url)} ({source.branch})")
            loop.run()
        finally:
            follower.stop()
            frr_lookout.stop()
            frr_watch.stop()
            kernel_watch.stop()
            server.stop()
            converger.close()
            store.close()


def teardown(config: Config) -> None:
    """Remove exactly what smartxd owns on this box; DaemonError when something could not be removed."""
    with Claim(config.state_dir):
        store = ControlStore(config.control_db)
        converger = Converger(config, store)
        try:
            owned = sorted(store.owned())
            results, problems = converger.teardown()
            if not problems:
                _await_last_drain(config)
                converger.trace.remove_all()
            left = store.owned()
        finally:
            converger.close()
            store.close()
    deleted = {r.action.owned for r in results if r.action.verb is Verb.DELETE and r.problem is None}
    for thing in owned:
        word = (
            "removed"
            if thing in deleted
            else "left"
            if thing in left
            else "gone already, or not ours any more"
        )
        _say(f"{word}: {thing.plane} {thing.id} ({thing.owner})")
    if not owned:
        _say("nothing of smartxd's is here")
    if problems:
        lines = "; ".join(dict.fromkeys(f"{p.reason}: {p.message}" for p in problems))
        raise DaemonError(f"not everything could be removed: {lines}", "mend it and run teardown again")


def _await_last_drain(config: Config) -> None:
    """Give the capture process the time of two drains to store what retired tracers have counted last."""
    deadline = time.monotonic() + 2 * config.capture.drain_interval_s + 2
    retired = [p for p in Manifest.read(config.manifest).policies if p.retired]
    while any(p.pin_dir.exists() for p in retired) and time.monotonic() < deadline:
        time.sleep(0.1)  # bpffs tells nobody when a pin goes
    for policy in retired:
        if policy.pin_dir.exists():
            _say(f"not drained: the last flows of TracePolicy/{policy.name}; does smartxd capture run?")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
