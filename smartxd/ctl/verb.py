"""What all verbs of ``smartxctl`` have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

from smartxd import config
from smartxd.spec.finding import printable

PATIENCE_S = 2.0
"""After so long who waits at a terminal is told that nothing hangs."""


def add_verb(verbs: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    """A parser for the verb, whose ``-h`` ends with the examples."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[:1].upper()}{text[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """The option that names a box's configuration."""
    text = "the box's configuration (%(default)s)"
    parser.add_argument("--config", type=Path, default=config.DEFAULT_PATH, metavar="FILE", help=text)


def add_output(parser: argparse.ArgumentParser, *more: str) -> None:
    """The option that asks for JSON or YAML, or what else the verb knows."""
    text = "for a person, or for a program (%(default)s)"
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "yaml", *more), default="table", help=text
    )


def say(text: str) -> None:
    """Tell the operator something beside the results."""
    print(printable(f"note: {text}"), file=sys.stderr)


@contextmanager
def said_to_go_on() -> Iterator[None]:
    """Tells who waits at a terminal that judging takes a while, once it does."""
    timer = Timer(PATIENCE_S, say, ["judging goes on; large repos take a while"])
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
