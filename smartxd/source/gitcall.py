"""Running git, bounded: in time, in the size of any file it writes, in what it may speak and run."""

from __future__ import annotations

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


def git(directory: Path, *arguments: str, timeout_s: float) -> str:
    """What git prints in a repo; SourceError with the line of git's own words that says why it failed.

    At the end of its time git is killed together with the ssh or https helper that it has started.
    """
    argv = ["prlimit", f"--fsize={FILE_BYTES_MAX}", "git", "-C", str(directory), *_SAFE, *arguments]
    try:
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
        ) as process:
            try:
                out, errors = process.communicate(timeout=timeout_s)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        raise SourceError(f"git {arguments[0]}: no end within {timeout_s:g} s", _AGAIN) from None
    except OSError as err:
        raise SourceError(f"git cannot be run: {err.strerror}", "install git and util-linux") from err
    if process.returncode:
        raise SourceError(_reason(errors.decode(errors="replace")), _AGAIN)
    return out.decode(errors="replace").strip()


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
