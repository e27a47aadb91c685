"""``smartxctl packets``: the packets that the tracers of this box have recorded one by one."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import datetime
from typing import Any

from smartxd import config
from smartxd.ctl import flowargs
from smartxd.ctl.flows import limit, nothing, warn, what_cells
from smartxd.ctl.verb import add_config, add_output, add_verb, say
from smartxd.store.packets import newest
from smartxd.tables import print_data, print_table

EXAMPLES = """\
columns:
  TIME      of day, in the time zone of this machine
  DIR       in or out, as the interface sees it
  VLAN      the outermost VLAN ID
  PROTO     the IP protocol, or what the frame carries instead (arp)
  SOURCE    address and port, DESTINATION likewise; of the outer packet in a tunnel
  INNER     the VNI of VXLAN, and protocol and ends of the packet inside
  LENGTH    bytes of the frame; what the kernel handles as one (GSO, GRO) is one packet here
  CAPTURED  so many of them are kept: snapLength of the policy
  DIGEST    the same of a packet on every box and interface, inside and outside of a tunnel
  -o json, yaml and csv have every column of docs/packets.md by its name, the bytes as hex digits

smartxctl export pcapng writes them for Wireshark.

exit code: 0 when the store could be read, also when nothing was found; 1 when it could not

examples:
  smartxctl packets                                   the newest packets of the last ten minutes
  smartxctl packets --last 1h --port 53 --limit 100   of one service
  smartxctl packets --vni 100 --src 10.10.0.5         inside a VXLAN segment
  smartxctl packets --limit 1000000 -o json | jq '.[] | select(.digest == 5016985985004816)'
  smartxctl packets --limit 1000 -o csv > packets.csv
"""

_LIMIT = 20
_NS = 1_000_000_000
_COLUMNS = (
    *("TIME", "INTERFACE", "DIR", "VLAN", "PROTO", "SOURCE", "DESTINATION", "INNER"),
    *("LENGTH", "CAPTURED", "DIGEST"),
)


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "packets", "packets that the tracers of this box have recorded", EXAMPLES)
    add_config(parser)
    flowargs.add_times(parser)
    flowargs.add_fields(parser)
    text = "how many packets, the newest (%(default)s)"
    parser.add_argument("--limit", "--top", type=limit, default=_LIMIT, metavar="N", help=text)
    add_output(parser, "csv")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the packets, the newest first."""
    directory = config.load(args.config).captures_dir
    table = newest(directory, flowargs.wanted(args), args.limit, warn)
    rows = [_shown(row) for row in table.to_pylist()]
    if not rows:
        say(nothing(directory, "packets", args))
    if args.output == "csv":
        names = [name for name in table.schema.names if name != "data"]
        writer = csv.DictWriter(sys.stdout, [*names, "captured", "data"])
        writer.writeheader()
        writer.writerows(rows)
    elif args.output != "table":
        print_data(rows, args.output)
    elif rows:
        print_table(_COLUMNS, [_cells(row) for row in rows])
    return 0


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row for programs: its bytes as text, and how many there are."""
    return row | {"captured": len(row["data"]), "data": row["data"].hex()}


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    interface, way, *what = what_cells(row)
    seconds, ns = divmod(row["time_ns"], _NS)
    at = f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}.{ns // 1000:06d}"
    return at, interface, way, row["vlan"], *what, row["length"], row["captured"], row["digest"]
