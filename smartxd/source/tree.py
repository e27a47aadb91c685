"""Specs in a commit's tree, read from Git's objects: nothing is checked out.

The tree is hostile input. Its objects may be shared, so that few of them make endless paths, and large.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import PurePosixPath

from git.objects import Blob, Submodule, Tree
from git.objects.fun import EntryTup, tree_entries_from_data

from smartxd.errors import SourceError
from smartxd.source.files import SpecFiles, hidden, link, named_as_specs
from smartxd.spec.document import FILE_BYTES_MAX, Content

ENTRIES_MAX = 200_000
"""Files and folders that are looked at."""
TREE_BYTES_MAX = 8 << 20
"""One folder's list of names."""
PATH_BYTES_MAX = 4096

_NO_SPECS = "this is no repo of specs"
_LINK_MODE = 0o120000
_LINKS_MAX = 8

Item = Tree | Blob | Submodule


def find(root: Tree, path: str) -> Item | None:
    """What stands at ``path`` in a tree; None when nothing does."""
    item: Item = root
    for part in PurePosixPath(path).parts:
        if not isinstance(item, Tree):
            return None
        if item.size > TREE_BYTES_MAX:
            raise SourceError("a folder with too many names", _NO_SPECS)
        try:
            item = item / part
        except KeyError:
            return None
    return item


def read(root: Tree, item: Item) -> dict[str, Content]:
    """Content by path of each spec file under ``item``, which stands in the tree ``root``, or of it itself.

    Hidden files and folders and submodules are passed over. Of a file that is too large only so much is read
    as shows that it is. SourceError when there is more than a repo of specs has.
    """
    files = SpecFiles()
    if isinstance(item, Tree):
        for blob in _blobs(item):
            if named_as_specs(blob.name):
                files.take(str(blob.path), _content(blob))
            elif blob.mode == _LINK_MODE and _leads_to_folder(root, str(blob.path)):
                files.take(str(blob.path), link(_target(blob), to_folder=True))
    elif isinstance(item, Blob):
        files.take(str(item.path), _content(item))
    return files


def _blobs(top: Tree) -> Iterator[Blob]:
    """The files and links under a folder that are not hidden."""
    left, folders = ENTRIES_MAX, [(top.binsha, str(top.path))]
    seen: dict[bytes, list[EntryTup]] = {}  # the same folder may stand in many places, and is read once
    while folders:
        sha, folder = folders.pop()
        if sha not in seen:
            seen[sha] = _entries(Tree(top.repo, sha, Tree.tree_id << 12, folder))
        for child, mode, name in seen[sha]:
            left -= 1
            if left < 0:
                raise SourceError(f"more than {ENTRIES_MAX} files and folders", _NO_SPECS)
            if hidden(name):
                continue
            path = posixpath.join(folder, name)
            if mode >> 12 == Tree.tree_id:
                folders.append((child, path))
            elif mode >> 12 != Submodule.k_default_mode >> 12:
                yield Blob(top.repo, child, mode, path)


def _entries(tree: Tree) -> list[EntryTup]:
    if len(str(tree.path)) > PATH_BYTES_MAX:
        raise SourceError(f"a folder whose path is longer than {PATH_BYTES_MAX}", _NO_SPECS)
    stream = tree.data_stream
    if stream.size > TREE_BYTES_MAX:
        raise SourceError("a folder with too many names", _NO_SPECS)
    return tree_entries_from_data(stream.read())


def _content(blob: Blob) -> Content:
    if blob.mode == _LINK_MODE:
        return link(_target(blob))
    return bytes(blob.data_stream.read(FILE_BYTES_MAX + 1))


def _target(blob: Blob) -> str:
    return bytes(blob.data_stream.read(PATH_BYTES_MAX)).decode("utf-8", "surrogateescape")


def _leads_to_folder(root: Tree, path: str) -> bool:
    """Whether a link leads to a folder of the same tree, as far as the names tell."""
    for _ in range(_LINKS_MAX):
        item = find(root, path)
        if not isinstance(item, Blob):
            return item is not None
        if item.mode != _LINK_MODE:
            return False
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), _target(item)))
    return False
