"""``smartxctl lab``: boot every Box of a spec folder on this machine."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import sys
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from smartxd.ctl.verb import add_output, add_verb
from smartxd.errors import LabError
from smartxd.lab.box import Pace
from smartxd.lab.lab import Lab
from smartxd.lab.status import BoxStatus, LabStatus, ProcessStatus
from smartxd.tables import print_data, print_table

EXAMPLES = """examples:
  smartxctl lab up examples/koren-two-site              boot it, and wait until every box is Ready
  smartxctl lab status examples/koren-two-site
  smartxctl lab plug examples/koren-two-site gist1 br-koren c1 192.0.2.11/24
  smartxctl lab exec examples/koren-two-site c1 -- ping -c 3 192.0.2.12
  smartxctl lab down examples/koren-two-site            leaves nothing
"""
UP_EXAMPLES = """examples:
  smartxctl lab up .                     boot what is missing, start what has ended, wait until Ready
  smartxctl lab up . --wait 0            do not wait
  smartxctl lab up . --name pr-17        beside another lab of the same folder
  smartxctl lab up . --bare              network and FRR only, to start smartxd by hand
"""
DOWN_EXAMPLES = """examples:
  smartxctl lab down .                   also after an `up` that failed half-way
"""
STATUS_EXAMPLES = """exit code: 0 when all that was started runs and every box is Ready at the newest commit,
           1 when not

examples:
  smartxctl lab status .
  smartxctl lab status . -o json | jq -r .center
"""
EXEC_EXAMPLES = """examples:
  smartxctl lab exec . gist1 -- ip -d link show      in a box
  smartxctl lab exec . c1 -- iperf3 -s               in a container
  smartxctl lab exec . gist1                         a shell there
"""
PLUG_EXAMPLES = """examples:
  smartxctl lab plug . gist1 br-koren c1 192.0.2.11/24
  smartxctl lab plug . gist1 br-koren c1 192.0.2.11/24 --gateway 192.0.2.1
  smartxctl lab plug . gist1 br-koren c1 192.0.2.11/24 --port tap1   a Port of the specs takes tap1
"""
UNPLUG_EXAMPLES = """examples:
  smartxctl lab unplug . c1              remove the container and what runs inside
