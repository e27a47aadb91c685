"""The spec files of one repo as a source gathers them: which names, how many, how much."""

from __future__ import annotations

from smartxd.errors import SourceError
from smartxd.spec.document import REPO_BYTES_MAX, Content, Unreadable
from smartxd.spec.finding import shown
from smartxd.spec.load import FILES_MAX, SUFFIXES

_NARROW = "name the folder that holds the specs, and no more"


class SpecFiles(dict[str, Content]):
    """Content by path."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def take(self, path: str, content: Content) -> None:
        """Add one file; SourceError when there are more, or they are larger, than a repo of specs has."""
        if len(self) >= FILES_MAX:
            raise SourceError(f"more than {FILES_MAX} spec files", _NARROW)
        self._bytes += 0 if isinstance(content, Unreadable) else len(content)
        if self._bytes > REPO_BYTES_MAX:
            raise SourceError(f"more than {REPO_BYTES_MAX >> 20} MiB of spec files", _NARROW)
        self[path] = content


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over: it is another tool's."""
    return name.startswith(".")


def named_as_specs(name: str) -> bool:
    """Whether a file of this name holds specs."""
    return name.endswith(SUFFIXES)


def link(target: str, *, to_folder: bool = False) -> Unreadable:
    """What stands for a symbolic link, which is never followed."""
    what = "folder" if to_folder else "file"
    return Unreadable(
        f"a symbolic link, to {shown(target)}; links are not followed: put the {what} itself here"
    )
