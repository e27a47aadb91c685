"""What all verbs of ``smartxctl`` have in common."""

from __future__ import annotations

import argparse
from typing import Any


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
