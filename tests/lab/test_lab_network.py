"""A lab on this kernel: what it builds, and that nothing of it stays."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from lab_probe import leftovers, reaches, run_in

from smartxd.ctl import lab as verb
from smartxd.errors import LabError
from smartxd.lab import frr, namespace, process
from smartxd.lab.lab import Lab
from smartxd.lab.network import Node

pytestmark = pytest.mark.kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "koren-two-site"


def _smartxctl(*argv: str) -> int:
    top = argparse.ArgumentParser()
    verb.add_parser(top.add_subparsers(required=True))
    args = top.parse_args(["lab", *argv])
    return int(args.run(args))


def test_boxes_reach_each_other_and_the_centres_address(lab: Lab) -> None:
    for address in ("203.0.113.2", "198.18.0.1", "198.18.0.11"):
        assert reaches(lab, "gist1", address), address


def test_boxes_of_different_subnets_reach_each_other(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab(
        (
            Node("a", "eth1", (IPv4Interface("192.0.2.1/25"),), mtu=9000),
            Node("b", "eth1", (IPv4Interface("192.0.2.200/25"),), mtu=9000),
        )
    )
    lab.up(bare=True)
    assert reaches(lab, "a", "192.0.2.200", "-M", "do", "-s", "8900")


def test_multicast_floods_the_wide_area_network(lab: Lab) -> None:
    group, port = "239.1.1.100", 4789

    def receiver() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", port))
        sock.settimeout(60)
        member = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton("203.0.113.2"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        return sock

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("203.0.113.1"))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
            sock.sendto(b"who is there", (group, port))

    assert reaches(lab, "gist1", "203.0.113.2")  # what comes before a link is up is lost
    with namespace.call_inside(lab.layout.namespace("gist2"), receiver) as listening:
        namespace.call_inside(lab.layout.namespace("gist1"), send)
        said, (sender, _) = listening.recvfrom(64)
    assert (said, sender) == (b"who is there", "203.0.113.1")


def test_frr_of_each_box_answers_in_its_own_pathspace(lab: Lab) -> None:
    for box in ("gist1", "gist2"):
        for daemon in frr.DAEMONS:
            said = run_in(
                lab, box, "vtysh", "-N", lab.layout.namespace(box), "-d", daemon, "-c", "show version"
            )
            assert said.returncode == 0, said.stdout + said.stderr
    said = run_in(lab, "gist1", "vtysh", "-N", lab.layout.namespace("gist1"), "-c", "show interface brief")
    assert "203.0.113.1/24" in said.stdout


def test_up_again_changes_nothing_and_starts_what_was_killed(lab: Lab) -> None:
    before = lab.state
    lab.up(bare=True)
    assert lab.state == before
    victim = before.processes["gist1/bgpd"]
    os.kill(victim.pid, signal.SIGKILL)
    process.wait_for_an_end([victim], 60)
    assert lab.status().boxes[0].processes["bgpd"].alive is False
    lab.up(bare=True)
    after = lab.state
    assert after.processes["gist1/bgpd"].alive
    assert {k for k in before.processes if before.processes[k] != after.processes[k]} == {"gist1/bgpd"}


def test_up_commits_the_folder_when_it_changed_and_leaves_the_repo_alone_else(lab: Lab) -> None:
    mine = lab.commit({"second.txt": "x"}, "by hand")
    lab.up(bare=True)
    assert lab.repo.head() == mine
    (lab.spec_dir / "note.txt").write_text("changed\n")
    lab.up(bare=True)
    assert (lab.repo.path / "note.txt").read_text() == "changed\n"
    assert not (lab.repo.path / "second.txt").exists()


def test_containers_plug_into_a_bridge_and_reach_each_other(lab: Lab) -> None:
    namespace.batch(lab.layout.namespace("gist1"), ["link add br0 mtu 1450 type bridge", "link set br0 up"])
    for name, address in (("c1", "192.0.2.11/24"), ("c2", "192.0.2.12/24")):
        lab.plug("gist1", "br0", name, IPv4Interface(address))
    lab.plug("gist1", "br0", "c1", IPv4Interface("192.0.2.11/24"))
    assert reaches(lab, "c1", "192.0.2.12", "-M", "do", "-s", "1422")
    assert lab.unplug("c2") is True
    assert lab.unplug("c2") is False
    assert not namespace.exists(lab.layout.namespace("c2"))
    assert list(lab.state.containers) == ["c1"]


def test_a_port_that_specs_plug_in_is_left_alone(lab: Lab) -> None:
    box = lab.layout.namespace("gist1")
    namespace.batch(box, ["link add br0 mtu 1450 type bridge", "link set br0 up"])
    for _ in range(2):
        lab.plug("gist1", "br0", "c1", IPv4Interface("192.0.2.11/24"), port="tap1")
    link = namespace.links(box)["tap1"]
    assert ("master" in link, link["mtu"]) == (False, 1450)
    assert "UP" in link["flags"]
    with pytest.raises(LabError, match="gist1 has a link wan0 already"):
        lab.plug("gist1", "br0", "c2", IPv4Interface("192.0.2.12/24"), port="wan0")
    with pytest.raises(LabError, match="cannot name a port"):
        lab.plug("gist1", "br0", "c2", IPv4Interface("192.0.2.12/24"), port="tap1 down")
    assert lab.unplug("c1")
    assert "tap1" not in namespace.links(box)


def test_a_box_routes_nothing_before_its_specs_say_so(lab: Lab) -> None:
    said = run_in(
        lab, "gist1", "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"
    )
    assert said.stdout.split() == ["0", "0"]


def test_a_bridge_that_is_not_there_is_named_and_nothing_is_recorded(lab: Lab) -> None:
    with pytest.raises(LabError, match="gist1 has no bridge br9"):
        lab.plug("gist1", "br9", "c1", IPv4Interface("192.0.2.11/24"))
    assert lab.state.containers == {}


def test_unplugging_what_was_never_there_says_so(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert _smartxctl("unplug", str(lab.spec_dir), "--name", lab.layout.name, "nope") == 0
    assert capsys.readouterr().out == "nope was not plugged in\n"


@pytest.mark.parametrize(
    "act",
    [
        *(("up",), ("down",), ("status",), ("exec", "gist1"), ("unplug", "c1")),
        ("plug", "gist1", "br0", "c1", "192.0.2.1/24"),
    ],
    ids=lambda act: act[0],
)
def test_without_root_nothing_is_touched(lab: Lab, act: tuple[str, ...]) -> None:
    before = lab.status()
    os.seteuid(65534)
    try:
        with pytest.raises(LabError, match="a lab needs root"):
            _smartxctl(act[0], str(lab.spec_dir), *act[1:], "--name", lab.layout.name)
    finally:
        os.seteuid(0)
    assert lab.status() == before


def test_an_interrupted_up_says_how_to_go_on_and_how_to_remove_it(
    lab_name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Lab, name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lab, "_start_frr", interrupt)
    where = f"--name {lab_name} {EXAMPLE}"
    try:
        with pytest.raises(KeyboardInterrupt):
            _smartxctl("up", "--name", lab_name, str(EXAMPLE))
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"lab {lab_name} is half up: `smartxctl lab up {where}` goes on, "
            f"`smartxctl lab down {where}` removes it"
        )
    finally:
        assert _smartxctl("down", "--name", lab_name, str(EXAMPLE)) == 0
    assert leftovers(lab_name) == []


def test_exec_passes_output_and_exit_code_through(lab: Lab) -> None:
    script = textwrap.dedent("""
        import sys
        from test_lab_network import _smartxctl
        _smartxctl(*sys.argv[1:])
    """)
    command = ["exec", str(lab.spec_dir), "--name", lab.layout.name, "gist2", "--"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "sh", "-c", "ip -br addr show wan0; exit 7"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert "203.0.113.2/24" in done.stdout


def test_down_leaves_nothing_not_even_what_others_started_inside(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "REAPING_WAIT_S", 10.0)
    name = lab.layout.name
    stray = subprocess.Popen(lab.command_in("gist1", ["sleep", "300"]))
    (lab.layout.box("gist1").bpffs / "policy").mkdir(parents=True)
    processes = lab.state.processes.values()
    scratch = [f"{key.partition('/')[2]}.{p.launcher}" for key, p in lab.state.processes.items()]
    assert lab.down() is True
    assert stray.wait(60) == -signal.SIGTERM
    assert leftovers(name) == []
    assert not [p for p in processes if Path(f"/proc/{p.pid}").exists()]
    assert not [s for s in scratch if Path("/var/tmp/frr", s).exists()]
    assert lab.down() is False


def test_a_lab_that_was_never_up_goes_down_with_a_line(
    lab_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _smartxctl("down", str(tmp_path), "--name", lab_name) == 0
    assert capsys.readouterr().out == f"lab {lab_name} was not up\n"


CRASHING_UP = """
import os, signal, sys
from pathlib import Path
from lab_probe import NODES
from smartxd.lab.lab import Lab

