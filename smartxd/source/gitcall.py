"""Running git, bounded: in time, in the size of any file it writes, in what it may speak and run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

from smartxd.errors import SourceError

FILE_BYTES_MAX = 256 << 20
"""The largest file that git may write: a pack that is larger is no repo of specs."""

_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "file:https:ssh",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    "LC_ALL": "C",
}
_SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "fetch.fsckObjects=true", "-c", "gc.autoDetach=false")


class GitFailed(SourceError):
    """Git ran to its end and said no; any other SourceError of a call is about the machine or the time."""


class Git:
    """Git at work in one directory; one call at a time, which another thread may end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def __call__(self, *arguments: str, timeout_s: float) -> str:
        """What git prints; GitFailed with the line of git's own words that says why it failed.

        At the end of its time git is killed together with the ssh or https helper that it has started, and
        SourceError says so.
        """
        limit = ("prlimit", f"--fsize={FILE_BYTES_MAX}")
        argv = [*limit, "git", "-C", str(self._directory), *_SAFE, *arguments]
        try:
            with subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,
            ) as self._process:
                try:
                    if self._ended:
                        raise SourceError("smartxd is ending")
                    out, errors = self._process.communicate(timeout=timeout_s)
                except BaseException:
                    self._kill()
                    raise
        except subprocess.TimeoutExpired:
            raise SourceError(f"git {arguments[0]}: no end within {timeout_s:g} s", _AGAIN) from None
        except OSError as err:
            raise SourceError(f"git cannot be run: {err.strerror}", "install git and util-linux") from err
        if self._process.returncode:
            raise GitFailed(_reason(errors.decode(errors="replace")), _AGAIN)
        return out.decode(errors="replace").strip()

    def end(self) -> None:
        """Kill what runs now, and let nothing more begin; safe in another thread."""
        self._ended = True
        self._kill()

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


_AGAIN = "the last good commit stays applied; it is tried again"


def redacted(text: str) -> str:
    """Text without the user names and passwords of the URLs in it."""
    return re.sub(r"(https?://)[^/@\s]+@", r"\1***@", text)


def _reason(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if any("died of signal 25" in line or "File too large" in line for line in lines):  # SIGXFSZ
        return f"the repo is larger than {FILE_BYTES_MAX >> 20} MiB"
    fatal = [line.partition(":")[2].strip() for line in lines if line.startswith(("fatal:", "error:"))]
    return redacted((fatal or lines or ["git failed and said nothing"])[0])
