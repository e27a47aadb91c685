"""``smartxctl history``: what happened on this box, and what smartxd did."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from typing import Any

from smartxd import config
from smartxd.ctl.verb import add_config, add_output, add_verb
from smartxd.objects import Event
from smartxd.store.history import EventFilter, read_events
from smartxd.store.timespan import since_ns
from smartxd.tables import print_data, print_table

EXAMPLES = """examples:
  smartxctl history                                what happened in the last day
  smartxctl history --object BGPPeer/koren-wan     the ups and downs of one session
  smartxctl history --object Tunnel --since 7d     all tunnels, a week
  smartxctl history --kind Drift                   what somebody has changed by hand
  smartxctl history -o json                        for a program
"""

KINDS = (
    *("Applied", "Failed", "Drift", "Contested", "CommitAccepted", "CommitRefused", "FetchFailed"),
    *(
        "SessionUp",
        "SessionDown",
        "PrefixLimitNear",
        "PrefixLimitReached",
        "PrefixLimitKept",
        "BFDUp",
        "BFDDown",
        "SessionsChanged",
    ),
)


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "history", "what happened on this box, and what smartxd did", EXAMPLES)
    add_config(parser)
    when = "90s, 10m, 2h, 7d or an RFC 3339 time (1d)"
    parser.add_argument("--since", type=_since, default="1d", metavar="TIME", help=when)
    parser.add_argument("--object", default="", metavar="KIND[/NAME]", help="only of this object or kind")
    parser.add_argument("--kind", default="", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument(
        "--limit", type=_limit, default=200, metavar="N", help="at most so many, the newest (200)"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the events, the newest last."""
    path = config.load(args.config).control_db
    events = read_events(path, EventFilter(args.since, args.object, args.kind), args.limit)
    if args.output != "table":
        print_data([_plain(event) for event in events], args.output)
        return 0
    if not events:
        print("nothing happened")
        return 0
    rows = [(_local(e.at), e.kind, str(e.object), e.commit[:10] or "-", e.message) for e in events]
    print_table(("TIME", "KIND", "OBJECT", "COMMIT", "WHAT"), rows)
    return 0


def _plain(event: Event) -> dict[str, str]:
    return {
        "at": event.at.isoformat(),
        "kind": event.kind,
        "object": str(event.object),
        "commit": event.commit,
        "message": event.message,
    }


def _local(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _since(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(since_ns(text, time.time()) / 1e9, UTC)
    except (ValueError, OverflowError) as err:
        raise argparse.ArgumentTypeError(str(err)) from None


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"not a number from 1 to 10000: {text!r}")
    return int(text)
