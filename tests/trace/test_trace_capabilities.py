"""Whose programs are where packets pass."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from trace_box import Box, load_foreign_program, tracer

from smartxd import bpfsys
from smartxd.planes.trace.capabilities import Stranger, strangers

pytestmark = pytest.mark.kernel


def found(box: Box, bpffs_dir: Path) -> list[Stranger]:
    with box.inside():
        return list(strangers({"wan": socket.if_nametoindex("wan")}, bpffs_dir))


def test_our_own_programs_are_no_strangers_and_those_of_others_are(hooked_box: Box) -> None:
    box = hooked_box
    assert found(box, box.bpffs_dir) == []
    box.converge(tracer("wan"))
    assert found(box, box.bpffs_dir) == []
    (stranger,) = found(box, Path("/sys/fs/bpf/another-box"))
    assert (stranger.interface, stranger.direction) == ("wan", "ingress")
    assert stranger.name.startswith("ingress")


def test_programs_of_others_by_tcx_and_by_tc_are_named(box: Box) -> None:
    program = load_foreign_program()
    pin = box.bpffs_dir.with_name(f"{box.name}-foreign")
    try:
        with box.inside():
            link = bpfsys.link_tcx(program, socket.if_nametoindex("wan"), "ingress")
        bpfsys.pin(program, pin)
        box.run("tc qdisc add dev wan clsact")
        box.run(f"tc filter add dev wan egress bpf da object-pinned {pin}")
        box.run(f"tc filter add dev wan egress prio 9 bpf da object-pinned {pin}")
        said = {(s.direction, s.how) for s in found(box, box.bpffs_dir)}
        assert said == {("ingress", "tcx"), ("egress", "tc")}
        assert len(found(box, box.bpffs_dir)) == 3
        os.close(link)
    finally:
        os.close(program)
        pin.unlink(missing_ok=True)


def test_an_interface_that_is_gone_has_no_programs(box: Box) -> None:
    with box.inside():
        assert list(strangers({"none": 4242}, box.bpffs_dir)) == []
