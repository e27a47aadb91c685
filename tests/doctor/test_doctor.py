"""Doctor says what is there, what is not, and fails only for what the box needs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartxd.config import Config, SourceConfig
from smartxd.ctl.main import main
from smartxd.doctor.examine import examine
from smartxd.doctor.finding import Finding, Verdict
from smartxd.doctor.kernel import KernelLooks
from smartxd.doctor.machine import MachineLooks, clock_error_us, lock_holder
from smartxd.doctor.needs import Needs, needs
from smartxd.doctor.others import OtherLooks
from smartxd.doctor.routing import RoutingLooks
from smartxd.planes.kernel.capabilities import link_kinds
from smartxd.planes.trace import capabilities
from smartxd.source.repo import Repo

EXAMPLES = Path(__file__).parents[2] / "examples"

BRIDGE = """
apiVersion: smartx.io/v1alpha1
kind: Bridge
metadata: {name: br-tenants}
spec:
  boxes: {names: [gist1]}
  interface: br-tenants
  vlanAware: true
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        box="gist1",
        state_dir=tmp_path / "state",
        run_dir=tmp_path / "run",
        secrets_dir=tmp_path / "secrets",
        source=SourceConfig(url="/nowhere"),
    )


def write(config: Config, folder: Path) -> Path:
    file = folder / "smartxd.toml"
    file.write_text(
        f'box = "{config.box}"\nstate_dir = "{config.state_dir}"\nrun_dir = "{config.run_dir}"\n'
        f'secrets_dir = "{config.secrets_dir}"\n[source]\nurl = "/nowhere"\n'
    )
    return file


@pytest.fixture
def given_specs(config: Config, tmp_path: Path) -> Path:
    """A configuration whose box has fetched the example with a VLAN-aware Bridge more, and found it good."""
    origin = tmp_path / "origin"
    shutil.copytree(EXAMPLES / "koren-two-site", origin)
    (origin / "bridge.yaml").write_text(BRIDGE)
    for command in (
        "init -q -b main",
        "add -A",
        "-c user.name=op -c user.email=op@example.net commit -q -m specs",
    ):
        subprocess.run(["git", "-C", str(origin), *command.split()], check=True, timeout=60)
    repo = Repo(config.state_dir / "source.git", str(origin), "main", 30)
    repo.pin(repo.fetch())
    repo.close()
    return write(config, tmp_path)


def one(found: Iterator[Finding], check: str) -> Finding:
    (finding,) = [f for f in found if f.check == check]
    return finding


@pytest.mark.kernel
def test_the_kinds_of_links_of_this_kernel_are_those_that_it_makes() -> None:
    before = {name for _, name in socket.if_nameindex()}, threading.active_count()
    refused = link_kinds()
    assert refused["bridge"] == refused["vxlan"] == ""
    for kind, how in {
        "vlan filtering": "type bridge vlan_filtering 1",
        "802.1q": "link there name here type vlan id 2",
        "vrf": "type vrf table 100",
    }.items():
        assert bool(refused[kind]) != _iproute_makes(how), kind
    assert ({name for _, name in socket.if_nameindex()}, threading.active_count()) == before


def _iproute_makes(how: str) -> bool:
    name = "" if "name" in how else "here"
    script = f"ip link add there type veth peer name peer && ip link add {name} {how}"
    argv = ["unshare", "--net", "sh", "-c", script]
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.kernel
def test_what_bpf_can_do_here_is_found_by_trying() -> None:
    assert set(capabilities.probe().values()) == {None}, "FACTS of the machine that tests run on"
    assert capabilities.bcc_version()[0].isdigit()
    capabilities.check_headers()


def test_without_specs_nothing_that_is_missing_is_a_failure(config: Config) -> None:
    found = list(RoutingLooks(config, Needs()).frr())
    assert {f.verdict for f in found} <= {Verdict.OK, Verdict.WARNING}


