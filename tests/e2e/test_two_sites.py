"""The example for real: kernel, FRR, tracers, repo, SQLite and centre, on two boxes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from smartxd import bpfsys
from tests.e2e.conftest import PATIENCE_S, Site

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

SECOND_TUNNEL = """
apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata: {name: second}
spec:
  boxes: {matchLabels: {network: koren}}
  vni: 200
  flood: {mode: multicast, group: 239.1.1.200}
  gateways: {gist1: 10.20.0.1/24, gist2: 10.20.0.2/24}
"""

RECEIVE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
SO_RCVBUFFORCE = 33
s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)  # room for all, should it be kept from reading
s.bind(("0.0.0.0", int(sys.argv[1])))
s.settimeout(60)
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    s.recv(2048)
print("all", flush=True)
"""

SEND = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(count):
    s.sendto(b"x" * 100, (address, port))
    if number % 50 == 49:
        time.sleep(0.005)
"""


def send_datagrams(site: Site, port: int, count: int) -> None:
    """Exactly ``count`` UDP datagrams of 100 bytes from c1 to c2, all of them received."""
    argv = site.lab.command_in("c2", [sys.executable, "-c", RECEIVE, str(port), str(count)])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        site.python("c1", SEND, "10.10.0.12", str(port), str(count))
        assert receiver.stdout.readline() == "all\n"


def flow_rows(site: Site, box: str, port: int) -> list[dict[str, Any]]:
    """The rows of a box about datagrams to ``port``, outside or inside a tunnel."""
    config = str(site.lab.layout.box(box).config)
    rows = json.loads(site.ctl("flows", "--config", config, "--limit", "100000", "-o", "json").stdout)
    return [r for r in rows if port in (r["dst_port"], r["inner_dst_port"])]


def packets(rows: Iterable[dict[str, Any]], **wanted: object) -> int:
    return sum(r["packets"] for r in rows if all(r[k] == v for k, v in wanted.items()))


def center(site: Site, path: str) -> Any:
    with urllib.request.urlopen(f"{site.lab.center_url}api/v1/{path}", timeout=60) as answer:
        return json.load(answer)


def links(site: Site, box: str) -> dict[str, tuple[Any, ...]]:
    """What identifies each link and what smartxd sets of it, by name; timers and counters left out."""
    keys = ("ifindex", "mtu", "master", "ifalias", "operstate", "address")
    found = site.json(box, "ip", "-j", "link", "show")
    return {link["ifname"]: tuple(link.get(key) for key in keys) for link in found}


def states(site: Site, box: str) -> list[str]:
    """The states of a box's sessions."""
    control = site.report(box).control
    return [s.state for s in control.sessions] if control is not None else []


def ready(site: Site) -> set[str]:
    """The objects that gist1 says are Ready."""
    control = site.report("gist1").control
    return {c.object for c in control.conditions if c.type == "Ready" and c.status} if control else set()


def test_the_boxes_are_joined_at_layer_2(site: Site) -> None:
    site.wait_reaches("c1", "10.10.0.12")

    def joined() -> bool:
        control = site.report("gist1").control
        assert control is not None
        (tunnel,), (bridge,) = control.tunnels, control.bridges
        ports = len(bridge.ports)  # the VTEP and the container
        return ({v.address for v in tunnel.vteps}, ports) == ({"203.0.113.2"}, 2)

    site.wait("what joins them in the report", joined)


def test_the_boxes_are_joined_at_layer_3(site: Site) -> None:
    site.wait("the session", lambda: states(site, "gist1") == ["Established"])
    site.wait("the route", lambda: site.json("gist1", "ip", "-j", "route", "show", "10.255.0.2"))
    site.wait_reaches("gist1", "10.255.0.2", "-I", "10.255.0.1")


def test_every_datagram_is_counted_inside_and_outside_the_tunnel_on_both_boxes(site: Site) -> None:
    send_datagrams(site, 7001, 500)

    def counted(box: str, way: str) -> bool:
        rows = flow_rows(site, box, 7001)
        inside = packets(rows, interface="vx100", direction=way, dst_port=7001, src_ip="10.10.0.11")
        outside = packets(rows, interface="wan0", direction=way, vni=100, inner_dst_port=7001)
        assert inside <= 500
        assert outside <= 500
        return inside == outside == 500

    site.wait("the flows of the sender", lambda: counted("gist1", "egress"))
    site.wait("the flows of the receiver", lambda: counted("gist2", "ingress"))
    outer = next(r for r in flow_rows(site, "gist2", 7001) if r["interface"] == "wan0")
    assert (outer["src_ip"], outer["dst_ip"], outer["dst_port"]) == ("203.0.113.1", "203.0.113.2", 4789)
    assert (outer["inner_src_ip"], outer["inner_dst_ip"], outer["inner_protocol"]) == (
        "10.10.0.11",
        "10.10.0.12",
        17,
    )


