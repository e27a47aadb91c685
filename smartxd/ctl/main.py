"""``smartxctl``: what an operator types on a box and in CI. Each verb is a file beside this one."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from smartxd import __version__
from smartxd.errors import SmartxError, SpecError

VERBS = (
    *("status", "history", "validate", "plan", "schema"),
    *("flows", "packets", "drops", "export", "observe", "doctor", "lab"),
)
"""Modules beside this one with ``add_parser(verbs)``, which sets ``run``: arguments in, exit code out."""


def parser(wanted: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """The command line of these verbs; what a verb needs takes long to import."""
    top = argparse.ArgumentParser(
        prog="smartxctl", description="Look at a box, and judge specs before it sees them."
    )
    top.add_argument("--version", action="version", version=f"smartxctl {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in wanted:
        importlib.import_module(f"smartxd.ctl.{verb}").add_parser(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb: 0 done, 1 a finding or a failure, 2 wrong usage."""
    given = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An encoding that has no arrows, as in a bare environment, must not end the output.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(given)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _hush()  # who reads has had enough
        return 1
    except OSError as err:
        _hush()
        return _fail(SmartxError(": ".join(map(str, filter(None, (err.filename, err.strerror or err))))))
    except KeyboardInterrupt:
        return 130


def _run(given: Sequence[str]) -> int:
    verb = next((argument for argument in given if not argument.startswith("-")), "")
    args = parser([verb] if verb in VERBS else VERBS).parse_args(given)
    try:
        return int(args.run(args))
    except SpecError as err:
        for finding in err.findings:
            print(finding, file=sys.stderr)
        return _fail(err)
    except SmartxError as err:
        return _fail(err)


def _hush() -> None:
    """What is left to print goes nowhere, so that Python does not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(err: SmartxError) -> int:
    print(f"error: {err.message}", file=sys.stderr)
    if err.hint:
        print(f"hint: {err.hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
