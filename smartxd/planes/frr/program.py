"""Programs of FRR, each bounded in time and killed with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

INSTALL = "install FRR and its tools: apt install frr frr-pythontools"
"""What to do where one is missing."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a program left: its exit code, its output, and its errors where they were kept apart."""

    code: int
    text: str
    errors: str = ""


class NoAnswer(Exception):
    """A program ended without an answer."""


class Timeout(NoAnswer):
    """A program did not end in time."""


def call(argv: Sequence[str], timeout_s: float, *, merged: bool = False) -> Output:
    """Run a program to its end; Timeout when it was killed, together with its process group.

    ``merged`` puts standard error in between standard output, in the order of writing.
    """
    return finish(argv[0], start(argv, merged=merged), timeout_s)


def start(argv: Sequence[str], *, merged: bool = False, asked: bool = False) -> subprocess.Popen[bytes]:
    """A program in a process group of its own; ``asked`` is one that ``finish`` tells something."""
    # vtysh would write what it is told into root's history. Where it is given a pager, even cat, it starts it
    # anew for each line of a file.
    env = {**os.environ, "LC_ALL": "C.UTF-8", "VTYSH_HISTFILE": os.devnull}
    env.pop("VTYSH_PAGER", None)
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        env=env,
        start_new_session=True,
    )


def finish(
    name: str, process: subprocess.Popen[bytes], timeout_s: float, said: bytes | None = None
) -> Output:
    """A program's output, once it was told ``said`` and has ended; Timeout when it was killed instead."""
    with process:
        try:
            out, errors = process.communicate(said, timeout=timeout_s)
        except BaseException as err:
            end(process)
            if isinstance(err, subprocess.TimeoutExpired):
                raise Timeout(f"{name} did not end within {timeout_s:g} s") from err
            raise
    # A configuration may hold bytes that are not UTF-8; they are kept.
    text, complaint = (part.decode("utf-8", "surrogateescape") for part in (out, errors or b""))
    return Output(process.returncode, text, complaint)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that has not ended, with its group."""
    with process:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