def assert_counts_agree(site: Site) -> None:
    """What each box captured up to its last acknowledged batch is what the centre has of it."""
    for box in ("gist1", "gist2"):
        config = str(site.lab.layout.box(box).config)

        def equal(box: str = box, config: str = config) -> bool:
            capture = site.report(box).capture
            assert capture is not None
            for stream in capture.streams:
                parts = stream.received_rows + stream.pending_rows + stream.tombstoned_rows
                assert stream.captured_rows == parts + stream.quarantined_rows
            here = json.loads(site.ctl("flows", "--config", config, "--totals", "-o", "json").stdout)
            there = {(t["epoch"], t["stream"]): t for t in center(site, f"totals?box={box}")}
            return same_totals(here, there)

        site.wait(f"equal counts of {box}", equal)


def same_totals(here: Any, there: Any) -> bool:
    """Whether the centre has exactly what the box says was received, in batches, rows, packets and bytes."""
    sent = [s for s in here["streams"] if s["received"]["batches"]]
    for stream in sent:
        came = there.get((here["epoch"], stream["stream"]))
        if came is None or came["contiguous_seq"] != stream["acked_seq"]:
            return False
        assert {key: came[key] for key in stream["received"]} == stream["received"]
    return bool(sent)


def test_the_centre_has_what_the_boxes_have(site: Site) -> None:
    assert_counts_agree(site)
    assert {b["name"] for b in center(site, "boxes")} == {"gist1", "gist2"}
    head = site.lab.repo.head()
    site.wait("the report at the centre", lambda: {b["commit"] for b in center(site, "boxes")} == {head})


def test_the_first_page_shows_both_boxes(site: Site) -> None:
    def page() -> str:
        with urllib.request.urlopen(site.lab.center_url, timeout=60) as answer:
            return str(answer.read().decode())

    words = ("gist1", "gist2", site.lab.repo.head()[:7])
    site.wait("both boxes on the page", lambda: all(word in page() for word in words))


def test_a_commit_makes_a_tunnel_and_its_removal_unmakes_it(site: Site) -> None:
    before = {box: links(site, box).keys() for box in ("gist1", "gist2")}
    site.commit({"second.yaml": SECOND_TUNNEL}, "a second tunnel")
    assert links(site, "gist1").keys() - before["gist1"] == {"vx200", "br200"}
    site.wait_reaches("gist1", "10.20.0.2")
    site.commit({"second.yaml": None}, "no second tunnel")
    assert {box: links(site, box).keys() for box in before} == before


def test_an_invalid_commit_changes_nothing_and_says_why(site: Site) -> None:
    good = site.lab.repo.head()
    before = links(site, "gist1")
    bad = site.lab.commit({"bad.yaml": SECOND_TUNNEL.replace("vni: 200", "vni: twenty")}, "a mistake")

    def refused() -> Any:
        condition = site.condition("gist1", "Box/gist1", "SourceVerified")
        return condition if condition is not None and not condition.status else None

    try:
        assert site.wait("the refusal", refused).reason == "InvalidSpec"
        control = site.report("gist1").control
        assert control is not None
        assert (control.commit, control.source.head, control.ready) == (good, bad, True)
        assert [f.split(": ")[0] for f in control.source.findings] == ["bad.yaml:7:3"]
        assert links(site, "gist1") == before
        screen = site.ctl("status", "--config", str(site.lab.layout.box("gist1").config)).stdout
        assert "NOT APPLIED" in screen
        assert "bad.yaml:7:3: Tunnel/second: spec.vni" in screen
    finally:
        site.commit({"bad.yaml": None}, "mended")
    site.wait("that it is verified", lambda: site.condition("gist1", "Box/gist1", "SourceVerified").status)


def test_a_link_deleted_by_hand_comes_back_and_the_drift_is_said(site: Site) -> None:
    site.run("gist1", "ip", "link", "del", "vx100")
    site.wait("the repair", lambda: "vx100" in links(site, "gist1"))

    def said() -> Any:
        condition = site.condition("gist1", "Tunnel/koren-l2", "Drifted")
        return condition if condition is not None and condition.reason == "Repaired" else None

    assert "link vx100" in site.wait("the condition", said).message
    site.lab.wait_ready(PATIENCE_S)
    site.wait_reaches("c1", "10.10.0.12")
    send_datagrams(site, 7002, 100)
    site.wait(
        "the tracer on the new link",
        lambda: packets(flow_rows(site, "gist1", 7002), interface="vx100", direction="egress") == 100,
    )


