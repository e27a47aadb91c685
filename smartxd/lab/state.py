"""What a lab has made, as JSON on disk: written before each act, so that ``down`` finds all of it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from smartxd.errors import LabError
from smartxd.lab.process import Process


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BoxRecord(_Frozen):
    """A box, known by its number from before anything of it was made."""

    number: int
    """Counts from 0; names its ports on the wide-area network and its management address."""


class ContainerRecord(_Frozen):
    """A container: a namespace with one link into a bridge of a box."""

    box: str
    bridge: str
    address: str
    """With prefix length."""
    gateway: str | None = None
    port: str = ""
    """Name of its link on the box where a Port spec is to plug it in; empty where the lab does."""


class LabState(_Frozen):
    """All that a lab has made or was about to make."""

    name: str
    spec_dir: Path
    boxes: dict[str, BoxRecord] = {}
    containers: dict[str, ContainerRecord] = {}
    processes: dict[str, Process] = {}
    """``center``, and ``BOX/zebra``, ``BOX/bgpd``, ``BOX/smartxd``, … for each box."""
    center_port: int | None = None
    """Of the centre's page on 127.0.0.1."""
    specs_digest: str = ""
    """Of the spec folder as last committed to the lab's repo."""

    def write(self, path: Path) -> None:
        """Replace the file, whole."""
        fresh = path.with_suffix(".new")
        fresh.write_text(self.model_dump_json(indent=1) + "\n")
        os.replace(fresh, path)  # noqa: PTH105 (the same call)

    @classmethod
    def read(cls, path: Path) -> LabState | None:
        """The state at ``path``; None where there is none."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as err:
            raise LabError(f"{path}: not a lab's state: {err.errors()[0]['msg']}") from err
