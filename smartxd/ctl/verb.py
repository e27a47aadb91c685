"""What all verbs of ``smartxctl`` have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from smartxd import config


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


def add_output(parser: argparse.ArgumentParser) -> None:
    """The option that asks for JSON."""
    text = "for a person, or for a program (%(default)s)"
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help=text)
