"""What the plane does to the kernel: attach, keep, detach, and leave alone what is not its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trace_frames as f
from trace_box import Box, Collected, load_foreign_program, tracer

from smartxd import bpfsys
from smartxd.errors import PlaneError
from smartxd.objects import ObjectRef
from smartxd.planes.trace import attach, bpffs, pins
from smartxd.planes.trace.attach import Hook
from smartxd.planes.trace.plane import TracePlane
from smartxd.reconcile.plan import Verb

pytestmark = pytest.mark.kernel
FRAME = f.ethernet(0x0800, f.ip4(17, f.udp(1111, 2222)))
BOTH = ("ingress", "egress")


def _packets(box: Box, name: str = "wan") -> int:
    store = Collected()
    box.drain(store, name)
    return sum(row["packets"] for row in store.flows)


def test_this_kernel_has_tcx_and_it_is_preferred(box: Box) -> None:
    box.converge(tracer("wan"))
    assert attach.best_hook(box.policy().pin_dir) is Hook.TCX
    assert any(pin.name.startswith("tcx:") for pin in box.policy().pin_dir.iterdir())


def test_both_hooks_count_both_directions_and_a_second_round_plans_nothing(hooked_box: Box) -> None:
    box = hooked_box
    wanted = tracer("wan", directions=BOTH)
    assert [a.verb for a in box.plan(wanted).actions] == [Verb.CREATE]
    assert not box.converge(wanted)
    assert not box.plan(wanted)
    box.send(FRAME)
    box.send(FRAME, FRAME, out="wan")
    store = Collected()
    box.drain(store)
    assert {r["direction"]: r["packets"] for r in store.flows} == {"ingress": 1, "egress": 2}


def test_two_policies_on_one_interface_both_see_every_packet(hooked_box: Box) -> None:
    hooked_box.converge(tracer("wan"), tracer("wan", name="b"))
    hooked_box.send(*[FRAME] * 5)
    assert (_packets(hooked_box, "wan"), _packets(hooked_box, "b")) == (5, 5)


def test_a_missing_interface_is_waited_for_and_the_others_are_traced(hooked_box: Box) -> None:
    box = hooked_box
    wanted = tracer("later", "wan")
    (problem,) = box.converge(wanted)
    assert (problem.reason, problem.permanent) == ("WaitingForInterface", False)
    assert "later" in problem.message
    assert not box.plan(wanted)
    incarnation = box.policy().incarnation
    box.add_veth("later", "later-peer")
    (action,) = box.plan(wanted).actions
    assert action.verb is Verb.UPDATE
    assert not box.converge(wanted)
    box.send(FRAME, out="later-peer")
    box.send(FRAME)
    assert _packets(box) == 2
    assert box.policy().incarnation == incarnation


def test_an_interface_that_was_deleted_and_made_again_is_attached_again(hooked_box: Box) -> None:
    box = hooked_box
    box.converge(tracer("wan"))
    box.send(FRAME)
    box.run("ip link del wan")
    assert [p.reason for p in box.converge(tracer("wan"))] == ["WaitingForInterface"]
    assert [(i.name, i.attached) for i in box.policy().interfaces] == [("wan", False)]
    box.add_veth("wan", "peer")
    assert not box.converge(tracer("wan"))
    assert not box.plan(tracer("wan"))
    assert [i.attached for i in box.policy().interfaces] == [True, False]
    box.send(FRAME)
    store = Collected()
    box.drain(store)
    assert [r["interface"] for r in store.flows] == ["wan", "wan"]


def test_an_interface_that_is_dropped_from_a_policy_keeps_its_name_for_its_last_flows(
    hooked_box: Box,
) -> None:
    box = hooked_box
    box.converge(tracer("peer", "wan", directions=BOTH))
    incarnation = box.policy().incarnation
    box.send(FRAME)
    box.converge(tracer("peer"))
    box.send(FRAME)
    assert box.policy().incarnation == incarnation
    store = Collected()
    box.drain(store)
    assert sorted((r["interface"], r["direction"], r["packets"]) for r in store.flows) == [
        ("peer", "egress", 1),
        ("wan", "ingress", 1),
    ]


def test_a_link_that_somebody_detached_is_attached_again(box: Box) -> None:
    box.converge(tracer("wan"))
    (link,) = [p for p in box.policy().pin_dir.iterdir() if p.name.startswith("tcx:")]
    with bpfsys.opened(link) as fd:
        bpfsys.detach_link(fd)
    assert [a.verb for a in box.plan(tracer("wan")).actions] == [Verb.UPDATE]
    box.converge(tracer("wan"))
    box.send(FRAME)
    assert _packets(box) == 1


def test_a_pin_that_somebody_removed_makes_the_policy_anew(box: Box) -> None:
    box.converge(tracer("wan"))
    (box.policy().pin_dir / "flows1").unlink()
    assert [a.verb for a in box.plan(tracer("wan")).actions] == [Verb.RECREATE]
    assert not box.converge(tracer("wan"))
    assert not box.plan(tracer("wan"))


def test_another_flows_max_builds_anew_and_retires_the_old_without_counting_twice(hooked_box: Box) -> None:
    box = hooked_box
    box.converge(tracer("wan", flows_max=64), commit="c1")
    old = box.policy()
    box.send(FRAME)
    (action,) = box.plan(tracer("wan", flows_max=128)).actions
    assert action.verb is Verb.RECREATE
    assert [(c.field, c.old, c.new) for c in action.changes] == [("flows_max", 64, 128)]
    box.converge(tracer("wan", flows_max=128), commit="c2")
    box.send(FRAME, FRAME)
    assert _packets(box) == 2
    (retired,) = [p for p in box.manifest.policies if p.retired]
    assert (retired.incarnation, retired.commit_id) == (old.incarnation, "c1")
    assert box.policy().commit_id == "c2"
    assert not box.plan(tracer("wan", flows_max=128))


def test_a_policy_that_is_no_longer_wanted_is_detached_and_left_to_its_last_drain(hooked_box: Box) -> None:
    box = hooked_box
    box.converge(tracer("wan"))
    box.converge()
    assert [p.retired for p in box.manifest.policies] == [True]
    assert "clsact" not in box.run("tc qdisc show dev wan")
    with box.inside():
        assert not box.plane.observe().policies[0].attachments


def test_a_lost_inventory_is_regained_without_touching_what_runs_and_strays_are_retired(box: Box) -> None:
    box.converge(tracer("wan"), tracer("peer", name="stray"))
    box.send(FRAME)
    before = box.policy()
    box.owned.clear()
    assert {(a.verb, a.id) for a in box.plan(tracer("wan")).actions} == {
        (Verb.UPDATE, "policy wan"),
        (Verb.DELETE, "policy stray"),
    }
    assert not box.converge(tracer("wan"))
    assert not box.plan(tracer("wan"))
    assert box.policy() == before
    assert [p.name for p in box.manifest.policies if p.retired] == ["stray"]
    box.send(FRAME)
    assert _packets(box) == 2


def test_a_foreign_tcx_program_survives_and_does_not_hide_packets(box: Box) -> None:
    with box.inside():
        ifindex = socket.if_nametoindex("wan")
        program = load_foreign_program()
        foreign = bpfsys.link_tcx(program, ifindex, "ingress")
    try:
        box.converge(tracer("wan"))
        box.send(FRAME)
        assert _packets(box) == 1
        with box.inside():
            box.plane.remove_all()
        assert bpfsys.tcx_ifindex(foreign) == ifindex
    finally:
        os.close(foreign)
        os.close(program)


def test_a_foreign_clsact_filter_and_its_qdisc_survive(box: Box) -> None:
    box.plane.hook = Hook.CLSACT
    program, pinned = load_foreign_program(), box.bpffs_dir.with_name(f"{box.name}-foreign")
    bpfsys.pin(program, pinned)
    os.close(program)
    try:
        box.run("tc qdisc add dev wan clsact")
        box.run(f"tc filter add dev wan ingress prio 1 handle 7 protocol all bpf da object-pinned {pinned}")
        before = json.loads(box.run("tc -j filter show dev wan ingress"))
        box.converge(tracer("wan", directions=BOTH))
        box.send(FRAME)
        assert _packets(box) == 1
        box.converge()
        assert json.loads(box.run("tc -j filter show dev wan ingress")) == before
        assert "clsact" in box.run("tc qdisc show dev wan")
    finally:
        pinned.unlink()


def test_remove_all_leaves_neither_pin_nor_program_nor_manifest(hooked_box: Box) -> None:
    box = hooked_box
    box.converge(tracer("wan", directions=BOTH), tracer("peer", name="x"))
    box.converge(tracer("peer", name="x"))
    programs = {p.pin_dir for p in box.manifest.policies}
    assert len(programs) == 2
    with box.inside():
        assert box.plane.remove_all() == ("wan", "x")
        assert box.plane.remove_all() == ()
    assert not box.bpffs_dir.exists()
    assert not box.manifest_path.exists()
    assert "clsact" not in box.run("tc qdisc show")


def test_an_empty_clsact_of_others_survives_where_ours_was_removed(box: Box) -> None:
    box.plane.hook = Hook.CLSACT
    box.converge(tracer("wan", directions=BOTH))
    box.run("tc qdisc del dev wan clsact")
    box.run("tc qdisc add dev wan clsact")
    box.converge()
    assert "clsact" in box.run("tc qdisc show dev wan")


def test_the_mark_of_our_clsact_goes_with_it(box: Box) -> None:
    box.plane.hook = Hook.CLSACT
    box.converge(tracer("peer", "wan", directions=BOTH))
    box.converge(tracer("peer", directions=BOTH))
    assert "clsact" not in box.run("tc qdisc show dev wan")
    marks = {p.name for p in box.policy().pin_dir.iterdir() if p.name.startswith("qdisc:")}
    with box.inside():
        assert marks == {f"qdisc:{socket.if_nametoindex('peer')}"}
    box.run("tc qdisc add dev wan clsact")
    box.converge(tracer("peer", "wan", directions=BOTH))
    box.converge()
    assert "clsact" in box.run("tc qdisc show dev wan")


def _remove_all(bpffs_dir: Path, tmp_path: Path) -> str:
    with pytest.raises(PlaneError) as caught:
        TracePlane(bpffs_dir, tmp_path / "trace.json", tmp_path).remove_all()
    return caught.value.reason


def test_an_ordinary_folder_is_never_removed(tmp_path: Path) -> None:
    build = tmp_path / "etc" / f"wan:{'0' * 8}:{'1' * 16}"
    build.mkdir(parents=True)
    (build / "flows0").write_text("precious")
    assert _remove_all(tmp_path / "etc", tmp_path) == "BpffsMissing"
    with pytest.raises(OSError, match="not a bpffs"):
        bpfsys.remove_pins(build)
    assert (build / "flows0").read_text() == "precious"


def test_a_whole_bpffs_is_never_emptied(box: Box, tmp_path: Path) -> None:
    mounted, link = tmp_path / "bpf", tmp_path / "link"
    mounted.mkdir()
    link.symlink_to(mounted)
    subprocess.run(["mount", "-t", "bpf", "bpf", str(mounted)], check=True, timeout=60)
    try:
        others = mounted / f"wan:{'0' * 8}:{'1' * 16}"
        others.mkdir()
        assert [_remove_all(place, tmp_path) for place in (mounted, link)] == ["BpffsShared"] * 2
        assert others.is_dir()
    finally:
        subprocess.run(["umount", str(mounted)], check=True, timeout=60)
    box.plane.bpffs_dir, own = bpffs.MOUNT_POINT, box.plane.bpffs_dir
    try:
        assert [p.reason for p in box.converge(tracer("wan"))] == ["BpffsShared"]
    finally:
        box.plane.bpffs_dir = own


def test_remove_all_leaves_what_others_put_into_the_folder(box: Box) -> None:
    box.converge(tracer("wan"))
    pin_dir, program = box.policy().pin_dir, load_foreign_program()
    theirs = [box.bpffs_dir / "theirs", box.bpffs_dir / "a:b:c", box.bpffs_dir / "new:theirs"]
    deep = pin_dir / "deep" / "theirs"
    try:
        for folder in (*theirs, pin_dir / "deep"):
            folder.mkdir()
        for place in (*(folder / "flows0" for folder in theirs), deep):
            bpfsys.pin(program, place)
        with box.inside():
            assert box.plane.remove_all() == ("wan",)
        assert {p.name for p in box.bpffs_dir.iterdir()} == {pin_dir.name, *(f.name for f in theirs)}
        assert list(pin_dir.rglob("*")) == [deep.parent, deep]
        assert all((folder / "flows0").exists() for folder in theirs)
    finally:
        os.close(program)
        for place in (*(folder / "flows0" for folder in theirs), deep):
            place.unlink(missing_ok=True)
            bpfsys.remove_empty(place.parent)


@pytest.mark.parametrize("root", ["/sys/fs/bpf", "/nonexistent"])
def test_remove_all_where_nothing_was_ever_made_is_no_error(tmp_path: Path, root: str) -> None:
    plane = TracePlane(Path(root, tmp_path.name, "never"), tmp_path / "no" / "trace.json", tmp_path)
    assert plane.remove_all() == ()


def test_names_of_any_kind_survive_the_pin_folder(box: Box) -> None:
    box.converge(tracer("wan", name="a.b-c:d/e %2E"))
    assert [p.name for p in box.manifest.policies] == ["a.b-c:d/e %2E"]


def test_a_lost_manifest_is_written_anew_from_what_is_pinned(box: Box) -> None:
    box.converge(tracer("wan"))
    before = box.manifest
    box.manifest_path.write_text("{not json")
    assert not box.converge(tracer("wan"))
    assert box.manifest == before


def test_an_interface_without_ethernet_is_refused(box: Box) -> None:
    box.run("ip tuntap add mode tun name tun9")
    problems = box.converge(tracer("tun9", "wan"))
    assert [p.reason for p in problems] == ["NotEthernet"]
    box.send(FRAME)
    assert _packets(box) == 1


def test_a_half_made_build_is_not_observed_and_is_cleared_by_the_next(box: Box) -> None:
    box.bpffs_dir.mkdir()
    half = box.bpffs_dir / f"new:wan:00000000:{'0' * 16}"
    half.mkdir()
    assert not box.converge(tracer("wan"))
    assert not half.exists()
    assert len(box.manifest.policies) == 1


def test_a_refused_program_is_a_problem_with_the_last_lines_and_the_others_go_on(box: Box) -> None:
    problems = box.converge(tracer("wan", name="bad", flows_max=0), tracer("wan"))
    assert [(p.owner, p.reason, p.permanent) for p in problems] == [
        (ObjectRef("TracePolicy", "bad"), "ProgramRefused", True)
    ]
    assert "could not open bpf map" in problems[0].message
    assert "Traceback" not in problems[0].message
    box.send(FRAME)
    assert _packets(box) == 1


def test_flows_go_on_while_nobody_runs(box: Box) -> None:
    """The plane that attached is gone with its process; packets are still counted."""
    script = (
        "from pathlib import Path; from smartxd.planes.trace.plane import TracePlane as P;"
        "from smartxd.planes.trace.state import *; from smartxd.objects import ObjectRef;"
        "from smartxd.reconcile.plan import Ownership;"
        f"p = P(*map(Path, ({str(box.bpffs_dir)!r}, {str(box.manifest_path)!r}, '/none')));"
        "o = p.observe(); t = Tracer(ObjectRef('TracePolicy', 'wan'), ('wan',), ('ingress',));"
        "assert [r.problem for r in p.apply(p.plan(TraceState((t,)), o, Ownership()), o)] == [None];"
        "p.publish('c')"
    )
    argv = ["nsenter", f"--net={box.path}", sys.executable, "-c", script]
    subprocess.run(argv, check=True, timeout=60)
    box.send(*[FRAME] * 11)
    assert _packets(box) == 11


def test_retiring_what_is_gone_is_not_an_error(box: Box) -> None:
    box.converge(tracer("wan"))
    pin_dir = box.policy().pin_dir
    with box.inside():
        pins.remove(pin_dir)
        pins.remove(pin_dir)
        pins.retire(pin_dir)
    assert not pin_dir.exists()
