"""What a box's network is, as text that only changes when somebody changes it; and when a link appears."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.conftest import Site

_COMMANDS = (
    ("ip", "-d", "-j", "link"),
    ("ip", "-d", "-j", "addr"),
    ("ip", "-j", "route", "show", "table", "all"),
    ("ip", "-6", "-j", "route", "show", "table", "all"),
    ("ip", "-j", "neigh"),
    ("bridge", "-j", "fdb"),
    ("bridge", "-j", "vlan"),
)
_VOLATILE = frozenset(
    (
        *("hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "hold_timer"),
        *("message_age_timer", "forward_delay_timer", "topology_change", "used", "confirmed", "updated"),
        *("refcnt", "expires", "valid_life_time", "preferred_life_time", "stats", "stats64"),
    )
)
"""Timers and counters."""
_SETTINGS = """
import glob
for name in sorted(glob.glob("/proc/sys/net/ipv[46]/conf/*/*forwarding")):
    print(name, open(name).read().strip())
"""


def network_of(site: Site, box: str, link: str = "") -> str:
    """Links, addresses, routes, neighbours, forwarding tables, VLANs and forwarding of a box; a line each.

    With ``link`` only how that is set; its state and its offloads follow from its ports.
    """
    if link:
        (found,) = site.json(box, "ip", "-d", "-j", "link", "show", "dev", link)
        kept = ("address", "mtu", "txqlen", "group", "ifalias", "inet6_addr_gen_mode", "linkinfo")
        steady = _steady({key: found.get(key) for key in kept})
        return json.dumps(steady, indent=1, sort_keys=True)
    lines = []
    for argv in _COMMANDS:
        entries = (json.dumps(_steady(e), sort_keys=True) for e in site.json(box, *argv) if _lasts(e))
        lines += [f"{' '.join(argv)}: {entry}" for entry in sorted(entries)]
    return "\n".join([*lines, site.python(box, _SETTINGS)])


def _lasts(entry: dict[str, Any]) -> bool:
    """Whether an entry stays until somebody removes it: no neighbour that was asked for, nothing learned."""
    state = entry.get("state")
    if isinstance(state, list):  # of a neighbour
        return state in (["PERMANENT"], ["NOARP"])
    return "mac" not in entry or state in ("permanent", "static")


def _steady(value: Any) -> Any:
    """The value without timers and counters."""
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in _VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value