@pytest.mark.kernel
def test_what_the_specs_need_and_the_machine_lacks_is_a_failure(
    given_specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(given_specs), "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert all(list(f) == ["check", "verdict", "found", "needed_for", "advice"] for f in found)
    verdicts = {f["check"]: f["verdict"] for f in found}
    assert verdicts["specs"] == "ok"
    assert verdicts["vlan filtering"] == ("fail" if link_kinds()["vlan filtering"] else "ok")
    assert verdicts["vrf"] in {"ok", "warning"}, "no spec needs it"
    assert verdicts["smartxd"] == verdicts["smartxd capture"] == "fail", "neither runs"
    assert all(f["advice"] for f in found if f["verdict"] != "ok")
    assert all("\n" not in text for f in found for text in f.values())


def test_looking_leaves_the_mirror_as_it_is(given_specs: Path, config: Config) -> None:
    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in config.state_dir.rglob("*")}

    before = files()
    assert one(examine(given_specs), "specs").verdict is Verdict.OK
    assert files() == before


@pytest.mark.kernel
def test_a_machine_without_configuration_is_judged_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(tmp_path / "none.toml")]) == 0
    out = capsys.readouterr().out
    assert "none.toml: No such file or directory" in out
    assert "\x1b" not in out
    (tmp_path / "wrong.toml").write_text("box = 3\n")
    assert main(["doctor", "--config", str(tmp_path / "wrong.toml"), "--wrong", "-o", "yaml"]) == 1
    out = capsys.readouterr().out
    assert "check: configuration\n  verdict: fail\n" in out
    assert "verdict: ok" not in out


def test_who_is_not_root_is_told_to_be(config: Config) -> None:
    os.seteuid(65534)
    try:
        found = [*KernelLooks(config, Needs()).links(), *KernelLooks(config, Needs()).bpf()]
    finally:
        os.seteuid(0)
    assert (
        one(iter(found), "links").advice == one(iter(found), "tcx").advice == "run smartxctl doctor as root"
    )


