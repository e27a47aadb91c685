"""Where a lab keeps what: every name and path follows from the lab's name, so two labs never meet."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from smartxd.errors import LabError

ROOT = Path("/run/smartx-lab")
SOCKET_PATH_MAX = 107
"""Bytes of a Unix socket's path that the kernel takes."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")
WAN = "wan"
"""The wide-area network's namespace and bridge; no box and no container may be called so."""


def default_name(spec_dir: Path) -> str:
    """A short name that is the folder's own: two folders of one name do not share a lab."""
    path = spec_dir.resolve()
    readable = re.sub(r"[^a-z0-9]+", "-", path.name.lower())[:14].strip("-") or "lab"
    return f"{readable}-{hashlib.sha256(bytes(path)).hexdigest()[:4]}"


@dataclass(frozen=True, slots=True)
class BoxLayout:
    """Names and paths of one box of a lab."""

    lab: str
    box: str

    @property
    def namespace(self) -> str:
        """The box's network namespace; also its FRR pathspace and the name of its bpffs folder."""
        return f"{self.lab}-{self.box}"

    @property
    def folder(self) -> Path:
        """Everything of the box that is a file."""
        return ROOT / self.lab / "boxes" / self.box

    @property
    def config(self) -> Path:
        """``smartxd.toml`` of the box."""
        return self.folder / "smartxd.toml"

    @property
    def token(self) -> Path:
        """The box's token for the centre."""
        return self.folder / "token"

    @property
    def state_dir(self) -> Path:
        """``state_dir`` of the box's configuration."""
        return self.folder / "state"

    @property
    def run_dir(self) -> Path:
        """``run_dir`` of the box's configuration."""
        return self.folder / "run"

    @property
    def socket(self) -> Path:
        """The socket of the box's daemon."""
        return self.run_dir / "smartxd.sock"

    @property
    def bpffs(self) -> Path:
        """Where the box's programs, maps and links are pinned."""
        return Path("/sys/fs/bpf") / self.namespace

    @property
    def frr_config(self) -> Path:
        """The FRR instance's configuration folder."""
        return Path("/etc/frr") / self.namespace

    @property
    def frr_run(self) -> Path:
        """The FRR instance's sockets and pid files."""
        return Path("/var/run/frr") / self.namespace


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and paths of a lab; LabError for a name that cannot name one."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LabError(
                f"{self.name!r} cannot name a lab",
                "--name takes up to 24 of a-z, 0-9 and -, not beginning or ending with -",
            )

    @property
    def folder(self) -> Path:
        """Everything of the lab that is a file."""
        return ROOT / self.name

    @property
    def state(self) -> Path:
        """The record of what was made."""
        return self.folder / "state.json"

    @property
    def repo(self) -> Path:
        """The Git repo that all boxes follow."""
        return self.folder / "repo"

    @property
    def secrets(self) -> Path:
        """The secrets of all boxes."""
        return self.folder / "secrets"

    @property
    def center(self) -> Path:
        """The centre's data."""
        return self.folder / "center"

    @property
    def wan(self) -> str:
        """The namespace of the wide-area network."""
        return self.namespace(WAN)

    def namespace(self, member: str) -> str:
        """The network namespace of a box or a container."""
        return f"{self.name}-{member}"

    def box(self, box: str) -> BoxLayout:
        """Names and paths of a box; LabError where they would not work."""
        layout = BoxLayout(self.name, box)
        if box == WAN:
            raise LabError("a box of a lab cannot be called 'wan'", "the wide-area network is called so")
        excess = len(bytes(layout.socket)) - SOCKET_PATH_MAX
        if excess > 0:
            raise LabError(
                f"the path of {box}'s socket is {excess} bytes too long for a Unix socket: {layout.socket}",
                "give the lab a shorter --name",
            )
        return layout
