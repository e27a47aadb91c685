"""Specs in a folder, as ``validate``, ``plan`` and the lab read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from smartxd.errors import SourceError
from smartxd.source.files import SpecFiles, hidden, link, named_as_specs
from smartxd.spec.document import FILE_BYTES_MAX, Content, Unreadable


def read(path: Path) -> dict[str, Content]:
    """Content by path of each spec file under a folder, or of one file; SourceError when there is none.

    What is not read from a commit's tree is not read here either: hidden files and folders, and repos inside
    the folder. No link is followed, except ``path`` itself. Of a file that is too large only so much is read
    as shows that it is.
    """
    files = SpecFiles()
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as err:
        raise SourceError(f"{path}: {err.strerror}", "run as a user who may read the specs") from err
    if is_file:
        files.take(str(path), _content(path.resolve()))
    elif is_folder:
        try:
            _walk(path, files)
        except SourceError as err:
            raise SourceError(f"{path}: {err.message}", err.hint) from None
        if not files:
            raise SourceError(
                f"{path}: no spec files (*.yaml, *.yml)", "name the folder that holds the specs"
            )
    else:
        raise SourceError(f"{path}: no such folder or file", "name the folder that holds the specs")
    return files


def _walk(root: Path, files: SpecFiles) -> None:
    def missed(err: OSError) -> None:
        files.take(str(Path(err.filename)), Unreadable(f"the folder cannot be read: {err.strerror}"))

    for folder, subfolders, names in os.walk(root, onerror=missed):
        inner = sorted(name for name in subfolders if not hidden(name))
        subfolders.clear()
        for name in inner:
            path = Path(folder, name)
            if path.is_symlink():
                files.take(str(path), link(_target(path), to_folder=True))
            elif not os.path.lexists(path / ".git"):
                subfolders.append(name)
        for name in sorted(names):
            if named_as_specs(name) and not hidden(name):
                files.take(str(Path(folder, name)), _content(Path(folder, name)))


def _content(file: Path) -> Content:
    try:
        mode = file.lstat().st_mode
        if stat.S_ISLNK(mode):
            return link(_target(file))
        if not stat.S_ISREG(mode):
            return Unreadable("not a regular file; move it elsewhere, or give it another name")
        # The flags: between the look and the opening it may have become a link, or a FIFO, which would block.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            return stream.read(FILE_BYTES_MAX + 1)
    except OSError as err:
        return Unreadable(f"cannot be read: {err.strerror}")


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError as err:
        return f"where cannot be read: {err.strerror}"
