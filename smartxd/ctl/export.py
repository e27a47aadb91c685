"""``smartxctl export``: flows, drops, TCP connections and packets as files that other programs read."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from smartxd import config
from smartxd.ctl import flowargs
from smartxd.ctl.flows import warn
from smartxd.ctl.verb import add_config, add_verb, say
from smartxd.errors import SmartxError, StoreError
from smartxd.store.flowfilter import FlowFilter

EXAMPLES = """\
Rows are written as they were captured, a batch at a time, however many there are. A file appears when it
is complete; - is stdout.

exit code: 0 when everything that was asked for is in the file, 1 when it is not

examples:
  smartxctl export parquet flows.parquet --last 1d
  smartxctl export csv - --last 10m --interface vx100 | head
  smartxctl export pcapng packets.pcapng --last 1h --port 53
  smartxctl export ipfix flows.ipfix --since 2026-07-01T12:00:00Z --until 2026-07-01T13:00:00Z
"""

_FORMATS = {
    "parquet": (
        "columns, compressed: for pandas, DuckDB, ClickHouse",
        """The columns are those of docs/flows.md, docs/drops.md or docs/tcp.md; smartx.box in the file's
metadata names the box. --src and --dst are the own and the other end of a TCP connection, which has no
--vni and no --protocol.

examples:
  smartxctl export parquet flows.parquet --last 1d
  smartxctl export parquet drops.parquet --last 1d --stream drops
  smartxctl export parquet dns.parquet --last 1h --protocol udp --port 53
""",
    ),
    "csv": (
        "text with a line per flow, drop or connection: for spreadsheets and scripts",
        """The columns are those of docs/flows.md, docs/drops.md or docs/tcp.md; what a row has not is empty,
times are nanoseconds since 1970. --src and --dst are the own and the other end of a TCP connection, which
has no --vni and no --protocol.

examples:
  smartxctl export csv flows.csv --last 1h
  smartxctl export csv - --last 10m --src 10.0.0.0/8 | cut -d, -f7,8,20
""",
    ),
    "pcapng": (
        "packets, where a policy records them: for Wireshark",
        """As many bytes as the policy keeps of each, with interfaces, directions and nanoseconds. Where
packets came faster than they were stored, the next one says how many are missing.

examples:
  smartxctl export pcapng packets.pcapng --last 1h
  smartxctl export pcapng - --last 10m --port 179 | tshark -r -
""",
    ),
    "ipfix": (
        "an IPFIX file (RFC 5655): for flow collectors and Wireshark",
        """docs/flows.md lists the information elements. commit_id and skbs have none and are left out.

examples:
  smartxctl export ipfix flows.ipfix --last 1h
  smartxctl export ipfix - --last 10m --vni 100 | tshark -r - -V
""",
    ),
}


_OF_STREAMS = ("parquet", "csv")


def add_parser(verbs: Any) -> None:
    """Add the verb, and a verb of it for each format."""
    parser = add_verb(verbs, "export", "write what the tracers have recorded for other programs", EXAMPLES)
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    for name, (text, examples) in _FORMATS.items():
        one = add_verb(formats, name, text, examples)
        one.add_argument("file", type=Path, metavar="FILE", help="where to; - is stdout")
        add_config(one)
        flowargs.add_times(one)
        flowargs.add_fields(one)
        if name in _OF_STREAMS:
            help_ = "which rows (%(default)s): flows, what the kernel dropped, TCP connections"
            one.add_argument("--stream", choices=("flows", "drops", "tcp"), default="flows", help=help_)
        one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file; 1 when a damaged segment is not in it."""
    settings, wanted = config.load(args.config), flowargs.wanted(args)
    if getattr(args, "stream", "") == "tcp" and (wanted.vni, wanted.protocol) != (None, None):
        raise SmartxError(
            "TCP connections have neither a VNI nor a protocol",
            "leave --vni and --protocol out with --stream tcp",
        )
    left_out: list[StoreError] = []
    stream, scan, form = _form(args, settings.captures_dir, wanted)
    rows = 0
    with _target(args.file) as file, form(file, settings.box) as writer:
        for table in scan(settings.captures_dir, wanted, left_out.append):
            writer.write(table)
            rows += table.num_rows
    for err in left_out:
        warn(err)
    none = f"0 rows: no {stream} match; smartxctl {stream} says from when there are some"
    say(f"{rows} rows" if rows else none)
    return 1 if left_out else 0


def _form(
    args: argparse.Namespace, directory: Path, wanted: FlowFilter
) -> tuple[str, Callable[..., Any], Callable[..., Any]]:
    """What is written, what reads that, and what opens a writer on a file and a box's name."""
    from smartxd.export.files import FORMATS, TABLES, pcapng  # noqa: PLC0415 (slow: only where it writes)
    from smartxd.records import STREAMS  # noqa: PLC0415
    from smartxd.store import packets, queries  # noqa: PLC0415

    if args.format in _OF_STREAMS:
        form = partial(TABLES[args.format], schema=STREAMS[args.stream])
        return args.stream, partial(queries.scan, stream=args.stream), form
    if args.format in FORMATS:
        return "flows", queries.scan, FORMATS[args.format]
    # A loss is of an interface, not of one address.
    place = FlowFilter(wanted.since_ns, wanted.until_ns, wanted.interface, wanted.policy)
    tables = queries.scan(directory, place, warn, stream="losses")
    lost = [row for table in tables for row in table.to_pylist() if row["cause"] == "ring-full"]
    return "packets", packets.scan, partial(pcapng, losses=lost)


@contextmanager
def _target(path: Path) -> Iterator[BinaryIO]:
    """A file that appears whole under its name when the block ends well, and not at all when it does not."""
    if str(path) == "-":
        if sys.stdout.isatty():
            raise SmartxError("this is a terminal", "name a FILE, or pipe it into a program")
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not path.is_file():  # a device or a pipe takes what it is given
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
