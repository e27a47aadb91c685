"""A TracePolicy, from the specs to the tracers of one box."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartxd.desired import desire
from smartxd.planes.trace.state import Sampling, Tracer
from smartxd.source import folder
from smartxd.spec.load import load
from smartxd.terms import Budget, Privacy, Retention

EXAMPLE = Path(__file__).parents[2] / "examples" / "koren-two-site"
OTHERS = {name: text for name, text in folder.read(EXAMPLE).items() if "trace" not in Path(name).name}
POLICY = """
apiVersion: smartx.io/v1alpha1
kind: TracePolicy
metadata: {{name: koren}}
spec:
  boxes: {{names: [gist1]}}
  interfaces: [{points}]
  {more}
"""


def tracer(points: str, more: str = "") -> Tracer:
    """The tracer of gist1 when a policy says this."""
    policy = {"trace.yaml": POLICY.format(points=points, more=more).encode()}
    (found,) = desire(load({**OTHERS, **policy}), "gist1").trace.tracers
    return found


def test_patterns_are_kept_for_what_comes_and_names_are_interfaces() -> None:
    found = tracer("{pattern: 'veth*'}, {name: lan0}, {pattern: 'tap?'}, {pattern: 'veth*'}")
    assert found.interfaces == ("lan0",)
    assert found.patterns == ("tap?", "veth*")


def test_a_session_from_an_address_of_a_link_is_traced_there() -> None:
    assert tracer("{peer: koren-wan}").interfaces == ("wan0",)


def test_an_interface_that_is_named_twice_is_traced_once() -> None:
    assert tracer("{peer: koren-wan}, {tunnel: koren-l2}, {name: wan0}").interfaces == ("vx100", "wan0")


def test_filters_of_both_packets_are_compiled_and_keep_their_text() -> None:
    found = tracer("{name: lan0}", "filter: udp\n  innerFilter: tcp port 443")
    assert found.filter is not None
    assert found.inner_filter is not None
    assert (found.filter.text, found.inner_filter.text) == ("udp", "tcp port 443")
    for each in (found.filter, found.inner_filter):
        assert each.program
        assert not each.refused
    assert tracer("{name: lan0}").filter is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("mode: none", None),
        ("mode: count, oneIn: 10", Sampling("count", 10)),
        ("mode: random, oneIn: 64", Sampling("random", 64)),
        ("mode: hash, oneIn: 64", Sampling("hash", 64)),
        ("mode: hash, oneIn: 64, seed: 7", Sampling("hash", 64, 7)),
    ],
)
def test_sampling_is_what_the_policy_says(said: str, meant: Sampling) -> None:
    assert tracer("{name: lan0}", f"sampling: {{{said}}}").sampling == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("{cpuPercent: 2.5}", Budget(cpu_percent=2.5)),
        ("{recordsPerSecond: 100, cpuPercent: 1}", Budget(1, 100)),
        ("{}", None),
    ],
)
def test_a_budget_is_what_the_policy_says(said: str, meant: Budget | None) -> None:
    assert tracer("{name: lan0}", f"budget: {said}").budget == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("{addresses: keep}", None),
        ("{addresses: truncate, ipv4Prefix: 16}", Privacy("truncate", 16, 48)),
        ("{addresses: pseudonym, keyRef: people}", Privacy("pseudonym", key="people")),
    ],
)
def test_privacy_is_what_the_policy_says(said: str, meant: Privacy | None) -> None:
    assert tracer("{name: lan0}", f"privacy: {said}").privacy == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("{hours: 24}", Retention(24)),
        ("{hours: 1, megabytes: 500}", Retention(1, 500)),
        ("{}", None),
    ],
)
def test_retention_is_what_the_policy_says(said: str, meant: Retention | None) -> None:
    assert tracer("{name: lan0}", f"retention: {said}").terms.retention == meant


def test_without_sampling_every_packet_is_recorded() -> None:
    assert tracer("{name: lan0}").sampling is None


def test_modes_say_what_is_recorded_and_the_snap_length_how_much() -> None:
    both = tracer("{name: lan0}", "modes: [flows, packets]\n  snapLength: 128")
    assert (both.flows_max, both.snap_length) == (65536, 128)
    packets = tracer("{name: lan0}", "modes: [packets]")
    assert (packets.flows_max, packets.snap_length) == (None, "headers")
    assert tracer("{name: lan0}").snap_length is None
    drops = tracer("{name: lan0}", "modes: [drops]\n  flowsMax: 512")
    assert (drops.flows_max, drops.snap_length, drops.drops_max) == (None, None, 512)
    assert (drops.points, tracer("{name: lan0}").drops_max) == (("dropped",), None)
    told = tracer("{name: lan0}", "modes: [drops, tcp]\n  flowsMax: 512")
    assert (told.points, told.probes) == (("dropped", "tcp"), {"drops": 512, "tcp": 512})
