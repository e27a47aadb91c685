"""A neighbour with a table like the Internet's: ExaBGP, in a namespace of its own beside a box."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smartxd.errors import LabError
from smartxd.lab import namespace

OURS, THEIRS = "198.18.0.1", "198.18.0.2"
"""Of the box and of the neighbour, on a wire of their own (RFC 2544's block)."""
ASN = 64999
PER_PATH = 100
"""Prefixes that share their attributes, and a line of what ExaBGP reads."""
TIMEOUT_S = 300.0
LOOK_AGAIN_S = 0.2

_CONFIG = """
process feed {{
  run /usr/bin/tail -n +1 -f {routes};
  encoder text;
}}
neighbor {ours} {{
  router-id {theirs};
  local-address {theirs};
  local-as {asn};
  peer-as {peer};
  family {{ ipv4 unicast; }}
  api {{ processes [ feed ]; }}
}}
"""
_SETTINGS = {
    "exabgp.daemon.user": "root",
    "exabgp.api.cli": "false",
    "exabgp.api.ack": "false",
    "exabgp.log.level": "ERR",
}


@contextlib.contextmanager
def feed(box: str, asn: int, *, pathspace: str = "", prefixes: int = 200_000) -> Iterator[None]:
    """While it lasts, the FRR in namespace ``box`` hears ``prefixes`` of a neighbour that is not smartxd's.

    FRR speaks as ``asn``, as it does already or from now on, in ``pathspace``: the namespace's
    name where empty. Every route is in BGP's table, zebra's and the kernel's when this yields.
    """
    frr, name = _FRR(pathspace or box), f"{box}-feed"
    with tempfile.TemporaryDirectory(prefix="feed") as folder, contextlib.ExitStack() as undo:
        undo.callback(namespace.delete, name)  # the wire goes with it
        _wire(box, name)
        undo.callback(
            frr.configure, f"router bgp {asn}", f"no neighbor {THEIRS}", "exit", "no route-map feed"
        )
        frr.configure("route-map feed permit 1", "exit", f"router bgp {asn}", *_NEIGHBOR)
        exabgp = undo.enter_context(_speaking(name, asn, Path(folder), prefixes))
        deadline = time.monotonic() + TIMEOUT_S
        while frr.heard() < prefixes:
            if exabgp.poll() is not None:
                raise LabError(f"ExaBGP of {name} has ended", "what it printed above says why")
            if time.monotonic() > deadline:
                said = f"{box} has {frr.heard()} of {prefixes} prefixes after {TIMEOUT_S:.0f} s"
                raise LabError(said, f"vtysh -N {frr.pathspace} -c 'show bgp summary'")
            time.sleep(LOOK_AGAIN_S)
        yield


_NEIGHBOR = (
    f"neighbor {THEIRS} remote-as {ASN}",
    "address-family ipv4 unicast",
    f"neighbor {THEIRS} route-map feed in",
)
"""RFC 8212: an outside neighbour is heard by a policy only. That of the feed lets all pass."""


class _FRR:
    """An FRR as an operator speaks to it."""

    def __init__(self, pathspace: str) -> None:
        self.pathspace = pathspace

    def configure(self, *lines: str) -> None:
        self._vtysh("configure terminal", *lines)

    def heard(self) -> int:
        """How many routes of other speakers zebra has put into the kernel."""
        summary: dict[str, Any] = json.loads(self._vtysh("show ip route summary json"))
        return sum(r["fib"] for r in summary.get("routes", ()) if r["type"] == "ebgp")

    def _vtysh(self, *commands: str) -> str:
        return namespace.run(["vtysh", "-N", self.pathspace, *(word for c in commands for word in ("-c", c))])


def _wire(box: str, name: str) -> None:
    namespace.create(name)
    there = f"link add feed0 type veth peer name feed0 netns {name}"
    namespace.batch(box, [there, f"addr add {OURS}/30 dev feed0", "link set feed0 up"])
    namespace.batch(name, [f"addr add {THEIRS}/30 dev feed0", "link set feed0 up"])


@contextlib.contextmanager
def _speaking(name: str, peer: int, folder: Path, prefixes: int) -> Iterator[subprocess.Popen[bytes]]:
    """ExaBGP, until the end of the block."""
    routes, config = folder / "routes", folder / "exabgp.conf"
    with routes.open("w") as file:
        for start in range(0, prefixes, PER_PATH):
            block = range(start, min(start + PER_PATH, prefixes))
            file.write(_announcement(start // PER_PATH, " ".join(_prefix(i) for i in block)))
    config.write_text(_CONFIG.format(routes=routes, ours=OURS, theirs=THEIRS, asn=ASN, peer=peer))
    argv = namespace.enter(name, ["exabgp", str(config)])
    with subprocess.Popen(
        argv, env={**os.environ, **_SETTINGS}, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what reads the routes to it


def _announcement(path: int, prefixes: str) -> str:
    as_path = f"[ {ASN} {60000 + path % 500} {100000 + path} ]"
    return f"announce attributes next-hop {THEIRS} origin igp as-path {as_path} nlri {prefixes}\n"


def _prefix(number: int) -> str:
    """A /24 from 20.0.0.0 on."""
    return f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24"
