"""What frr-reload.py says to a change, from a process that was started before it was asked.

To start Python and to read the tool and its modules takes as long as all the rest of a small change's check.
"""

from __future__ import annotations

import os
import re
import subprocess
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.planes.frr.program import INSTALL, NoAnswer, Output, Timeout, end, finish, start

_WAITING = Path(__file__).with_name("waiting.py")
_BAD_LINE = re.compile(r"line (\d+): % ([^:]*):")
_FIRST_LINE_MAX = 256

_Version = tuple[int, int]
"""A file from one change to the next."""


class BadLine(Exception):
    """A line of a configuration that FRR's grammar does not know; numbered from 1."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.message = message


@dataclass(slots=True, weakref_slot=True)
class Reload:
    """The reload tool for one instance of FRR. What waits ends with this object, and with smartxd."""

    config: FRRConfig
    _waiting: dict[_Version, subprocess.Popen[bytes]] = field(default_factory=dict)
    """A process, or none, by the version of the tool that it has read."""

    def __post_init__(self) -> None:
        weakref.finalize(self, _end_all, self._waiting)

    def prepare(self) -> None:
        """Have a process wait for the next question, each for one; PlaneError ``FRRMissing``."""
        tool = self.config.reload
        try:
            found = tool.stat()
            python = _python(tool)
        except OSError as err:
            raise PlaneError("FRRMissing", f"FRR's reload tool: {tool}: {err.strerror}", INSTALL) from err
        version = found.st_ino, found.st_mtime_ns
        process = self._waiting.get(version)
        if process is not None and process.poll() is None:
            return
        _end_all(self._waiting)
        if python:
            self._waiting[version] = start([*python, str(_WAITING), str(tool)], asked=True)

    def delta(self, running: Path, target: Path) -> str:
        """What frr-reload would do to get from one file to the other; no daemon is asked.

        BadLine for the first line of ``target`` that is not FRR's: frr-reload then still prints a delta, in
        which everything behind that line is deleted. NoAnswer where it fails over lines that are.
        """
        space = ["--pathspace", self.config.pathspace] if self.config.pathspace else []
        try:
            out = self._ask("--test", *space, "--input", str(running), str(target))
        except Timeout as err:
            raise PlaneError("FRRReloadFailed", str(err), "raise frr.timeout_s in smartxd.toml") from err
        if match := _BAD_LINE.search(out.errors):
            raise BadLine(int(match[1]), match[2].strip())
        if out.code != 0:
            said = out.errors.strip().rpartition("\n")[2]
            raise NoAnswer(f"{self.config.reload.name} exited with {out.code}: {said}")
        return out.text

    def _ask(self, *words: str) -> Output:
        self.prepare()
        tool = str(self.config.reload)
        if self._waiting:
            process, said = self._waiting.popitem()[1], b"\0".join(map(os.fsencode, words))
        else:
            process, said = start([tool, *words]), None
        out = finish(tool, process, self.config.timeout_s, said)
        self.prepare()  # The next gets ready while FRR is changed.
        return out


def _python(script: Path) -> list[str]:
    """How the first line of a script calls Python; nothing where something else runs it."""
    with script.open("rb") as file:
        first = file.readline(_FIRST_LINE_MAX)
    words = os.fsdecode(first.removeprefix(b"#!")).split() if first.startswith(b"#!") else []
    return words if any(Path(word).name.startswith("python") for word in words) else []


def _end_all(waiting: dict[_Version, subprocess.Popen[bytes]]) -> None:
    while waiting:
        end(waiting.popitem()[1])
