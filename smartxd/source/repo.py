"""The Git repo of specs: a bare mirror on the box, fetched with bounds, read from a commit's tree.

The repo is hostile input. Only file, https and ssh are spoken; no hook, submodule or filter runs, because
nothing is ever checked out.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import git
from git.exc import GitError, ODBError

from smartxd.errors import SourceError
from smartxd.source import gitcall, tree
from smartxd.spec.document import Content

_HEAD = "refs/smartxd/head"
GOOD = "refs/smartxd/good"
_LOCAL_TIMEOUT_S = 10.0


def local_path(url: str) -> Path | None:
    """The folder that a URL means on this machine; None for a remote one. SourceError when not allowed."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    if url.startswith("/"):
        return Path(url)
    host = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    if re.match(rf"(https|ssh)://([^/@\s]+@)?{host}", url) or re.match(rf"{host}@{host}:[^-]", url):
        return None
    raise SourceError(
        f"source.url: {gitcall.redacted(url)}: not a URL that smartxd follows",
        "use https://, ssh://, git@host:path or an absolute path",
    )


class Repo:
    """The box's mirror of one branch: a cache, made anew when it is damaged."""

    def __init__(self, directory: Path, url: str, branch: str, timeout_s: float) -> None:
        """Prepare the mirror; SourceError without git, or for a URL that is not allowed."""
        if shutil.which("git") is None:
            raise SourceError("git is not installed", "install the package git")
        local_path(url)
        self._directory, self._url, self._branch, self._timeout_s = directory, url, branch, timeout_s
        self._calls = gitcall.Git(directory)
        try:
            # Left by a git that was killed: nobody else works in the mirror.
            for lock in [*directory.glob("*.lock"), *directory.glob("refs/**/*.lock")]:
                lock.unlink(missing_ok=True)
            if not self._sound():
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir(parents=True)
                self._git("init", "--quiet", "--bare")
            self._repo = git.Repo(directory)
        except (GitError, OSError) as err:
            raise SourceError(f"{directory}: {err}", "see state_dir in smartxd.toml") from err

    def _sound(self) -> bool:
        """Whether there is a mirror, with all that its refs name. What git cannot tell now is no damage."""
        if not self._directory.is_dir():
            return False
        try:
            own = self._git("rev-parse", "--absolute-git-dir") == str(self._directory.resolve())
            if not own or self._git("config", "--local", "--bool", "core.bare") != "true":
                return False
            self._git("fsck", "--connectivity-only", "--no-dangling", "--no-progress")
        except gitcall.GitFailed:
            return False
        except SourceError:
            return True
        return True

    def interrupt(self) -> None:
        """End a fetch that is under way; safe in another thread."""
        self._calls.end()

    def fetch(self) -> str:
        """Bring the branch's newest commit, and return its hash; SourceError when that fails."""
        # Halves of packs that were too large or cut off: git itself keeps them for weeks.
        for half in self._directory.glob("objects/pack/tmp_*"):
            half.unlink(missing_ok=True)
        options = ("--quiet", "--no-tags", "--force", "--depth=1", "--no-recurse-submodules")
        refs = f"refs/heads/{self._branch}:{_HEAD}"
        try:
            self._git("fetch", *options, "--no-write-fetch-head", "--end-of-options", self._url, refs)
        except SourceError as err:
            where = f"{gitcall.redacted(self._url)}: branch {self._branch}"
            raise SourceError(f"{where}: {err.message}", err.hint) from err
        return self._resolve(_HEAD)

    def pin(self, commit: str) -> None:
        """Keep a commit as the last good one: it can be read again while the repo is out of reach."""
        self._git("update-ref", GOOD, commit)

    def good(self) -> str:
        """The commit that was pinned last; empty before the first, or when it cannot be read any more."""
        try:
            return self._resolve(GOOD)
        except SourceError:
            return ""

    def _resolve(self, ref: str) -> str:
        return self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")

    def _git(self, *arguments: str) -> str:
        timeout_s = self._timeout_s if arguments[0] == "fetch" else _LOCAL_TIMEOUT_S
        return self._calls(*arguments, timeout_s=timeout_s)

    def files(self, commit: str, folder: str) -> dict[str, Content]:
        """Content by path of each spec file under ``folder`` in a commit's tree, read from the objects.

        SourceError when the folder is not there, or holds more than a repo of specs has.
        """
        try:
            root = self._repo.commit(commit).tree
            found = tree.find(root, folder)
            if isinstance(found, git.Tree):
                return tree.read(root, found)
        except (GitError, ODBError, ValueError, OSError) as err:
            raise SourceError(f"{commit[:10]}: {err or type(err).__name__}", "it is tried again") from err
        raise SourceError(f"{commit[:10]}: no folder {folder}", "see source.path in smartxd.toml")

    def close(self) -> None:
        """End the git processes that read objects."""
        self._repo.close()