folder, name, last_line = sys.argv[1:4]

def crash(line):
    if line.startswith(last_line):
        os.kill(os.getpid(), signal.SIGKILL)

bare = "--bare" in sys.argv
Lab(Path(folder), name, crash, **({"nodes": lambda _: NODES} if bare else {})).up(bare=bare)
"""


def _up_until(lab: Lab, last_line: str, *options: str) -> None:
    """``up`` in a process that is killed when it says ``last_line``."""
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHING_UP, str(lab.spec_dir), lab.layout.name, last_line, *options],
        cwd=Path(__file__).parent,
        timeout=60,
        check=False,
    )
    assert crashed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("last_line", ["network:", "repo:", "gist1: staticd", "gist2: zebra"])
def test_after_a_crash_in_the_middle_of_up_down_leaves_nothing(
    new_lab: Callable[..., Lab], last_line: str
) -> None:
    lab = new_lab()
    _up_until(lab, last_line, "--bare")
    assert leftovers(lab.layout.name) != []
    assert lab.down() is True
    assert leftovers(lab.layout.name) == []


def test_down_ends_daemons_and_unpins_programs_that_no_record_names(lab_name: str) -> None:
    lab = Lab(EXAMPLE, lab_name)
    try:
        _up_until(lab, "gist1: capture")
        lab.state.model_copy(update={"processes": {}}).write(lab.layout.state)
        programs = [Path(f"/proc/{p.pid}/cmdline").read_text() for p in process.marked(lab_name)]
        assert sum("smartxd.center.main" in p for p in programs) == 1
        assert lab.layout.box("gist1").bpffs.exists()
    finally:
        lab.down()
    assert leftovers(lab_name) == []


def test_two_labs_of_one_folder_live_side_by_side(new_lab: Callable[..., Lab]) -> None:
    first, second = new_lab(), new_lab()
    for lab in (first, second):
        lab.up(bare=True)
    first.down()
    assert leftovers(first.layout.name) == []
    assert all(p.alive for p in second.state.processes.values())
    assert reaches(second, "gist1", "203.0.113.2")


def test_two_commands_do_not_work_on_one_lab_at_once(lab: Lab) -> None:
    fd = os.open(lab.layout.folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(LabError, match="another command is at work"):
            lab.down()
    finally:
        os.close(fd)


def test_status_says_what_runs_and_fails_when_something_does_not(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (str(lab.spec_dir), "--name", lab.layout.name)
    assert _smartxctl("status", *where) == 0
    assert f"zebra {lab.state.processes['gist1/zebra'].pid}" in capsys.readouterr().out
    os.kill(lab.state.processes["gist1/zebra"].pid, signal.SIGKILL)
    process.wait_for_an_end([lab.state.processes["gist1/zebra"]], 60)
    assert _smartxctl("status", "-o", "json", *where) == 1
    assert '"alive": false' in capsys.readouterr().out
