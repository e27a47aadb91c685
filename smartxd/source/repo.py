"""The Git repo of specs: a bare mirror on the box, fetched with bounds, read from a commit's tree.

The repo is hostile input. Only file, https and ssh are spoken; no hook, submodule or filter runs, because
nothing is ever checked out; a fetch is bounded in time and in the size of any file that it writes.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePosixPath

import git
from git.exc import GitCommandError, GitError, ODBError
from git.objects import Blob, Submodule, Tree

from smartxd.errors import SourceError
from smartxd.spec.document import FILE_BYTES_MAX
from smartxd.spec.load import FILES_MAX, SUFFIXES

PACK_BYTES_MAX = 256 << 20
"""The largest file that a fetch may write."""

_HEAD = "refs/smartxd/head"
_GOOD = "refs/smartxd/good"
_SYMLINK_MODE = 0o120000
_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "file:https:ssh",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}


def local_path(url: str) -> Path | None:
    """The folder that a URL means on this machine; None for a remote one. SourceError when not allowed."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    if url.startswith("/"):
        return Path(url)
    if re.match(r"(https|ssh)://[^-]", url) or re.match(r"[A-Za-z0-9._]+@[A-Za-z0-9.]+:[^-]", url):
        return None
    raise SourceError(f"{url}: not a URL that smartxd follows", "use https://, ssh:// or an absolute path")


class Repo:
    """The box's mirror of one branch."""

    def __init__(self, directory: Path, url: str, branch: str, timeout_s: float) -> None:
        """Prepare the mirror; SourceError without git, or for a URL that is not allowed."""
        if shutil.which("git") is None:
            raise SourceError("git is not installed", "install the package git")
        local_path(url)
        self._url, self._branch, self._timeout_s = url, branch, timeout_s
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._repo = git.Repo.init(directory, bare=True)
        except (OSError, GitError) as err:
            raise SourceError(f"{directory}: {_reason(err)}") from err

    def fetch(self) -> str:
        """Bring the branch's newest commit, and return its hash; SourceError when that fails."""
        command = [
            *("prlimit", f"--fsize={PACK_BYTES_MAX}", "git", "-c", "core.hooksPath=/dev/null"),
            *("-c", "fetch.fsckObjects=true", "fetch", "--quiet", "--no-tags", "--force", "--depth=1"),
            *("--no-recurse-submodules", "--no-write-fetch-head", "--end-of-options"),
            *(self._url, f"refs/heads/{self._branch}:{_HEAD}"),
        ]
        try:
            self._repo.git.execute(command, env=_ENVIRONMENT, kill_after_timeout=self._timeout_s)
        except GitCommandError as err:
            raise SourceError(
                f"{self._url}: branch {self._branch}: {_reason(err)}",
                "the last good commit stays applied; the fetch is tried again",
            ) from err
        return self._resolve(_HEAD)

    def pin(self, commit: str) -> None:
        """Keep a commit as the last good one: it can be read again while the repo is out of reach."""
        try:
            self._repo.git.update_ref(_GOOD, commit)
        except GitCommandError as err:
            raise SourceError(f"{self._repo.git_dir}: {_reason(err)}", "is the disk full?") from err

    def good(self) -> str:
        """The commit that was pinned last; empty before the first."""
        return self._resolve(_GOOD)

    def _resolve(self, ref: str) -> str:
        try:
            return self._repo.commit(ref).hexsha
        except (GitError, ODBError, ValueError):
            return ""

    def files(self, commit: str, folder: str) -> dict[str, bytes]:
        """Content by path of each spec file under ``folder`` in a commit's tree, read from the objects.

        Symbolic links and submodules hold no specs and are passed over. SourceError when the folder is not
        there, or holds more files than a repo of specs has.
        """
        try:
            tree = self._repo.commit(commit).tree
            for part in PurePosixPath(folder).parts:
                tree = tree / part
            return self._read(tree)
        except KeyError as err:
            raise SourceError(
                f"{commit[:10]}: no folder {folder}", "see source.path in smartxd.toml"
            ) from err
        except (GitError, ODBError, ValueError, OSError) as err:
            raise SourceError(f"{commit[:10]}: {_reason(err)}") from err

    def _read(self, tree: Tree) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        trees = [tree]
        while trees:
            for item in trees.pop():
                if isinstance(item, Submodule):
                    continue
                if isinstance(item, Tree):
                    if not item.name.startswith("."):
                        trees.append(item)
                elif item.mode != _SYMLINK_MODE and item.name.endswith(SUFFIXES):
                    if len(files) >= FILES_MAX:
                        raise SourceError(f"more than {FILES_MAX} spec files")
                    files[str(item.path)] = _content(item)
        return files

    def close(self) -> None:
        """End the git processes that read objects."""
        self._repo.close()


def _content(blob: Blob) -> bytes:
    """The blob, or only so much of it as shows that it is too large."""
    return bytes(blob.data_stream.read(FILE_BYTES_MAX + 1))


def _reason(err: Exception) -> str:
    """The line of git's own words that says why."""
    if isinstance(err, GitCommandError):
        text = str(err.stderr).replace("stderr:", "").strip().strip("'")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        fatal = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("fatal:", "error:"))]
        return (fatal or lines or ["git failed"])[0]
    return str(err) or type(err).__name__
