"""Addresses that a policy hides are hidden before anything is stored."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pyarrow as pa
import pytest
import trace_frames as f
from capture_process import Capture
from trace_box import Box, Collected, stored_flows, tracer

from smartxd.capture.tracing import Tracing
from smartxd.manifest import Manifest
from smartxd.reconcile.plan import Verb
from smartxd.store import packets
from smartxd.store.flowfilter import FlowFilter
from smartxd.terms import Privacy

pytestmark = pytest.mark.kernel
CLEAR = ("10.1.2.3", "10.1.2.4", "192.0.2.1", "192.0.2.2")
INSIDE = f.ethernet(0x0800, f.ip4(17, f.udp(7, 9), src=CLEAR[0], dst=CLEAR[1]))
VXLAN = f.ethernet(0x0800, f.ip4(17, f.udp(5555, 4789, f.vxlan(5, INSIDE)), src=CLEAR[2], dst=CLEAR[3]))
COLUMNS = ("inner_src_ip", "inner_dst_ip", "src_ip", "dst_ip")


def write_key(box: Box, text: str) -> Path:
    box.secrets_dir.mkdir(exist_ok=True)
    path = box.secrets_dir / "people"
    path.touch(0o600)
    path.write_text(text)
    return path


def shows_addresses(data: bytes) -> bool:
    return any(ipaddress.ip_address(address).packed in data for address in CLEAR)


def test_addresses_inside_and_outside_are_cut_or_replaced_from_the_next_drain_on(box: Box) -> None:
    store, said = Collected(), list[str]()
    tracing = Tracing(store, said.append, box.secrets_dir)
    stored = []
    hidden = (None, Privacy("truncate", 16), Privacy("pseudonym", key="people"))
    write_key(box, "k" * 64)
    pinned = None
    for privacy in hidden:
        both = tracer("wan", drops_max=64, privacy=privacy)
        assert box.converge(both) == []
        pinned = pinned or box.policy().pin_dir
        assert box.policy().pin_dir == pinned  # without a new build
        assert box.plan(both).actions == ()
        box.send(VXLAN)
        with box.inside():
            tracing.drain(Manifest.read(box.manifest_path))
        stored.append(tuple(store.flows[-1][name] for name in COLUMNS))
        assert tuple(store.drops[-1][name] for name in COLUMNS) == stored[-1]
    tracing.close()
    assert (len(store.flows), said) == (3, [])
    assert stored[0] == CLEAR
    assert stored[1] == ("10.1.0.0", "10.1.0.0", "192.0.0.0", "192.0.0.0")
    assert len({*stored[2], *CLEAR}) == 8
    assert all(ipaddress.IPv4Address(pseudonym) for pseudonym in stored[2])


def test_without_its_key_nothing_is_stored_and_with_it_everything(capture: Capture) -> None:
    box, privacy = capture.box, Privacy("pseudonym", key="people")
    both = tracer("wan", snap_length="headers", privacy=privacy)
    (problem,) = box.converge(both)
    assert problem.reason == "SecretMissing"
    box.send(VXLAN)
    process = capture.start()
    assert "policy wan: not drained" in process.stderr.readline()
    report = capture.wait_for(lambda r: r.undrained)
    assert [(u.policy, "people" in u.message) for u in report.undrained] == [("wan", True)]
    path = write_key(box, "k" * 64)
    assert not capture.wait_for_packets(1).undrained
    path.unlink()
    assert "policy wan: not drained" in process.stderr.readline()
    box.send(VXLAN)
    path = write_key(box, "another")
    capture.wait_for_packets(2)
    capture.stop()
    assert box.converge(both) == []
    rows = stored_flows(capture.captures, "select inner_src_ip, src_ip from flows")
    assert len({address for row in rows for address in row}) == 4
    recorded = pa.concat_tables(packets.scan(capture.captures, FlowFilter(), pytest.fail)).to_pylist()
    assert [(row["inner_src_ip"], row["src_ip"]) for row in recorded] == rows
    assert not any(shows_addresses(row["data"]) for row in recorded)
    for file in capture.captures.iterdir():
        for address in CLEAR:
            assert address.encode() not in file.read_bytes()


def test_what_is_hidden_is_in_the_plan(box: Box) -> None:
    cut = tracer("wan", privacy=Privacy("truncate", 16))
    assert box.converge(cut) == []
    (action,) = box.plan(tracer("wan")).actions
    assert action.verb is Verb.UPDATE
    assert [(c.field, str(c.old), c.new) for c in action.changes] == [
        ("privacy", "addresses cut to /16 and /48", None)
    ]


def test_an_old_build_is_drained_as_its_policy_says_now_and_without_a_key_by_nobodys(box: Box) -> None:
    store, said = Collected(), list[str]()
    tracing = Tracing(store, said.append, box.secrets_dir)

    def drain() -> tuple[str, ...]:
        with box.inside():
            tracing.drain(Manifest.read(box.manifest_path))
        return tuple(store.flows[-1][name] for name in COLUMNS)

    assert box.converge(tracer("wan", snap_length=256)) == []
    box.send(VXLAN)
    # One commit builds the policy anew, and hides.
    key = write_key(box, "k" * 64)
    assert box.converge(tracer("wan", flows_max=32, privacy=Privacy("pseudonym", key="people"))) == []
    hidden = drain()
    assert len({*hidden, *CLEAR}) == 8
    (packet,) = store.packets
    assert tuple(packet[name] for name in COLUMNS) == hidden
    assert len(packet["data"]) == len(VXLAN)
    assert not shows_addresses(packet["data"])
    box.send(VXLAN)
    assert drain() == hidden
    # The policy goes, and its key with it.
    box.send(VXLAN)
    assert box.converge() == []
    key.unlink()
    assert len({*drain(), *hidden, *CLEAR}) == 12
    tracing.close()
    assert (sum(row["packets"] for row in store.flows), said) == (3, [])
    assert [folder for folder in box.bpffs_dir.iterdir() if ":" in folder.name] == []
