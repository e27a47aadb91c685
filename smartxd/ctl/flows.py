"""``smartxctl flows``: what the tracers of this box have recorded, from its own files."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from smartxd import config
from smartxd.ctl.verb import add_config, add_output, add_verb
from smartxd.errors import StoreError
from smartxd.store.ledger import StreamTotals, read_totals
from smartxd.store.queries import FLOW_KEY, KEYS, LocalFilter, newest, top
from smartxd.store.timespan import since_ns
from smartxd.store.view import Counts
from smartxd.tables import print_json, print_table

EXAMPLES = """examples:
  smartxctl flows                                  the largest flows of the last ten minutes
  smartxctl flows --since 1h --interface vx100     the same, of one interface and a longer time
  smartxctl flows --by src_ip,dst_ip --limit 5     who talks to whom, most bytes first
  smartxctl flows --newest -o json                 the newest rows as they were captured
  smartxctl flows --totals                         all that was captured, and where it is now
"""

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmp6", 89: "ospf", 132: "sctp"}
_ETHERTYPES = {0x0806: "arp", 0x0800: "ipv4", 0x86DD: "ipv6", 0x88CC: "lldp"}
_NS = 1_000_000_000


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "flows", "what the tracers of this box have recorded", EXAMPLES)
    add_config(parser)
    when = "90s, 10m, 2h, 7d or an RFC 3339 time (10m)"
    parser.add_argument("--since", type=_since, default="10m", metavar="TIME", help=when)
    parser.add_argument("--interface", metavar="NAME", help="only what was seen there")
    parser.add_argument("--policy", metavar="NAME", help="only what this TracePolicy recorded")
    parser.add_argument("--limit", type=_limit, default=20, metavar="N", help="how many rows (20)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--by", type=_columns, metavar="COLUMN,…", help="add up by these columns")
    what.add_argument("--newest", action="store_true", help="rows as they were captured, newest first")
    what.add_argument("--totals", action="store_true", help="rows, packets and bytes of each stream")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the flows or the totals."""
    directory = config.load(args.config).captures_dir
    if args.totals:
        return _totals(directory, args.output)
    wanted = LocalFilter(args.since, args.interface, args.policy)
    by = args.by or FLOW_KEY
    if args.newest:
        rows = newest(directory, wanted, args.limit, _warn).to_pylist()
    else:
        rows = top(directory, wanted, by, args.limit, _warn).to_pylist()
    if args.output == "json":
        print_json(rows)
    elif args.by:
        columns = (*by, "packets", "bytes")
        print_table([c.upper() for c in columns], [[row[c] for c in columns] for row in rows])
    else:
        print_table(
            ("INTERFACE", "DIR", "PROTO", "SOURCE", "DESTINATION", "INNER", "PACKETS", "BYTES", "LAST"),
            [_flow(row) for row in rows],
        )
    return 0


def _flow(row: dict[str, Any]) -> tuple[object, ...]:
    inner = None
    if row["vni"] is not None:
        ends = [_end(row[f"inner_{side}_ip"], row[f"inner_{side}_port"]) or "?" for side in ("src", "dst")]
        inner = f"vni {row['vni']} {_protocol(row['inner_protocol'])} {ends[0]} > {ends[1]}"
    ethertype = _ETHERTYPES.get(row["ethertype"], f"0x{row['ethertype']:04x}")
    return (
        row["interface"],
        "in" if row["direction"] == "ingress" else "out",
        ethertype if row["protocol"] is None else _protocol(row["protocol"]),
        _end(row["src_ip"], row["src_port"]),
        _end(row["dst_ip"], row["dst_port"]),
        inner,
        row["packets"],
        row["bytes"],
        datetime.fromtimestamp(row["last_ns"] / _NS).astimezone().strftime("%H:%M:%S"),
    )


def _end(address: str | None, port: int | None) -> str | None:
    if address is None or port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _protocol(number: int | None) -> str:
    return "-" if number is None else _PROTOCOLS.get(number, str(number))


def _totals(directory: Path, output: str) -> int:
    found = read_totals(directory)
    if found is None:
        raise StoreError(
            f"{directory}: no captures here", "has smartxd capture run on this box? smartxctl status says"
        )
    epoch, streams = found
    if output == "json":
        print_json({"epoch": epoch, "streams": [_stream(t) for t in streams]})
        return 0
    print(f"epoch {epoch}")
    print_table(
        ("STREAM", "WHERE", "UP TO SEQ", "BATCHES", "ROWS", "PACKETS", "BYTES"),
        [
            (t.stream, where, seq, *counts.values)
            for t in streams
            for where, seq, counts in (
                ("captured", t.captured_seq, t.captured),
                ("received", t.ledger.acked_seq, t.ledger.received),
                ("pending", None, t.pending),
                ("tombstoned", None, t.ledger.tombstoned),
                ("quarantined", None, t.ledger.quarantined),
            )
        ],
    )
    return 0


def _stream(t: StreamTotals) -> dict[str, object]:
    """``received`` is what the centre's totals say when its ``contiguous_seq`` is ``acked_seq``."""
    return {
        "stream": t.stream,
        "captured_seq": t.captured_seq,
        "acked_seq": t.ledger.acked_seq,
        "captured": _counts(t.captured),
        "received": _counts(t.ledger.received),
        "pending": _counts(t.pending),
        "tombstoned": _counts(t.ledger.tombstoned),
        "quarantined": _counts(t.ledger.quarantined),
    }


def _counts(c: Counts) -> dict[str, int]:
    return {"batches": c.batches, "rows": c.rows, "packets": c.packets, "bytes": c.bytes}


def _warn(err: StoreError) -> None:
    print(f"warning: left out: {err.line}", file=sys.stderr)


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"not a number of rows: {text!r}; write 1 to 1000000")
    return int(text)


def _since(text: str) -> int:
    try:
        return since_ns(text, time.time())
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _columns(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in KEYS:
            raise argparse.ArgumentTypeError(f"no column {name!r}; there are {', '.join(KEYS)}")
    return names
