"""``smartxctl status``: one screen that says how a box is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smartxd import config
from smartxd.ctl.verb import add_config, add_output, add_verb
from smartxd.errors import DaemonError, StoreError
from smartxd.report import (
    BoxReport,
    CaptureReport,
    ConditionReport,
    ControlReport,
    SessionReport,
    TracerReport,
)
from smartxd.socketclient import fetch_status
from smartxd.store.captures import read_report
from smartxd.tables import print_data, print_table

EXAMPLES = """columns:
  RECEIVED SENT  prefixes; of a session with several address families, of each; where they are bounded of how
                 many, and whether they are near or over that
  DROPS          how often the session was lost since FRR was started; LAST ERROR says why it was lost last
  PACKETS/S      packets per second over the last drain interval
  FLOWS          flows that had packets in the last drain interval
  RECORDS        packets that it recorded one by one, where the policy does
  SAMPLE         the sampling interval: one packet in so many is recorded
  DIR            in, out, dropped (what the kernel dropped) or tcp (the box's own connections: PACKETS are
                 then events, FLOWS rows, LOST events that found no room)
  PACKETS        all that were seen, be they recorded, filtered, not in the sample, or lost
  FILTERED       packets that the policy's filters did not let through
  UNSAMPLED      packets that were not in the sample
  LOST           packets that were seen and are in no flow, because the flow map was full
  RING FULL      packets that were not recorded one by one, because they came faster than they were stored
  TRUNCATED      packets that end before their headers do, or before they say that they end; recorded too
  MALFORMED      packets that say of themselves what cannot be; recorded too
  TOMBSTONED     rows whose file was removed before the centre had them: the disk bound was hit
  QUARANTINED    rows that the centre refused for good, or whose file is damaged; they stay here

exit code: 0 when the box is Ready, also when a newer commit was refused (see source.findings);
           1 when it is not, or its daemon does not answer

examples:
  smartxctl status                                     this box
  smartxctl status -o json | jq .control.conditions    the same for programs
  smartxctl status --config /etc/smartxd/other.toml    another box on this machine
"""

TIMEOUT_S = 10.0
_WAYS = {"ingress": "in", "egress": "out"}


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs, "status", "how this box is: commit, objects, sessions, tunnels, tracers, sync", EXAMPLES
    )
    add_config(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; what the daemon cannot say is left out and said on stderr."""
    settings = config.load(args.config)
    control: ControlReport | None = None
    failure: DaemonError | None = None
    try:
        control = fetch_status(settings.socket, TIMEOUT_S)
    except DaemonError as err:
        failure = err
    report = BoxReport(box=settings.box, control=control, capture=_capture(settings.captures_dir))
    if args.output != "table":
        print_data(report, args.output)
    else:
        show(report, datetime.now(UTC))
    if failure is not None:
        print(f"error: {failure.message}\nhint: {failure.hint}", file=sys.stderr)
    return 0 if control is not None and control.ready else 1


def _capture(directory: Path) -> CaptureReport | None:
    """What the store says; None, and a line on stderr, where there is none to read."""
    try:
        report = read_report(directory)
    except StoreError as err:
        print(f"note: captures and sync are not shown: {err.line}", file=sys.stderr)
        return None
    if report is None:
        print("note: no captures yet: smartxd capture has not run on this box", file=sys.stderr)
    return report


def show(report: BoxReport, now: datetime) -> None:
    """Print the report for a person; ages are counted to ``now``."""
    if report.control is not None:
        _show_control(report.control, now)
    else:
        files = "; what follows is from files" if report.capture is not None else ""
        print(f"{report.box}: NO ANSWER from smartxd{files}")
    if report.capture is not None:
        _show_capture(report.capture, now)


def _show_control(control: ControlReport, now: datetime) -> None:
    state = "Ready" if control.ready else "NOT READY"
    applied = f"applied {age(control.applied_at, now)} ago" if control.applied_at else "nothing applied yet"
    print(
        f"{control.box}: {state}  commit {control.commit[:10] or '-'}  {applied}  smartxd {control.version}"
    )
    source = control.source
    print(f"source: {source.url}  branch {source.branch}  head {source.head[:10] or '-'}")
    if source.findings:
        print(f"head {source.head[:10]} is NOT APPLIED:")
        for finding in source.findings:
            print(f"  {finding}")
    _table("objects", ("OBJECT", "STATE", "SINCE", "REASON", "MESSAGE"), _objects(control.conditions, now))
    _show_sessions(control)
    _table(
        "tunnels",
        ("TUNNEL", "LINK", "VNI", "STATE", "LOCAL", "GROUP", "REMOTE VTEPS (MACS)"),
        (
            (
                *(t.owner, t.link, t.vni, "up" if t.up else "DOWN", t.local, t.group),
                ", ".join(f"{v.address} ({v.macs})" for v in t.vteps) or "-",
            )
            for t in control.tunnels
        ),
    )
    _table(
        "bridge ports",
        ("BRIDGE", "ADDRESSES", "PORT", "STATE", "MACS"),
        (
            (b.bridge, ", ".join(b.addresses) or "-", p.port, p.state, p.macs)
            for b in control.bridges
            for p in b.ports
        ),
    )


