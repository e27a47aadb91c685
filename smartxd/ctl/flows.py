"""``smartxctl flows``: what the tracers of this box have recorded, from its own files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from textwrap import fill
from typing import Any

from smartxd import config, protocols
from smartxd.ctl import flowargs
from smartxd.ctl.verb import add_config, add_output, add_verb, say
from smartxd.errors import StoreError
from smartxd.records import SYNCED
from smartxd.store.flowfilter import LAST_NS
from smartxd.store.ledger import StreamTotals, read_totals
from smartxd.store.queries import GROUPS, KEYS, ORDERS, TIMES, newest, span_ns, top
from smartxd.store.view import Counts
from smartxd.tables import print_data, print_table

_OF_PACKETS = {"src": "src_ip", "dst": "dst_ip"}
_ALIASES = {
    **{"flows": _OF_PACKETS, "drops": _OF_PACKETS},
    "tcp": {"local": "local_ip", "remote": "remote_ip"},
}
_SHOWN = {
    **dict.fromkeys(("flows", "drops"), ("packets", "bytes")),
    "tcp": ("retransmits", "resets_sent", "resets_received", "srtt_min_us", "srtt_max_us"),
}
"""Sums that people see beside the columns of --by."""


def by_help(stream: str) -> str:
    """The columns of a stream for ``--by``, as a help shows them."""
    return fill(
        ", ".join((*_ALIASES[stream], *GROUPS[stream])), 100, initial_indent="  ", subsequent_indent="  "
    )


EXAMPLES = f"""columns:
  DIR       in or out, as the interface sees it
  PROTO     the IP protocol, or what the frame carries instead (arp)
  SOURCE    address and port, DESTINATION likewise; of the outer packet in a tunnel
  INNER     the VNI of VXLAN, and protocol and ends of the packet inside
  PACKETS   as on the wire: what the kernel handles as one (GSO, GRO) counts as many as it is sent as
  BYTES     from the Ethernet header on, without preamble and checksum
  LAST      when the last packet was seen; a row is of the time of its last packet
  -o json and yaml name columns as docs/flows.md does, all of them with --newest; times are ns since 1970

columns for --by:
{by_help("flows")}
  src, dst  short for src_ip and dst_ip
  port      the lower one of a flow's ports: mostly the service's
  minute, hour, day    in UTC; rows are then in the order of time

exit code: 0 when the store could be read, also when nothing was found; 1 when it could not

examples:
  smartxctl flows                                     the largest flows of the last ten minutes
  smartxctl flows --last 1h --interface vx100         the same, of one interface and a longer time
  smartxctl flows --by src,dst --top 5                who talks to whom, most bytes first
  smartxctl flows --by dst,port --order packets       which services, most packets first
  smartxctl flows --by minute --last 2h --src 10.0.0.0/8
  smartxctl flows --since 2026-07-01T12:00:00Z --until 2026-07-01T13:00:00Z --protocol tcp --port 443
  smartxctl flows --newest -o json                    the newest rows as they were captured
  smartxctl flows --totals                            all that was captured, and where it is now
"""

_NS = 1_000_000_000
_TOP = 20
_TOTALS = (
    "rows, packets and bytes of each stream; packets, drops and tcp stay here: kept, then tombstoned when "
    "they or their file go"
)
_TIMES_MAX = 10_000
"""Rows without --top where a time is among the columns: a day of minutes fits."""


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "flows", "flows that the tracers of this box have recorded", EXAMPLES)
    add_config(parser)
    flowargs.add_times(parser)
    flowargs.add_fields(parser)
    what = add_sums(parser, "flows", "bytes")
    what.add_argument("--totals", action="store_true", help=_TOTALS)
    add_output(parser)
    parser.set_defaults(run=run)


def add_sums(parser: argparse.ArgumentParser, stream: str, order: str) -> Any:
    """The options of how rows are added up and which come first; gives the group of what excludes that."""
    text = f"how many rows ({_TOP}; with a time in --by {_TIMES_MAX})"
    parser.add_argument("--top", "--limit", type=limit, metavar="N", help=text)
    parser.add_argument(
        "--order",
        choices=ORDERS[stream],
        default=order,
        help="what comes first: the most of this (%(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    columns = _columns(stream)
    what.add_argument("--by", type=columns, metavar="COLUMN,…", help="add up by these columns")
    what.add_argument("--newest", action="store_true", help="rows as they were captured, newest first")
    return what


def run(args: argparse.Namespace) -> int:
    """Print the flows or the totals."""
    if args.totals:
        return _totals(config.load(args.config).captures_dir, args.output)
    columns = ("INTERFACE", "DIR", "PROTO", "SOURCE", "DESTINATION", "INNER", "PACKETS", "BYTES", "LAST")
    return show(args, "flows", columns, flow_cells)


def show(
    args: argparse.Namespace,
    stream: str,
    columns: Sequence[str],
    cells: Callable[[dict[str, Any]], Sequence[object]],
) -> int:
    """Print rows of a stream, added up or not, for people by these columns and the cells of a row."""
    directory, wanted = config.load(args.config).captures_dir, flowargs.wanted(args)
    by = args.by or KEYS[stream]
    most = args.top or (_TIMES_MAX if set(by) & set(TIMES) else _TOP)
    if args.newest:
        rows = newest(directory, wanted, most, warn, stream=stream).to_pylist()
    else:
        rows = top(directory, wanted, by, most, warn, order=args.order, stream=stream).to_pylist()
    if not rows:
        say(nothing(directory, stream, args))
    if args.output != "table":
        print_data(rows, args.output)
    elif rows and args.by:
        names = (*by, *_SHOWN[stream])
        print_table([c.upper() for c in names], [[_cell(row, c) for c in names] for row in rows])
    elif rows:
        print_table(columns, [cells(row) for row in rows])
    return 0


def flow_cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A flow as people read it: ``what_cells``, counts and time."""
    return (*what_cells(row), row["packets"], row["bytes"], clock(row["last_ns"]))


