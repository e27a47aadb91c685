"""What the trace plane has pinned, as the capture process reads it: one JSON file, replaced atomically.

The trace plane is the only writer, the capture process the only reader. The file lives under the run
directory, which a reboot empties together with bpffs.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from smartxd.errors import StoreError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TracedInterface(_Frozen):
    """An interface that a policy watches, or watched until its last flows are drained."""

    ifindex: int
    name: str
    directions: tuple[str, ...]
    attached: bool


class TracedPolicy(_Frozen):
    """The pinned programs and maps of one trace policy."""

    name: str
    commit_id: str
    """The spec commit under which the policy runs now."""
    incarnation: str
    """Unique per build of the maps; the maps' generation counts from 0 within it."""
    pin_dir: Path
    interfaces: tuple[TracedInterface, ...]
    retired: bool = False
    """Detached: the capture process drains the maps a last time and then removes ``pin_dir``."""


class Manifest(_Frozen):
    """All trace policies of a box."""

    policies: tuple[TracedPolicy, ...] = ()

    def write(self, path: Path) -> None:
        """Replace the file at ``path``, so that a reader sees the old or the new one, whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(self.model_dump_json(indent=1) + "\n")
        os.replace(fresh, path)  # noqa: PTH105 (replace() of Path is the same call)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest at ``path``, empty where there is none; StoreError when it is not one."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError as err:
            raise StoreError(
                f"{path}: not a trace manifest", "smartxd writes it anew when it starts"
            ) from err