"""


def add_parser(verbs: Any) -> None:
    """Add the verb and its own verbs."""
    parser = add_verb(verbs, "lab", "boot every box of a spec folder on this machine (root)", EXAMPLES)
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)

    pace = Pace()
    up = _act(acts, "up", "build what is missing of the lab and start what does not run", UP_EXAMPLES)
    wait = "bound on becoming Ready (%(default)s); 0: no wait"
    up.add_argument("--wait", type=_seconds, default=60, metavar="S", help=wait)
    up.add_argument("--bare", action="store_true", help="without smartxd, capture and the centre")
    for option, default, text in (
        ("--drain", pace.drain_s, "drain interval (%(default)s)"),
        ("--report", pace.status_s, "status interval (%(default)s)"),
    ):
        up.add_argument(option, type=_interval, default=default, metavar="S", help=text)
    up.set_defaults(run=_up)

    _act(acts, "down", "remove all of the lab", DOWN_EXAMPLES).set_defaults(run=_down)

    status = _act(acts, "status", "what is there and what runs", STATUS_EXAMPLES)
    add_output(status)
    status.set_defaults(run=_status)

    execute = _act(acts, "exec", "run a command in a box or container", EXEC_EXAMPLES)
    execute.add_argument("member", metavar="NAME", help="a box or a container")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="a shell if not given")
    execute.set_defaults(run=_exec)

    plug = _act(acts, "plug", "plug a container into a bridge of a box", PLUG_EXAMPLES)
    plug.add_argument("box", metavar="BOX", help="a box of the lab")
    plug.add_argument("bridge", metavar="BRIDGE", help="a bridge of that box")
    plug.add_argument("container", metavar="NAME", help="up to 11 of a-z, 0-9 and -")
    plug.add_argument("address", metavar="ADDRESS", type=_address, help="with prefix length")
    plug.add_argument("--gateway", metavar="IP", type=_gateway, help="of a default route")
    plug.add_argument("--port", metavar="LINK", default="", help="its link on the box, which a Port plugs in")
    plug.set_defaults(run=_plug)

    unplug = _act(acts, "unplug", "remove a container", UNPLUG_EXAMPLES)
    unplug.add_argument("container", metavar="NAME", help="a container of the lab")
    unplug.set_defaults(run=_unplug)


def _act(acts: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    parser = add_verb(acts, name, text, examples)
    parser.add_argument("--name", help="of the lab; else it follows from the folder")
    parser.add_argument("dir", type=Path, metavar="DIR", help="the folder that holds the specs")
    return parser


def _lab(args: argparse.Namespace) -> Lab:
    return Lab(args.dir, args.name, progress=lambda line: print(line, file=sys.stderr, flush=True))


def _up(args: argparse.Namespace) -> int:
    lab = _lab(args)
    try:
        lab.up(Pace(args.drain, args.report), bare=args.bare)
        if args.wait > 0 and not args.bare:
            lab.wait_ready(args.wait)
    except KeyboardInterrupt:
        if lab.layout.folder.exists():
            name = ["--name", args.name] if args.name else []
            up, down = (shlex.join(["smartxctl", "lab", act, *name, str(args.dir)]) for act in ("up", "down"))
            half = f"lab {lab.layout.name} is half up: `{up}` goes on, `{down}` removes it"
            print(half, file=sys.stderr)
        raise
    print(f"lab {lab.layout.name} is up")
    if not args.bare:
        print(f"centre {lab.center_url}")
    print(f"repo   {lab.layout.repo}")
    return 0


def _down(args: argparse.Namespace) -> int:
    lab = _lab(args)
    print(f"lab {lab.layout.name} {'is down' if lab.down() else 'was not up'}")
    return 0


def _status(args: argparse.Namespace) -> int:
    """0 when every process runs and every box is Ready at the newest commit."""
    status = _lab(args).status()
    if args.output != "table":
        print_data(status, args.output)
    else:
        show(status)
    return 0 if status.well else 1


def _exec(args: argparse.Namespace) -> int:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    argv = _lab(args).command_in(args.member, command or [os.environ.get("SHELL", "/bin/sh")])
    sys.stdout.flush()
    try:
        os.execv(argv[0], argv)
    except OSError as err:
        raise LabError(f"{argv[0]}: {err.strerror}", "make setup installs what a lab needs") from err


def _plug(args: argparse.Namespace) -> int:
    _lab(args).plug(args.box, args.bridge, args.container, args.address, args.gateway, port=args.port)
    how = f"waits at {args.port} for a Port into" if args.port else "is plugged into"
    print(f"{args.container} {args.address} {how} {args.bridge} of {args.box}")
    return 0


def _unplug(args: argparse.Namespace) -> int:
    was_there = _lab(args).unplug(args.container)
    print(f"{args.container} {'is unplugged' if was_there else 'was not plugged in'}")
    return 0


def show(status: LabStatus) -> None:
    """Print the lab for a person."""
    print_table(
        ("BOX", "NAMESPACE", "READY", "COMMIT", "PROCESSES"),
        [
            (
                *(box.box, box.namespace, _ready(box, status.head), box.commit[:10] or None),
                ", ".join(f"{name} {_shown(p)}" for name, p in box.processes.items()) or None,
            )
            for box in status.boxes
        ],
    )
    for name, container in status.containers.items():
        print(f"container {name}: {container.address} in {container.bridge} of {container.box}")
    if status.center and status.center_process:
        print(f"centre {status.center} {_shown(status.center_process)}")
    print(f"repo   {status.repo} at {status.head[:10] or '-'}")


def _ready(box: BoxStatus, head: str) -> str:
    if not box.ready:
        return "no"
    return "yes" if box.commit == head else f"no: head {head[:10]} is not applied"


def _shown(process: ProcessStatus) -> str:
    return f"{process.pid}" if process.alive else f"{process.pid} (ended)"


def _address(text: str) -> IPv4Interface:
    with contextlib.suppress(ValueError):
        if "/" in text:
            return IPv4Interface(text)
    raise argparse.ArgumentTypeError(f"not an address with its prefix length, as 192.0.2.11/24: {text!r}")


def _gateway(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"not an IPv4 address: {text!r}") from err


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}")
    return number


def _interval(text: str) -> float:
    if not (number := _seconds(text)):
        raise argparse.ArgumentTypeError("an interval must be above 0 s")
    return number