def test_a_neighbor_removed_by_hand_comes_back(site: Site) -> None:
    pathspace = site.lab.layout.box("gist1").namespace
    vtysh = ("vtysh", "-N", pathspace, "-c")
    remove = ("configure terminal", "-c", "router bgp 65001", "-c", "no neighbor 203.0.113.2")
    site.run("gist1", *vtysh, *remove)
    site.end("gist1/smartxd", signal.SIGTERM)  # a fresh start looks at FRR at once
    site.heal()
    assert "neighbor 203.0.113.2" in site.run("gist1", *vtysh, "show running-config").stdout


def test_frr_that_is_killed_is_said_and_converged_again_when_it_starts(site: Site) -> None:
    site.end("gist1/bgpd", signal.SIGKILL)

    def said() -> Any:
        condition = site.condition("gist1", "BGPRouter/gist1", "Ready")
        return condition is not None and condition.reason == "FRRDaemonDown"

    site.wait("the condition", said)
    site.heal()
    pathspace = site.lab.layout.box("gist1").namespace
    running = site.run("gist1", "vtysh", "-N", pathspace, "-c", "show running-config").stdout
    assert "neighbor 203.0.113.2 remote-as 65002" in running
    site.wait_reaches("gist1", "10.255.0.2", "-I", "10.255.0.1")


def test_a_bgpd_that_hangs_keeps_no_link_from_its_repair_and_no_tunnel_from_its_commit(site: Site) -> None:
    site.wait("the session", lambda: states(site, "gist1") == ["Established"])
    bgpd = site.pid("gist1/bgpd")
    os.kill(bgpd, signal.SIGSTOP)
    try:
        site.wait("that the session is unknown", lambda: states(site, "gist1") == ["Unknown"])
        site.lab.commit({"second.yaml": SECOND_TUNNEL}, "a second tunnel")
        site.wait("the second tunnel", lambda: "vx200" in links(site, "gist1"))
        for _ in range(3):
            site.run("gist1", "ip", "link", "del", "vx100")
            site.wait("the repair", lambda: "vx100" in links(site, "gist1"))
        site.wait("the tunnel and not FRR", lambda: ready(site) >= {"Tunnel/second", "Tunnel/koren-l2"})
        assert "BGPRouter/gist1" not in ready(site)
        site.end("gist1/smartxd", signal.SIGTERM)
    finally:
        os.kill(bgpd, signal.SIGCONT)
    site.heal()
    site.commit({"second.yaml": None}, "no second tunnel")


