"""``smartxctl tcp``: what has become of the TCP connections that end on this box."""

from __future__ import annotations

import argparse
from typing import Any

from smartxd.ctl import flowargs
from smartxd.ctl.flows import add_sums, by_help, clock, end, show
from smartxd.ctl.verb import add_config, add_output, add_verb

EXAMPLES = f"""columns:
  LOCAL      address and port of the box's own end, REMOTE those of the other one
  STATE      the one to which it changed last; - if it did not change in that time
  RETRANS    segments that the box has sent again
  RST OUT    resets that the box has sent, also where nobody listens; RST IN those that it got
  RTT        the kernel's smoothed round trip time, in ms, as it was last; MIN and MAX of that time
  LAST       when the kernel told of it last
  -o json and yaml name columns as docs/tcp.md does, all of them with --newest; times are ns since 1970

columns for --by:
{by_help("tcp")}
  local, remote  short for local_ip and remote_ip
  port           the lower one of a connection's ports: mostly the service's
  minute, hour, day    in UTC; rows are then in the order of time

exit code: 0 when the store could be read, also when nothing was found; 1 when it could not

examples:
  smartxctl tcp                                   connections of ten minutes, most sent again first
  smartxctl tcp --port 179 --last 1d              those of BGP sessions
  smartxctl tcp --by remote --order srtt_max_us   who is far away, or behind a long queue
  smartxctl tcp --by minute --remote 10.0.0.0/8   when segments were lost
  smartxctl tcp --by port --order resets_sent     what is asked for and refused
  smartxctl tcp --newest -o json                  the newest rows as they were captured
"""

_COLUMNS = (
    *("INTERFACE", "LOCAL", "REMOTE", "STATE", "RETRANS", "RST OUT", "RST IN"),
    *("RTT", "MIN", "MAX", "LAST"),
)
_US_PER_MS = 1000


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "tcp", "TCP connections that end on this box", EXAMPLES)
    add_config(parser)
    flowargs.add_times(parser)
    flowargs.add_connection_fields(parser)
    add_sums(parser, "tcp", "retransmits")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the connections."""
    return show(args, "tcp", _COLUMNS, _cells)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    ends = (end(row[f"{side}_ip"], row[f"{side}_port"]) for side in ("local", "remote"))
    counts = (row[name] or None for name in ("retransmits", "resets_sent", "resets_received"))
    times = (_ms(row[f"srtt_{which}_us"]) for which in ("last", "min", "max"))
    return (row["interface"], *ends, row["state"], *counts, *times, clock(row["last_ns"]))


def _ms(value_us: int | None) -> str | None:
    return None if value_us is None else f"{value_us / _US_PER_MS:.3f}"
