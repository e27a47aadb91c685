"""Every verb says how it is used, and refuses what it cannot use in a sentence."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from smartxd.ctl.main import main, parser


def verbs(of: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each verb and of each verb of a verb."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield (*path, name)
                yield from verbs(sub, (*path, name))


VERBS = tuple(verbs(parser()))


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_help_ends_with_examples_of_the_verb(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*path, "-h"])
    assert ended.value.code == 0
    text, _, examples = capsys.readouterr().out.partition("\nexamples:\n")
    assert text.startswith(f"usage: smartxctl {' '.join(path)} ")
    assert examples.strip()
    assert all(line.startswith(f"  smartxctl {' '.join(path)}") for line in examples.strip("\n").splitlines())


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_every_argument_has_help(path: tuple[str, ...]) -> None:
    found = parser()
    for name in path:
        found = next(a.choices[name] for a in found._actions if isinstance(a, argparse._SubParsersAction))
    silent = [a.dest for a in found._actions if not a.help and not isinstance(a, argparse._SubParsersAction)]
    assert silent == []


@pytest.mark.parametrize("path", [("validate",), ("plan",), ("status",), ("lab", "status")], ids=" ".join)
def test_help_says_what_the_exit_code_means(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*path, "-h"])
    assert "\nexit code: 0 when " in capsys.readouterr().out


NO_ADDRESS = "ADDRESS: not an address with its prefix length, as 192.0.2.11/24"
PLUG = ("lab", "plug", ".", "gist1", "br-koren", "c1")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((*PLUG, "10.0.0.1"), f"{NO_ADDRESS}: '10.0.0.1'"),
        (
            (*PLUG, "10.0.0/24"),
            f"{NO_ADDRESS}: '10.0.0/24'",
        ),
        ((*PLUG, "10.0.0.1/24", "--gateway", "x"), "--gateway: not an IPv4 address: 'x'"),
        (("lab", "up", ".", "--wait", "soon"), "--wait: not a number of seconds: 'soon'"),
        (("lab", "up", ".", "--wait", "nan"), "--wait: not a number of seconds: 'nan'"),
        (("lab", "up", ".", "--drain", "0"), "--drain: an interval must be above 0 s"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_sentence(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: argument {said}")