def fake(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


NETWORKD = {"proc/77/comm": "systemd-network\n"}
ALL_OFF = (
    "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\nManageForeignNextHops=false\n"
)


@pytest.mark.parametrize(
    ("files", "verdict", "advice"),
    [
        ({}, "ok", ""),
        (NETWORKD, "warning", "[Network] ManageForeignRoutes=no ManageForeignRoutingPolicyRules=no "),
        (NETWORKD | {"etc/systemd/networkd.conf": ALL_OFF}, "ok", ""),
        (NETWORKD | {"etc/systemd/networkd.conf.d/x.conf": ALL_OFF}, "ok", ""),
        (
            NETWORKD
            | {"usr/lib/systemd/networkd.conf.d/x.conf": ALL_OFF}
            | {"etc/systemd/networkd.conf.d/y.conf": "[Network]\nManageForeignRoutes=yes\n"},
            "warning",
            "[Network] ManageForeignRoutes=no in ",
        ),
        (
            NETWORKD
            | {"usr/lib/systemd/networkd.conf.d/x.conf": ALL_OFF}
            | {"etc/systemd/networkd.conf.d/x.conf": "# masked\n"},
            "warning",
            "[Network] ManageForeignRoutes=no",
        ),
    ],
)
def test_networkd_that_removes_foreign_routes_is_told(
    config: Config, tmp_path: Path, files: dict[str, str], verdict: str, advice: str
) -> None:
    (found,) = OtherLooks(config, Needs(), fake(tmp_path / "root", files)).networkd()
    assert found.verdict == verdict
    assert found.advice.startswith(advice)
    assert bool(found.advice) == bool(advice)


def test_network_manager_and_ifstate_are_told_where_they_have_our_links(
    config: Config, tmp_path: Path
) -> None:
    files = {
        "proc/7/comm": "NetworkManager\n",
        "run/NetworkManager/devices/1": "[device]\nmanaged=true\n",
        "etc/ifstate/config.yml": "interfaces: []\n",
    }
    root = fake(tmp_path / "root", files)
    looks = OtherLooks(config, Needs(interfaces=frozenset({"lo", "vx100"})), root)
    (manager,) = looks.network_manager()
    assert (manager.verdict, manager.found) == (Verdict.WARNING, "manages lo")
    assert "interface-name:lo" in manager.advice
    (ifstate,) = looks.ifstate()
    assert ifstate.verdict is Verdict.WARNING
    (manager,) = OtherLooks(config, Needs(), root).network_manager()
    assert manager.verdict is Verdict.OK, "it manages none of ours"


@pytest.mark.parametrize(
    ("files", "wanted", "check", "verdict"),
    [
        ({"proc/sys/net/ipv4/igmp_max_memberships": "20\n"}, Needs(groups=20), "igmp_max_memberships", "ok"),
        (
            {"proc/sys/net/ipv4/igmp_max_memberships": "20\n"},
            Needs(groups=21),
            "igmp_max_memberships",
            "fail",
        ),
        ({"proc/sys/net/ipv6/conf/all/forwarding": "0\n"}, Needs(forwards6=True), "force_forwarding", "fail"),
        ({"proc/sys/net/ipv6/conf/all/forwarding": "0\n"}, Needs(), "force_forwarding", "warning"),
        ({"proc/sys/net/ipv6/conf/all/forwarding": "1\n"}, Needs(forwards6=True), "force_forwarding", "ok"),
        (
            {"proc/sys/net/ipv6/conf/all/force_forwarding": "0\n"},
            Needs(forwards6=True),
            "force_forwarding",
            "ok",
        ),
        ({}, Needs(), "btf", "warning"),
        ({"sys/kernel/btf/vmlinux": ""}, Needs(), "btf", "ok"),
    ],
)
def test_settings_are_judged_by_what_the_specs_need(
    config: Config, tmp_path: Path, files: dict[str, str], wanted: Needs, check: str, verdict: str
) -> None:
    looks = KernelLooks(config, wanted, fake(tmp_path / "root", files))
    found = [*looks.files(), *looks.forwarding(), *looks.memberships()]
    assert one(iter(found), check).verdict == verdict


def test_memory_is_what_flow_maps_take(config: Config, tmp_path: Path) -> None:
    root = fake(tmp_path / "root", {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  409600 kB\n"})
    traced = frozenset({"eth1"})
    for wanted, verdict in ((100 << 20, "ok"), (300 << 20, "fail")):
        looks = MachineLooks(config, Needs(traced=traced, memory_bytes=wanted), root)
        assert one(looks.memory(), "memory").verdict == verdict


def test_a_disk_with_less_room_than_captures_may_take_is_told(config: Config) -> None:
    free = shutil.disk_usage("/").total
    for most, verdict in ((64 << 20, Verdict.OK), (free * 2, Verdict.WARNING)):
        capture = config.capture.model_copy(update={"disk_max_bytes": most})
        (found,) = MachineLooks(config.model_copy(update={"capture": capture}), Needs()).disk()
        assert found.verdict is verdict


def test_secrets_are_judged_by_name_and_mode(config: Config) -> None:
    folder = config.secrets_dir
    folder.mkdir(mode=0o755)
    for name, mode in (("good", 0o600), ("open", 0o644), ("stray", 0o644)):
        (folder / name).write_text("x\n")
        (folder / name).chmod(mode)
    found = list(RoutingLooks(config, Needs(secrets=("absent", "good", "open"))).secrets())
    said = {
        (f.verdict, word) for f in found for word in ("absent", "good", "open", "stray") if word in f.found
    }
    assert (Verdict.FAIL, "absent") in said
    assert (Verdict.FAIL, "open") in said
    assert (Verdict.WARNING, "stray") in said
    assert "good" not in {word for _, word in said}
    assert any(f.advice == f"chmod 700 {folder}" for f in found)


def test_the_clock_is_judged_as_the_kernel_judges_it() -> None:
    error = clock_error_us()
    assert error is None or error >= 0


def test_the_holder_of_a_lock_is_found_without_taking_it(tmp_path: Path) -> None:
    lock = tmp_path / "capture.lock"
    assert lock_holder(Path("/proc/locks"), lock) is None
    with lock.open("w") as file:
        assert lock_holder(Path("/proc/locks"), lock) is None
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_holder(Path("/proc/locks"), lock) == os.getpid()


def test_what_a_box_needs_is_read_from_its_part_of_the_specs() -> None:
    from smartxd.desired import desire
    from smartxd.source import folder
    from smartxd.spec.load import load

    wanted = needs(desire(load(folder.read(EXAMPLES / "koren-two-site")), "gist1"))
    assert wanted.links == {"bridge", "vxlan"}
    assert wanted.groups == 1
    assert wanted.traced
    assert {"zebra", "bgpd"} <= set(wanted.daemons)
    assert wanted.memory_bytes > 0
