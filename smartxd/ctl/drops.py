"""``smartxctl drops``: the packets that the kernel of this box has dropped, why and where."""

from __future__ import annotations

import argparse
from typing import Any

from smartxd.ctl import flowargs
from smartxd.ctl.flows import add_sums, by_help, carried_cells, clock, show
from smartxd.ctl.verb import add_config, add_output, add_verb

EXAMPLES = f"""columns:
  REASON    why, as the running kernel names it
  LOCATION  where in the kernel: a function and the place in it
  PROTO     the IP protocol, or what the frame carries instead (arp)
  SOURCE    address and port, DESTINATION likewise; of the outer packet in a tunnel
  INNER     the VNI of VXLAN, and protocol and ends of the packet inside
  PACKETS   as on the wire: what the kernel handles as one (GSO, GRO) counts as many as it would be sent as
  LAST      when the last packet was dropped
  -o json and yaml name columns as docs/drops.md does, all of them with --newest; times are ns since 1970

columns for --by:
{by_help("drops")}
  src, dst  short for src_ip and dst_ip
  port      the lower one of a flow's ports: mostly the service's
  minute, hour, day    in UTC; rows are then in the order of time

exit code: 0 when the store could be read, also when nothing was found; 1 when it could not

examples:
  smartxctl drops                                     what was dropped most in the last ten minutes
  smartxctl drops --by reason,interface               why, and where packets came in or were to go out
  smartxctl drops --by reason,location --last 1d      in which places of the kernel
  smartxctl drops --reason NO_SOCKET --by dst,port    what is asked for and nobody offers
  smartxctl drops --by minute,reason --dst 10.0.0.0/8
  smartxctl drops --newest -o json                    the newest rows as they were captured
"""

_COLUMNS = (
    *("REASON", "LOCATION", "INTERFACE", "PROTO", "SOURCE", "DESTINATION", "INNER"),
    *("PACKETS", "LAST"),
)


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "drops", "packets that the kernel of this box has dropped", EXAMPLES)
    add_config(parser)
    flowargs.add_times(parser)
    flowargs.add_fields(parser)
    parser.add_argument("--reason", metavar="NAME", help="dropped for this reason")
    parser.add_argument("--function", metavar="NAME", help="dropped in this function of the kernel")
    add_sums(parser, "drops", "packets")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was dropped."""
    return show(args, "drops", _COLUMNS, _cells)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    where = (row["reason"], row["location"], row["interface"])
    return (*where, *carried_cells(row), row["packets"], clock(row["last_ns"]))
