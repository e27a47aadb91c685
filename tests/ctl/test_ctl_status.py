"""``smartxctl status`` as a person reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smartxd.ctl.main import main
from smartxd.ctl.status import age, show
from smartxd.report import (
    BoxReport,
    BridgeReport,
    CaptureReport,
    ConditionReport,
    ControlReport,
    FamilyReport,
    PortReport,
    SessionReport,
    SourceReport,
    StreamReport,
    TracerReport,
    TunnelReport,
    VniReport,
    VtepReport,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
COMMIT, HEAD = "612dec7d3d" + "0" * 30, "bb373df81f" + "0" * 30
FINDING = "l2.yaml:14:12: Tunnel/koren-l2: spec.flood.group: not a multicast group"


def condition(name: str, kind: str, status: bool, reason: str, message: str = "") -> ConditionReport:
    since = NOW - timedelta(seconds=190)
    return ConditionReport(
        object=name, type=kind, status=status, reason=reason, message=message, commit=COMMIT, since=since
    )


CONTROL = ControlReport(
    box="gist1",
    version="0.1.0",
    at=NOW,
    commit=COMMIT,
    applied_at=NOW - timedelta(hours=3),
    source=SourceReport(url="/srv/site.git", branch="main", path=".", head=HEAD, findings=(FINDING,)),
    conditions=(
        condition("Box/gist1", "Ready", True, "Converged"),
        condition("Tunnel/koren-l2", "Drifted", False, "Repaired", "link vx100 was gone"),
        condition("TracePolicy/koren", "Ready", False, "MissingInterface", "eth9 does not exist"),
        condition("TracePolicy/koren", "Stalled", False, "Retrying"),
    ),
    sessions=(
        SessionReport(
            owner="BGPPeer/koren-wan",
            address="203.0.113.2",
            remote_as=65002,
            state="Established",
            uptime_s=62,
            prefixes_received=1,
            prefixes_sent=2,
        ),
    ),
    tunnels=(
        TunnelReport(
            owner="Tunnel/koren-l2",
            link="vx100",
            vni=100,
            local="203.0.113.1",
            group="239.1.1.100",
            up=False,
            vteps=(VtepReport(address="203.0.113.2", macs=3),),
        ),
    ),
    bridges=(
        BridgeReport(
            owner="Tunnel/koren-l2",
            bridge="br-koren",
            addresses=("10.10.0.1/24",),
            ports=(PortReport(port="vx100", state="forwarding", macs=3),),
        ),
    ),
)
CAPTURE = CaptureReport(
    epoch="e1",
    at=NOW,
    tracers=(
        TracerReport(
            policy="koren",
            interface="vx100",
            direction="egress",
            attached=True,
            packets=18,
            bytes=1532,
            filtered_packets=4,
            sampled_out_packets=2,
            sampled_one_in=10,
            asked_one_in=10,
            lost_packets=7,
            truncated_skbs=6,
            ring_full_packets=5,
            packets_per_s=4.6,
            flows=3,
            records=2,
        ),
    ),
    streams=(
        StreamReport(
            stream="flows",
            captured_rows=52,
            received_rows=40,
            pending_rows=9,
            tombstoned_rows=2,
            quarantined_rows=1,
            captured_batches=6,
            pending_batches=1,
        ),
    ),
    last_contact=NOW - timedelta(seconds=1),
    sync_error="the centre does not answer",
)
ONE_SCREEN = f"""\
gist1: Ready  commit 612dec7d3d  applied 3h ago  smartxd 0.1.0
source: /srv/site.git  branch main  head bb373df81f
head bb373df81f is NOT APPLIED:
  {FINDING}

objects
OBJECT             STATE      SINCE  REASON            MESSAGE
Box/gist1          Ready      3m10s  Converged
TracePolicy/koren  NOT READY  3m10s  MissingInterface  eth9 does not exist
Tunnel/koren-l2    Drifted    3m10s  Repaired          link vx100 was gone

