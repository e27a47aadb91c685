"""The operator's own working copy, read only: the specs of its commits, to be compared with what is there."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Self

import git
from git.exc import GitError, ODBError

from smartxd.errors import SourceError
from smartxd.source import gitcall, tree
from smartxd.spec.document import Content
from smartxd.spec.finding import shown

_TIMEOUT_S = 10.0
_MORE_HISTORY = "fetch more history (git fetch --unshallow, or fetch-depth: 0 in CI)"


class Checkout:
    """The repo around a folder of specs (or one file), and the specs under that same path in its commits."""

    def __init__(self, path: Path, top: Path, inside: str) -> None:
        """``path`` as the operator wrote it, which is ``inside`` the working copy whose folder is ``top``."""
        self._path, self._inside = path, inside
        self._git = gitcall.Git(top)
        try:
            self._repo = git.Repo(top)
        except (GitError, OSError, ValueError) as err:
            raise SourceError(f"{top}: cannot be read as a Git repo: {shown(err)}", "try git status") from err
        # Objects that a partial clone lacks are not fetched one by one, without a bound in time.
        self._repo.git.update_environment(GIT_NO_LAZY_FETCH="1", GIT_ALLOW_PROTOCOL="none")

    @classmethod
    def around(cls, path: Path) -> Self:
        """The repo that holds ``path``; SourceError when there is none, or git does not trust it."""
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as err:
            raise SourceError(f"{path}: no such folder or file", "name the folder of the specs") from err
        call = gitcall.Git(real if real.is_dir() else real.parent)
        try:
            top = Path(call("rev-parse", "--show-toplevel", timeout_s=_TIMEOUT_S))
            inside = real.relative_to(top).as_posix()
        except gitcall.GitFailed as err:
            if owned := re.search(r"dubious ownership in repository at '(.*)'", err.message):
                hint = f"if you trust it: git config --global --add safe.directory {owned[1]}"
                raise SourceError(f"{path}: the repo belongs to another user", hint) from err
            hint = "to compare commits, give a path inside a clone of the repo of specs"
            raise SourceError(f"{path}: in no working copy of a Git repo ({err.message})", hint) from err
        except ValueError as err:
            hint = "unset GIT_DIR and GIT_WORK_TREE"
            raise SourceError(f"{path}: outside of the working copy {top} that git names", hint) from err
        return cls(path, top, inside)

    def resolve(self, rev: str) -> str:
        """The full hash of the commit that a revision names; SourceError when there is no such."""
        try:
            if "\0" in rev:
                raise gitcall.GitFailed("not the name of a revision")
            commit = self._ask("--verify", "--end-of-options", f"{rev}^{{commit}}")
            if not re.fullmatch(r"[0-9a-f]+", commit):  # ^REV is all but one
                raise gitcall.GitFailed("not one revision")
        except gitcall.GitFailed as err:
            hint = _MORE_HISTORY if self._is_shallow() else "see git branch --all, and git log"
            raise SourceError(f"{shown(rev)}: no such revision in {self._path}", hint) from err
        return commit

    def files(self, commit: str) -> dict[str, Content]:
        """Content of the spec files that a commit has under the path; none when it has no such path.

        ``commit`` is a full hash. The keys are those of ``folder.read`` of the same path.
        """
        try:
            root = self._repo.commit(commit).tree
            found = tree.find(root, self._inside)
            files = tree.read(root, found) if found is not None else {}
        except (GitError, ODBError, ValueError, OSError) as err:
            hint = f"run git fsck; if this is a shallow or a partial clone, {_MORE_HISTORY}"
            raise SourceError(f"{shown(commit)}: cannot be read from {self._path}", hint) from err
        return {
            str(self._path / PurePosixPath(name).relative_to(self._inside)): files[name] for name in files
        }

    def _is_shallow(self) -> bool:
        try:
            return self._ask("--is-shallow-repository") == "true"
        except gitcall.GitFailed:
            return False

    def _ask(self, *arguments: str) -> str:
        return self._git("rev-parse", *arguments, timeout_s=_TIMEOUT_S)

    def close(self) -> None:
        """End the git processes that read objects."""
        self._repo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
