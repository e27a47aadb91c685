"""``smartxd run`` and ``smartxd teardown``: build the parts, join them, take them apart again."""

from __future__ import annotations

import signal
import sys
import threading

from smartxd.config import Config
from smartxd.daemon.claim import Claim
from smartxd.daemon.converger import Converger
from smartxd.daemon.loop import Loop
from smartxd.daemon.server import StatusServer
from smartxd.errors import DaemonError
from smartxd.planes.frr.watch import FRRWatch
from smartxd.planes.kernel.watch import KernelWatch
from smartxd.source.follow import Follower
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
        server = StatusServer(
            config.socket, config.socket_group, {"/status": loop.status, "/ready": loop.ready}
        )
        kernel_watch = KernelWatch(loop.kernel_changed)
        frr_watch = FRRWatch(converger.frr.run_dir, loop.frr_changed)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.stop())
        threading.excepthook = loop.crashed
        server.start()
        kernel_watch.start()
        frr_watch.start()
        follower.start()
        try:
            print(
                f"smartxd: {config.box} follows {source.url} ({source.branch})", file=sys.stderr, flush=True
            )
            loop.run()
        finally:
            follower.stop()
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
            problems = converger.teardown()
            left = store.owned()
        finally:
            converger.close()
            store.close()
    for thing in owned:
        word = "left" if thing in left else "removed"
        print(f"{word}: {thing.plane} {thing.id} ({thing.owner})", file=sys.stderr)
    if problems:
        lines = "; ".join(dict.fromkeys(f"{p.reason}: {p.message}" for p in problems))
        raise DaemonError(f"not everything could be removed: {lines}", "mend it and run teardown again")