BGP sessions
PEER               NEIGHBOR        AS  STATE        UP    BFD  DROPS  RECEIVED  SENT  LAST ERROR
BGPPeer/koren-wan  203.0.113.2  65002  Established  1m2s  -        0         1     2

tunnels
TUNNEL           LINK   VNI  STATE  LOCAL        GROUP        REMOTE VTEPS (MACS)
Tunnel/koren-l2  vx100  100  DOWN   203.0.113.1  239.1.1.100  203.0.113.2 (3)

bridge ports
BRIDGE    ADDRESSES     PORT   STATE       MACS
br-koren  10.10.0.1/24  vx100  forwarding     3

tracers
POLICY  INTERFACE  DIR  STATE     SAMPLE  PACKETS/S  FLOWS  RECORDS  PACKETS  BYTES  FILTERED  \
UNSAMPLED  LOST  RING FULL  TRUNCATED  MALFORMED
koren   vx100      out  attached  1/10            5      3        2       18   1532         4  \
        2     7          5          6  -

sync
STREAM  CAPTURED  RECEIVED  PENDING  TOMBSTONED  QUARANTINED
flows         52        40        9           2            1
centre: last contact 1s ago; the centre does not answer
"""


def test_a_box_is_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    show(BoxReport(box="gist1", control=CONTROL, capture=CAPTURE), NOW)
    assert capsys.readouterr().out == ONE_SCREEN


def test_sessions_of_several_families_and_the_vnis_of_evpn_are_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (session,) = CONTROL.sessions
    families = tuple(
        FamilyReport(family=f, prefixes_received=n, prefixes_sent=n + 1)
        for f, n in (("ipv4", 1), ("evpn", 5))
    )
    families = (families[0].model_copy(update={"prefixes_max": 1, "limit": "near"}), families[1])
    error = 'BGP Notification received: Cease/Administrative Shutdown: "noon"'
    change = {"families": families, "bfd": "up", "drops": 2, "last_error": error}
    vni = VniReport(
        vni=100, type="L2", link="vx100", vrf="default", vteps=("192.0.2.2",), macs=3, neighbors=1
    )
    control = CONTROL.model_copy(
        update={"conditions": (), "sessions": (session.model_copy(update=change),), "vnis": (vni,)}
    )
    show(BoxReport(box="gist1", control=control), NOW)
    out = capsys.readouterr().out
    assert (
        """\
  BFD  DROPS  RECEIVED               SENT            LAST ERROR
BGPPeer/koren-wan  203.0.113.2  65002  Established  1m2s  up       2  ipv4 1/1 near, evpn 5  ipv4 2, evpn 6"""
        + f"  {error}"
        in out
    )
    assert (
        """
EVPN
VNI  TYPE  LINK   VRF      MACS  ARP/ND  REMOTE VTEPS
100  L2    vx100  default     3       1  192.0.2.2
"""
        in out
    )


def test_without_its_daemon_the_first_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show(BoxReport(box="gist1", capture=CAPTURE), NOW)
    first, empty, title, *_ = capsys.readouterr().out.splitlines()
    assert first == "gist1: NO ANSWER from smartxd; what follows is from files"
    assert (empty, title) == ("", "tracers")


def test_a_box_on_which_nothing_has_run_is_said_with_hints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "smartxd.toml"
    config.write_text(
        f'box = "gist1"\nstate_dir = "{tmp_path}"\nrun_dir = "{tmp_path}"\n[source]\nurl = "/srv/site.git"\n'
    )
    assert main(["status", "--config", str(config)]) == 1
    out, err = capsys.readouterr()
    assert out == "gist1: NO ANSWER from smartxd\n"
    assert "error: " in err
    assert "hint: " in err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42, "42s"), (60, "1m"), (190, "3m10s"), (3600, "1h"), (86400 * 2 + 3600 * 4, "2d4h")],
)
def test_an_age_is_told_in_its_two_largest_units(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text
