"""Which kinds of links this kernel can make, found by making them where nobody sees it."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_CLONE_NEWNET = 0x40000000
_TIMEOUT_S = 60.0

KINDS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "bridge": ({"kind": "bridge"},),
    "vxlan": ({"kind": "vxlan", "vxlan_id": 1, "vxlan_port": 4789},),
    "vlan filtering": ({"kind": "bridge", "br_vlan_filtering": 1},),
    "802.1q": ({"kind": "veth", "peer": "there"}, {"kind": "vlan", "link": "here", "vlan_id": 2}),
    "vrf": ({"kind": "vrf", "vrf_table": 100},),
}
"""What is made to find out, one after the other; the last one decides."""


def link_kinds() -> Mapping[str, str]:
    """Why the kernel refuses each of ``KINDS``; empty where it does not.

    OSError when this process may not make a network namespace. Each trial has one of its own, which has no
    name and goes with the thread that made it, whatever happens.
    """
    return {kind: _apart(partial(_make, links)) for kind, links in KINDS.items()}


def xdp_programs() -> Mapping[str, int]:
    """The numbers of the XDP programs on the links of this network namespace, by link."""
    with IPRoute() as route:
        found = {link.get_attr("IFLA_IFNAME"): link.get_attr("IFLA_XDP") for link in route.get_links()}
    programs = {name: xdp.get_attr("IFLA_XDP_PROG_ID") for name, xdp in found.items() if xdp is not None}
    return {name: int(program) for name, program in programs.items() if program}


def _make(links: tuple[Mapping[str, Any], ...]) -> str:
    with IPRoute() as route:
        for place, link in enumerate(links):
            name = "here" if place == 0 else "probe"
            more = {k: route.link_lookup(ifname=v)[0] if k == "link" else v for k, v in link.items()}
            try:
                route.link("add", ifname=name, **more)
            except NetlinkError as err:
                return os.strerror(err.code)
    return ""


def _apart(trial: Callable[[], str]) -> str:
    """What the trial says in a network namespace of its own."""
    outcome: list[str | OSError] = [TimeoutError("the kernel did not answer in time")]

    def inside() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            outcome[0] = OSError(code, os.strerror(code))
            return
        try:
            outcome[0] = trial()
        except OSError as err:
            outcome[0] = err

    thread = threading.Thread(target=inside, name="kernel-probe", daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S)
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]
