"""Keys tell flows apart as long as their rows may be one, and say nothing of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartxd.capture.conceal import concealer
from smartxd.capture.decode import Origin, Records
from smartxd.capture.flowkeys import FlowKeys
from smartxd.capture.layout import FLOW_KEY
from smartxd.terms import Privacy

ORIGIN = Origin("wan", "c0ffee", {}, unix_offset_ns=10**18)


def flows(*ifindexes: int) -> Records:
    keys = np.zeros(len(ifindexes), FLOW_KEY)
    keys["ifindex"] = ifindexes
    return keys


def test_a_flow_has_its_key_in_each_drain_and_no_other_has_it() -> None:
    keys = FlowKeys()
    first = keys.of(flows(1, 2, 3), ORIGIN).to_pylist()
    assert keys.of(flows(3, 4, 1), replace(ORIGIN, unix_offset_ns=10**18 + 10**8)).to_pylist()[::2] == [
        first[2],
        first[0],
    ]
    assert len(set(first)) == 3
    assert {len(key) for key in first} == {16}
    assert keys.of(flows(), ORIGIN).to_pylist() == []


@pytest.mark.parametrize(
    "other",
    [
        replace(ORIGIN, commit_id="decaf"),
        replace(ORIGIN, sampled_one_in=2),
        replace(ORIGIN, unix_offset_ns=ORIGIN.unix_offset_ns - 2 * 10**9),
        replace(ORIGIN, conceal=concealer(Privacy("truncate"), "")),
        replace(ORIGIN, conceal=concealer(Privacy("pseudonym", key="k"), "a secret")),
    ],
)
def test_what_no_row_may_mix_has_other_keys(other: Origin) -> None:
    keys = FlowKeys()
    assert keys.of(flows(1), ORIGIN) != keys.of(flows(1), other)


def test_every_way_to_conceal_has_its_own_keys() -> None:
    keys, found = FlowKeys(), []
    for privacy, secret in (
        (Privacy("truncate", 24, 48), ""),
        (Privacy("truncate", 16, 48), ""),
        (Privacy("truncate", 24, 64), ""),
        (Privacy("pseudonym", key="k"), "one"),
        (Privacy("pseudonym", key="k"), "two"),
    ):
        found += keys.of(flows(1), replace(ORIGIN, conceal=concealer(privacy, secret))).to_pylist()
    assert len(set(found)) == 5


def test_a_process_cannot_know_the_keys_of_another() -> None:
    assert FlowKeys().of(flows(1), ORIGIN) != FlowKeys().of(flows(1), ORIGIN)
