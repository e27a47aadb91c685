"""``smartxd``: the daemons of a box."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from smartxd import __version__, config
from smartxd.config import Config
from smartxd.errors import SmartxError

EXAMPLES = """examples:
  smartxd run --config /etc/smartxd/smartxd.toml       converge this box, until SIGTERM
  smartxd capture --config /etc/smartxd/smartxd.toml   drain the tracers and sync to the centre, until SIGTERM
  smartxd teardown --config /etc/smartxd/smartxd.toml  remove exactly what smartxd made on this box
"""


def _run(settings: Config) -> None:
    from smartxd.daemon.run import run  # noqa: PLC0415 (each daemon loads only its own wing)

    run(settings)


def _teardown(settings: Config) -> None:
    from smartxd.daemon.run import teardown  # noqa: PLC0415

    teardown(settings)


def _capture(settings: Config) -> None:
    from smartxd.capture.process import run  # noqa: PLC0415

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings, stop)


COMMANDS: dict[str, tuple[Callable[[Config], None], str]] = {
    "run": (_run, "follow the repo and converge this box on it"),
    "capture": (_capture, "drain the tracers into local files and sync them to the centre"),
    "teardown": (_teardown, "remove exactly what smartxd made on this box"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the daemons: 0 ended as asked, 1 a failure, 2 wrong usage."""
    top = argparse.ArgumentParser(
        prog="smartxd",
        description="Converges a box on the Git repo of specs that its configuration names.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"smartxd {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.add_argument("--config", type=Path, default=config.DEFAULT_PATH, metavar="FILE")
    args = top.parse_args(argv)
    try:
        COMMANDS[args.command][0](config.load(args.config))
    except SmartxError as err:
        print(f"error: {err.message}", file=sys.stderr)
        if err.hint:
            print(f"hint: {err.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