def _show_sessions(control: ControlReport) -> None:
    _table(
        "BGP sessions",
        ("PEER", "NEIGHBOR", "AS", "STATE", "UP", "BFD", "DROPS", "RECEIVED", "SENT", "LAST ERROR"),
        (
            (
                *(s.owner, s.address, s.remote_as, s.state, seconds(s.uptime_s) if s.uptime_s else "-"),
                *(s.bfd or "-", s.drops, _received(s), _sent(s)),
                s.last_error,
            )
            for s in control.sessions
        ),
    )
    _table(
        "EVPN",
        ("VNI", "TYPE", "LINK", "VRF", "MACS", "ARP/ND", "REMOTE VTEPS"),
        (
            (v.vni, v.type, v.link, v.vrf, v.macs, v.neighbors, ", ".join(v.vteps) or "-")
            for v in control.vnis
        ),
    )


def _received(session: SessionReport) -> str:
    """Prefixes by family, where they are bounded of how many: ``ipv4 5/3 over, evpn 3``."""
    counts = {
        f.family: f"{f.prefixes_received}{f'/{f.prefixes_max}' if f.prefixes_max else ''} {f.limit}".rstrip()
        for f in session.families
    }
    return _by_family(counts, session.prefixes_received)


def _sent(session: SessionReport) -> str:
    return _by_family({f.family: str(f.prefixes_sent) for f in session.families}, session.prefixes_sent)


def _by_family(counts: Mapping[str, str], total: int) -> str:
    """Counts of prefixes, of several families each by its name."""
    if len(counts) < 2:
        return next(iter(counts.values()), str(total))
    return ", ".join(f"{family} {count}" for family, count in counts.items())


def _objects(conditions: Sequence[ConditionReport], now: datetime) -> Iterator[tuple[object, ...]]:
    """A row for each object: Ready or not; then one for each other condition that is true or was drift."""
    for c in conditions:
        if c.type == "Ready":
            state = "Ready" if c.status else "NOT READY"
            yield c.object, state, age(c.since, now), c.reason, c.message if not c.status else ""
    for c in conditions:
        wrong = (
            c.status if c.type in ("Stalled", "Contested") else c.type == "SourceVerified" and not c.status
        )
        if wrong or c.type == "Drifted":
            state = c.type if c.status or c.type == "Drifted" else f"not {c.type}"
            yield c.object, state, age(c.since, now), c.reason, c.message


def _show_capture(capture: CaptureReport, now: datetime) -> None:
    _table(
        "tracers",
        (
            *("POLICY", "INTERFACE", "DIR", "STATE", "SAMPLE", "PACKETS/S", "FLOWS", "RECORDS"),
            *("PACKETS", "BYTES", "FILTERED", "UNSAMPLED", "LOST", "RING FULL", "TRUNCATED", "MALFORMED"),
        ),
        (
            (
                *(
                    t.policy,
                    t.interface,
                    _WAYS.get(t.direction, t.direction),
                    "attached" if t.attached else "DETACHED",
                    _sampling(t),
                ),
                *(f"{t.packets_per_s:.0f}", t.flows, t.records or None, t.packets, t.bytes),
                *(t.filtered_packets or None, t.sampled_out_packets or None, t.lost_packets),
                *(t.ring_full_packets or None, t.truncated_skbs or None, t.malformed_skbs or None),
            )
            for t in capture.tracers
        ),
    )
    _table("not drained", ("POLICY", "WHY"), ((u.policy, u.message) for u in capture.undrained))
    _table(
        "sync",
        ("STREAM", "CAPTURED", "RECEIVED", "PENDING", "TOMBSTONED", "QUARANTINED"),
        (
            (
                *(s.stream, s.captured_rows, s.received_rows, s.pending_rows),
                *(s.tombstoned_rows, s.quarantined_rows),
            )
            for s in capture.streams
        ),
    )
    contact = f"{age(capture.last_contact, now)} ago" if capture.last_contact else "never"
    print(f"centre: last contact {contact}" + (f"; {capture.sync_error}" if capture.sync_error else ""))


def _sampling(t: TracerReport) -> str | None:
    """The interval, and the one that was asked for where a budget makes it coarser."""
    if t.sampled_one_in > t.asked_one_in:
        return f"1/{t.sampled_one_in} for 1/{t.asked_one_in}"
    return f"1/{t.sampled_one_in}" if t.sampled_one_in > 1 else None


def _table(title: str, columns: Sequence[str], rows: Iterator[tuple[object, ...]]) -> None:
    found = list(rows)
    if found:
        print(f"\n{title}")
        print_table(columns, found)


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the two largest units: ``42s``, ``3m10s``, ``2d4h``."""
    return seconds(max(0, int((now - since).total_seconds())))


def seconds(count: int) -> str:
    """A duration in its two largest units."""
    parts = [(count // 86400, "d"), (count // 3600 % 24, "h"), (count // 60 % 60, "m"), (count % 60, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return "".join(f"{n}{unit}" for n, unit in parts[:2] if n or len(parts) == 1)
