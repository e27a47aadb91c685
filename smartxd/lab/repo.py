"""The Git repo that all boxes of a lab follow: a work tree on branch main, committed to by the lab."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smartxd.errors import LabError

BRANCH = "main"
TIMEOUT_S = 60
_IDENTITY = {"NAME": "smartx lab", "EMAIL": "lab@smartx.invalid"}


def digest(folder: Path) -> str:
    """A digest of all files below a folder; changes when any of them does."""
    total = hashlib.sha256()
    for path in sorted(
        p for p in folder.rglob("*") if p.is_file() and ".git" not in p.relative_to(folder).parts
    ):
        total.update(hashlib.sha256(bytes(path.relative_to(folder))).digest())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class Repo:
    """The lab's repo; nothing of it depends on the user's own Git configuration."""

    path: Path

    def create(self) -> None:
        """Make the empty repo where there is none."""
        if not (self.path / ".git").exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", f"--initial-branch={BRANCH}")

    def copy_from(self, folder: Path) -> str:
        """Make the work tree equal to a folder and commit it; the commit."""
        for entry in self.path.iterdir():
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        ignore = shutil.ignore_patterns(".git")
        shutil.copytree(folder, self.path, symlinks=True, ignore=ignore, dirs_exist_ok=True)
        return self._commit(f"Specs of {folder}")

    def commit(self, files: Mapping[str, str | None], message: str) -> str:
        """Write files, remove those whose text is None, and commit; the commit."""
        for name, text in files.items():
            path = self.path / name
            if not path.resolve().is_relative_to(self.path.resolve()) or ".git" in Path(name).parts:
                raise LabError(f"{name!r} is no path within the lab's repo")
            if text is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return self._commit(message)

    def head(self) -> str:
        """The newest commit."""
        return self._git("rev-parse", BRANCH)

    def _commit(self, message: str) -> str:
        self._git("add", "--all", ".")
        self._git("commit", "--quiet", "--allow-empty", "--no-verify", "-m", message)
        return self.head()

    def _git(self, *args: str) -> str:
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(self.path)}
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        for role in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{role}_{key}": value for key, value in _IDENTITY.items()}
        argv = ["git", "-C", str(self.path), *args]
        try:
            done = subprocess.run(
                argv, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except FileNotFoundError as err:
            raise LabError("git is not installed", "make setup installs it") from err
        except subprocess.TimeoutExpired as err:
            raise LabError(f"git {args[0]} in {self.path}: no answer within {TIMEOUT_S} s") from err
        if done.returncode != 0:
            raise LabError(f"git {args[0]} in {self.path}: {done.stderr.strip()}")
        return done.stdout.strip()
