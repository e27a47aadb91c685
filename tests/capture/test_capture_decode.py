"""Records to rows: pure."""

from __future__ import annotations

import socket

import numpy as np

from smartxd.capture import layout
from smartxd.capture.decode import Origin, decode_flows, decode_losses
from smartxd.records import FLOW, LOSS

ORIGIN = Origin("wan", "abc", {2: "eth0"}, 1_000)


def _records(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(count, layout.FLOW_KEY), np.zeros(count, layout.FLOW_VALUE)


def test_no_records_are_an_empty_table_of_the_right_schema() -> None:
    assert decode_flows(*_records(0), ORIGIN).schema.equals(FLOW)
    ledger = np.zeros(0, layout.LEDGER_KEY), np.zeros(0, layout.LEDGER_VALUE)
    assert decode_losses(*ledger, ORIGIN, 5).schema.equals(LOSS)


def test_a_field_that_is_not_there_is_null_and_a_zero_that_is_there_is_zero() -> None:
    keys, values = _records(2)
    keys["ifindex"] = 2
    keys["has"][1] = layout.HAS_VLAN | layout.HAS_VNI
    keys["outer"]["has"][1] = layout.HAS_IP4 | layout.HAS_PORTS
    keys["inner"]["has"][1] = layout.HAS_IP6
    absent, zero = decode_flows(keys, values, ORIGIN).to_pylist()
    names = ("vlan", "vni", "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "inner_src_ip")
    assert {absent[n] for n in names} == {None}
    assert [zero[n] for n in names] == [0, 0, "0.0.0.0", "0.0.0.0", 0, 0, 0, "::"]
    assert (zero["inner_protocol"], zero["inner_src_port"]) == (0, None)


def test_addresses_that_end_in_zeros_stay_apart_and_both_families_mix() -> None:
    words = ["10.0.0.0", "10.0.0.1", "10.0.0.0", "2001:db8::", "2001:db8::1", "::", "0.0.0.0", "a00::"]
    keys, values = _records(len(words))
    for row, word in enumerate(words):
        family, has = (socket.AF_INET6, layout.HAS_IP6) if ":" in word else (socket.AF_INET, layout.HAS_IP4)
        raw = socket.inet_pton(family, word)
        keys["outer"]["src_ip"][row, : len(raw)] = np.frombuffer(raw, "u1")
        keys["outer"]["has"][row] = has
    assert decode_flows(keys, values, ORIGIN)["src_ip"].to_pylist() == words


def test_interfaces_have_their_names_and_an_unknown_one_its_number() -> None:
    keys, values = _records(3)
    keys["ifindex"] = (2, 7, 2)
    keys["direction"] = (0, 1, 1)
    table = decode_flows(keys, values, ORIGIN)
    assert table["interface"].to_pylist() == ["eth0", "if7", "eth0"]
    assert table["direction"].to_pylist() == ["ingress", "egress", "egress"]


def test_times_become_unix_times_and_counts_keep_all_their_bits() -> None:
    keys, values = _records(1)
    values["first_ns"], values["last_ns"], values["bytes"] = 5, 6, 2**63 + 1
    (row,) = decode_flows(keys, values, ORIGIN).to_pylist()
    assert (row["first_ns"], row["last_ns"], row["bytes"]) == (1005, 1006, 2**63 + 1)


def test_only_what_was_lost_is_a_loss() -> None:
    keys, values = np.zeros(2, layout.LEDGER_KEY), np.zeros(2, layout.LEDGER_VALUE)
    keys["ifindex"], keys["direction"] = 2, (0, 1)
    values["seen_packets"] = 9
    values["overflow_packets"], values["overflow_skbs"] = (0, 4), (0, 2)
    (row,) = decode_losses(keys, values, ORIGIN, 77).to_pylist()
    assert row == {
        **{"policy": "wan", "commit_id": "abc", "interface": "eth0", "direction": "egress"},
        **{"cause": "overflow", "packets": 4, "skbs": 2, "bytes": 0, "at_ns": 77},
    }


def test_a_full_map_is_decoded_address_by_address() -> None:
    keys, values = _records(65536)
    keys["ifindex"] = 2
    keys["outer"]["has"] = layout.HAS_IP4 | layout.HAS_PORTS
    keys["outer"]["src_ip"][:, :4] = np.arange(65536, dtype=">u4").view("u1").reshape(-1, 4)
    assert decode_flows(keys, values, ORIGIN)["src_ip"][65535].as_py() == "0.0.255.255"
