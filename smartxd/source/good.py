"""The specs that a box was given last, read out of its daemon's mirror, which stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import git
from git.exc import GitError, ODBError

from smartxd.errors import SourceError
from smartxd.source import tree
from smartxd.source.repo import GOOD
from smartxd.spec.document import Content


def good_specs(mirror: Path, folder: str) -> tuple[str, Mapping[str, Content]] | None:
    """The last good commit and its spec files; None where there is none yet. SourceError when unreadable."""
    if not mirror.is_dir():
        return None
    try:
        with git.Repo(mirror) as repo:
            try:
                commit = repo.commit(GOOD)
            except (GitError, ODBError, ValueError):
                return None
            found = tree.find(commit.tree, folder)
            return commit.hexsha, tree.read(commit.tree, found) if isinstance(found, git.Tree) else {}
    except (GitError, ODBError, ValueError, OSError) as err:
        raise SourceError(f"{mirror}: {err or type(err).__name__}", "smartxd makes it anew") from err
