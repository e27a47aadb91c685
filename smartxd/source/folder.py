"""Specs in a folder, as ``validate``, ``plan`` and the lab read them."""

from __future__ import annotations

import os
from pathlib import Path

from smartxd.errors import SourceError
from smartxd.spec.document import FILE_BYTES_MAX
from smartxd.spec.load import FILES_MAX, SUFFIXES


def read(path: Path) -> dict[str, bytes]:
    """Content by path of each spec file under a folder (or of one file); SourceError when there is none.

    Hidden folders are passed over; a symbolic link that leaves the folder is refused. Of a file that is too
    large only so much is read as shows that it is.
    """
    if path.is_file():
        return {str(path): _content(path)}
    if not path.is_dir():
        raise SourceError(f"{path}: no such folder", "name the folder that holds the specs")
    files: dict[str, bytes] = {}
    root = path.resolve()
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.endswith(SUFFIXES):
                continue
            if file.is_symlink() and not file.resolve().is_relative_to(root):
                raise SourceError(f"{file}: a symbolic link that leaves {path}", "copy the file instead")
            if len(files) >= FILES_MAX:
                raise SourceError(f"{path}: more than {FILES_MAX} spec files")
            files[str(file)] = _content(file)
    if not files:
        raise SourceError(f"{path}: no spec files (*.yaml, *.yml)", "name the folder that holds the specs")
    return files


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(FILE_BYTES_MAX + 1)
    except OSError as err:
        raise SourceError(f"{file}: {err.strerror}") from err