def test_a_session_that_goes_and_comes_is_history(site: Site) -> None:
    site.wait("the session", lambda: states(site, "gist1") == ["Established"])
    pathspace = site.lab.layout.box("gist2").namespace
    shut = (
        "configure terminal",
        "-c",
        "router bgp 65002",
        "-c",
        "neighbor 203.0.113.1 shutdown message noon",
    )
    site.run("gist2", "vtysh", "-N", pathspace, "-c", *shut)
    database = site.lab.layout.box("gist1").state_dir / "control.sqlite"

    def told(kind: str, words: str) -> bool:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            found = db.execute("select message from events where kind = ? order by seq", (kind,))
            return any(words in message for (message,) in found)

    site.wait("that it went", lambda: told("SessionDown", 'Cease/Administrative Shutdown: "noon"'))
    site.end("gist2/smartxd", signal.SIGTERM)  # a fresh start looks at FRR at once
    site.heal()
    site.wait("that it came", lambda: told("SessionUp", "203.0.113.2: established"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_ends_leaves_the_network_and_one_that_starts_changes_nothing(
    site: Site, how: int
) -> None:
    before = links(site, "gist1")
    site.end("gist1/smartxd", how)
    assert links(site, "gist1") == before
    site.wait_reaches("c1", "10.10.0.12")
    screen = site.ctl("status", "--config", str(site.lab.layout.box("gist1").config), check=False)
    assert screen.returncode == 1
    assert "error: " in screen.stderr
    assert "Traceback" not in screen.stderr
    site.heal()
    assert links(site, "gist1") == before


def test_a_daemon_killed_while_the_spec_changes_converges_when_it_starts(site: Site) -> None:
    site.lab.commit({"second.yaml": SECOND_TUNNEL}, "a second tunnel")
    site.end("gist1/smartxd", signal.SIGKILL)
    site.heal()
    assert {"vx200", "br200"} <= links(site, "gist1").keys()
    site.lab.commit({"second.yaml": None}, "no second tunnel")
    site.end("gist1/smartxd", signal.SIGKILL)
    site.heal()
    assert not {"vx200", "br200"} & links(site, "gist1").keys()


def test_what_the_kernel_counted_while_capture_was_dead_is_not_lost(site: Site) -> None:
    send_datagrams(site, 7003, 200)
    site.end("gist1/capture", signal.SIGKILL)
    send_datagrams(site, 7003, 300)
    site.heal()
    send_datagrams(site, 7003, 100)
    for interface in ("vx100", "wan0"):
        site.wait(
            f"all datagrams on {interface}",
            lambda interface=interface: (
                packets(flow_rows(site, "gist1", 7003), interface=interface, direction="egress") == 600
            ),
        )


def test_a_centre_that_was_killed_gets_everything_once(site: Site) -> None:
    site.end("center", signal.SIGKILL)
    send_datagrams(site, 7004, 200)

    def waits() -> bool:
        capture = site.report("gist1").capture
        return capture is not None and any(s.pending_rows for s in capture.streams)

    site.wait("a backlog", waits)
    site.heal()
    assert_counts_agree(site)

    def came() -> int:
        rows = center(site, "flows?since=1h&box=gist1&interface=vx100&limit=10000")["flows"]
        return packets([r for r in rows if r["dst_port"] == 7004], direction="egress")

    site.wait("all of them at the centre, once their flow has ended", lambda: came() >= 200)
    assert_counts_agree(site)
    assert came() == 200


def test_a_second_daemon_of_the_same_box_refuses(site: Site) -> None:
    layout = site.lab.layout.box("gist1")
    again = [sys.executable, "-m", "smartxd", "run", "--config", str(layout.config)]
    done = site.run("gist1", *again, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: another smartxd runs")
    assert len(done.stderr.splitlines()) == 2


def test_another_state_folder_in_the_same_namespace_refuses_too(site: Site, tmp_path: Path) -> None:
    layout = site.lab.layout.box("gist1")
    other = tmp_path / "smartxd.toml"
    other.write_text(layout.config.read_text().replace(str(layout.state_dir), str(tmp_path / "state")))
    done = site.run("gist1", sys.executable, "-m", "smartxd", "run", "--config", str(other), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: another smartxd runs in this network namespace")


def test_teardown_removes_what_smartxd_made_and_nothing_else(own_site: Site) -> None:
    site = own_site
    layout = site.lab.layout.box("gist1")
    vtysh = ("vtysh", "-N", layout.namespace)
    site.run("gist1", "ip", "link", "add", "theirs0", "type", "veth", "peer", "name", "theirs1")
    site.run(
        "gist1", "ip", "link", "add", "vx9", "type", "vxlan", "id", "9", "dev", "wan0", "dstport", "4789"
    )
    site.run("gist1", "ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
    site.run("gist1", *vtysh, "-c", "configure terminal", "-c", "ip route 10.98.0.0/16 blackhole")
    site.run("gist1", *vtysh, "-c", "configure terminal", "-c", "ip prefix-list THEIRS seq 5 permit any")
    while_running = site.run(
        "gist1", sys.executable, "-m", "smartxd", "teardown", "--config", str(layout.config), check=False
    )
    assert while_running.returncode == 1
    site.end("gist1/smartxd", signal.SIGTERM)
    done = site.run("gist1", sys.executable, "-m", "smartxd", "teardown", "--config", str(layout.config))
    assert "removed: kernel link vx100 (Tunnel/koren-l2)" in done.stderr
    left = links(site, "gist1").keys()
    assert not {"vx100", "br-koren"} & left
    assert {"lo", "wan0", "mgmt0", "theirs0", "theirs1", "vx9"} <= left
    addresses = {
        a["local"]
        for link in site.json("gist1", "ip", "-j", "addr", "show", "dev", "lo")
        for a in link["addr_info"]
    }
    assert "10.99.0.1" in addresses
    assert "10.255.0.1" not in addresses
    running = site.run("gist1", *vtysh, "-c", "show running-config").stdout
    assert "ip route 10.98.0.0/16 blackhole" in running
    assert "ip prefix-list THEIRS seq 5 permit any" in running
    assert "router bgp" not in running
    assert not layout.bpffs.exists() or not list(layout.bpffs.iterdir())
    again = site.run("gist1", sys.executable, "-m", "smartxd", "teardown", "--config", str(layout.config))
    assert "removed" not in again.stderr


def test_a_lab_that_is_taken_down_leaves_nothing(own_site: Site) -> None:
    lab = own_site.lab
    processes = list(lab.state.processes.values())
    layouts = [lab.layout.box(name) for name in ("gist1", "gist2")]
    programs = []
    ways = ("*/ingress", "*/egress")
    for pin in (pin for layout in layouts for way in ways for pin in layout.bpffs.glob(way)):
        with bpfsys.opened(pin) as fd:
            programs.append(bpfsys.program_id(fd))
    assert len(programs) == 4
    assert lab.down()
    assert not [id for id in programs if bpfsys.is_loaded(id)]
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert lab.layout.name not in names
    assert not [p for p in processes if p.alive]
    for layout in layouts:
        assert not layout.bpffs.exists()
        assert not layout.frr_config.exists()
        assert not layout.frr_run.exists()
    assert not lab.layout.folder.exists()
    assert not list(Path("/sys/fs/bpf").glob(f"{lab.layout.name}*"))
    assert lab.down() is False
