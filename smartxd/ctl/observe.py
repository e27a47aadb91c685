"""``smartxctl observe``: flows as they grow and end, one line each, until it is stopped."""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from smartxd import config
from smartxd.ctl import flowargs
from smartxd.ctl.flows import flow_cells, warn
from smartxd.ctl.verb import add_config, add_verb
from smartxd.errors import StoreError
from smartxd.spec.finding import printable
from smartxd.store.queries import Tail

EXAMPLES = """\
A flow appears each time that it has grown, every capture.drain_interval_s (5 s), with what it counts so far
(end_reason null), and once more when it has ended, with the reason (docs/flows.md). Packets, drops and TCP
connections are not among them: smartxctl packets, drops and tcp show these.

exit code: 0 when it was stopped (Ctrl-C), --count was reached or nobody reads any more;
           1 when there is no store to watch

examples:
  smartxctl observe                              everything, as it is stored
  smartxctl observe -o json | jq -c 'select(.end_reason)'    flows that have ended
  smartxctl observe --vni 100 --protocol tcp     of one VXLAN segment
  smartxctl observe --src 10.0.0.0/8 -o json | jq -r .dst_ip
  smartxctl observe --port 179 --count 1         wait for the first BGP packets
"""

_SETTLE_MS = 200
"""The kernel tells of a write a moment before SQLite shows it: so a look, and then another one."""


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "observe", "follow the flows of this box as they are stored", EXAMPLES)
    add_config(parser)
    flowargs.add_fields(parser)
    parser.add_argument("--count", type=_count, metavar="N", help="end after so many rows")
    text = "for a person, or a JSON object on each line (%(default)s)"
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help=text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print rows until stopped; StoreError where there is no store."""
    tail = Tail(config.load(args.config).captures_dir, flowargs.wanted(args), warn)
    shown = _json if args.output == "json" else _line
    left = args.count
    try:
        with _changes(tail.directory) as changes:
            print("watching; Ctrl-C ends", file=sys.stderr)
            for _ in changes:
                for table in tail.new():
                    for row in table.to_pylist() if left is None else table.slice(0, left).to_pylist():
                        print(shown(row))
                    left = None if left is None else left - table.num_rows
                    if left is not None and left <= 0:
                        return 0
                sys.stdout.flush()
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _line(row: dict[str, Any]) -> str:
    interface, way, protocol, source, destination, inner, packets, octets, at = flow_cells(row)
    ends = f"{source} > {destination}" if source else ""
    counts = f"{packets} packet{'s' * (packets != 1)} {octets} bytes"
    end = row["end_reason"] or "so far"
    parts = (at, interface, way, protocol, ends, f"({inner})" if inner else "", counts, end)
    return printable(" ".join(str(part) for part in parts if part))


@contextmanager
def _changes(directory: Path) -> Iterator[Iterator[None]]:
    """Yields after each change of the store's files, first at once, until nobody reads stdout any more."""
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    observer = Observer()
    try:
        try:
            observer.schedule(_Bell(bell), str(directory), recursive=False)
            observer.start()
        except OSError as err:
            hint = "raise fs.inotify.max_user_instances and max_user_watches"
            raise StoreError(f"{directory}: cannot be watched: {err.strerror}", hint) from err
        yield _rings(bell)
    finally:
        if observer.is_alive():
            # It calls an error that something changes while it stops.
            logging.getLogger("watchdog").setLevel(logging.CRITICAL)
            observer.stop()
            observer.join(timeout=5)
        os.close(bell)


class _Bell(FileSystemEventHandler):
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def dispatch(self, event: FileSystemEvent) -> None:
        """Ring for files that are written; who reads touches SQLite's shared memory, and so the directory."""
        if event.is_directory or str(event.src_path).endswith("-shm"):
            return
        if event.event_type in {"created", "modified"}:
            os.eventfd_write(self._fd, 1)


def _rings(bell: int) -> Iterator[None]:
    waiting = select.poll()
    waiting.register(bell, select.POLLIN)
    waiting.register(sys.stdout.fileno(), 0)  # no event but the reader's end
    settled = False
    while True:
        yield
        ready = dict(waiting.poll(None if settled else _SETTLE_MS))
        settled = not ready
        if ready.get(sys.stdout.fileno(), 0) & (select.POLLERR | select.POLLHUP):
            return
        if bell in ready:
            os.eventfd_read(bell)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f"not a number of rows: {text!r}; write 1 or more")
    return int(text)