def what_cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A flow or packet as people read it: where, which way, protocol, ends and inner packet."""
    return (row["interface"], "in" if row["direction"] == "ingress" else "out", *carried_cells(row))


def carried_cells(row: dict[str, Any]) -> tuple[object, ...]:
    """What it was: protocol, ends and inner packet."""
    inner = None
    if row["vni"] is not None:
        ends = [end(row[f"inner_{side}_ip"], row[f"inner_{side}_port"]) or "?" for side in ("src", "dst")]
        carried = "-" if row["inner_protocol"] is None else protocols.ip_name(row["inner_protocol"])
        inner = f"vni {row['vni']} {carried} {ends[0]} > {ends[1]}"
    return (
        protocols.ether_name(row["ethertype"])
        if row["protocol"] is None
        else protocols.ip_name(row["protocol"]),
        end(row["src_ip"], row["src_port"]),
        end(row["dst_ip"], row["dst_port"]),
        inner,
    )


def clock(at_ns: int) -> str:
    """The time of day, in the time zone of this machine."""
    return datetime.fromtimestamp(at_ns / _NS).astimezone().strftime("%H:%M:%S")


def _cell(row: dict[str, Any], column: str) -> object:
    value = row[column]
    if value is None:
        return None
    if column in ("protocol", "inner_protocol"):
        return protocols.ip_name(value)
    return protocols.ether_name(value) if column == "ethertype" else value


def end(address: str | None, port: int | None) -> str | None:
    """An address, and its port where there is one."""
    if address is None or port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def nothing(directory: Path, stream: str, asked: argparse.Namespace) -> str:
    """In words, that nothing was found of a stream, and what there is instead."""
    since, until = _day(asked.since), _day(asked.until)
    when = f"since {since}" if asked.until == LAST_NS else f"from {since} to {until}"
    span, word = span_ns(directory, stream=stream), "connections" if stream == "tcp" else stream
    if span is None:
        return f"no {word} are stored yet: smartxctl status shows the tracers"
    return f"no {word} match {when}; those that are stored are from {_day(span[0])} to {_day(span[1])}"


def _day(at_ns: int) -> str:
    try:
        return datetime.fromtimestamp(at_ns // _NS).astimezone().isoformat(sep=" ")
    except (ValueError, OverflowError, OSError):
        return "a time beyond the calendar"


def _totals(directory: Path, output: str) -> int:
    found = read_totals(directory)
    if found is None:
        raise StoreError(
            f"{directory}: no captures here", "has smartxd capture run on this box? smartxctl status says"
        )
    epoch, streams = found
    if output != "table":
        print_data({"epoch": epoch, "streams": [_stream(t) for t in streams]}, output)
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
                ("pending" if t.stream in SYNCED else "kept", None, t.pending),
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


def warn(err: StoreError) -> None:
    """Say that a file was left out."""
    print(f"warning: left out: {err.line}", file=sys.stderr)


def limit(text: str) -> int:
    """A number of rows, as it is typed."""
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"not a number of rows: {text!r}; write 1 to 1000000")
    return int(text)


def _columns(stream: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(_ALIASES[stream].get(name, name) for name in text.split(",")))
        for name in names:
            if name not in GROUPS[stream]:
                raise argparse.ArgumentTypeError(f"no column {name!r}; there are {', '.join(GROUPS[stream])}")
        return names

    return parse
