"""The configuration of a box's daemons: one TOML file, every path movable.

Many boxes can run on one machine, because nothing is found by a fixed path.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smartxd.errors import ConfigError

DEFAULT_PATH = Path("/etc/smartxd/smartxd.toml")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SourceConfig(_Section):
    """The Git repo of specs."""

    url: str = Field(description="https://, ssh:// or git@host:path URL, or the path of a local repo")
    branch: str = Field(default="main", description="the branch to follow")
    path: str = Field(default=".", description="the folder of the repo that holds the specs")
    poll_interval_s: float = Field(default=30, gt=0, description="how often a remote repo is asked")
    timeout_s: float = Field(default=60, gt=0, description="bound on one fetch")


class FRRConfig(_Section):
    """The routing daemons."""

    pathspace: str | None = Field(default=None, description="FRR's -N: the instance this box uses")
    reload: Path = Field(default=Path("/usr/lib/frr/frr-reload.py"), description="the reload tool")
    timeout_s: float = Field(default=20, gt=0, description="bound on one call of vtysh or frr-reload")
    accept: tuple[str, ...] = Field(
        default=(), description="versions of FRR beside the tested ones that may be driven: `10.3`"
    )
    check_interval_s: float = Field(default=30, gt=0, description="how often FRR is looked at for drift")
    status_interval_s: float = Field(default=2, gt=0, description="how often sessions and EVPN are looked at")


class CenterConfig(_Section):
    """Where captures and status are sent."""

    url: str = Field(description="the base URL of smartx-center")
    token_file: Path = Field(description="a root-only file holding the token that `enroll` printed")
    status_interval_s: float = Field(default=10, gt=0, description="how often the status is reported")
    timeout_s: float = Field(default=10, gt=0, description="bound on one request")


class CaptureConfig(_Section):
    """The capture process and its files."""

    drain_interval_s: float = Field(default=5, gt=0, description="how often the flow maps are drained")
    segment_s: int = Field(default=3600, gt=0, description="the time span of one SQLite file")
    retention_s: int = Field(
        default=7 * 86400, gt=0, description="the age at which a synced file is unlinked"
    )
    disk_max_bytes: int = Field(
        default=4 << 30, ge=64 << 20, description="bound on all files, 64 MiB or more; the oldest go first"
    )


class Config(_Section):
    """``smartxd.toml``."""

    box: str = Field(description="the name of this box's Box spec")
    state_dir: Path = Field(
        default=Path("/var/lib/smartxd"), description="SQLite files and the repo's mirror"
    )
    run_dir: Path = Field(default=Path("/run/smartxd"), description="socket, lock and trace manifest")
    secrets_dir: Path = Field(
        default=Path("/etc/smartxd/secrets"), description="root-only files that specs name as secrets"
    )
    bpffs_dir: Path = Field(default=Path("/sys/fs/bpf/smartxd"), description="pinned programs, maps, links")
    socket_group: str | None = Field(
        default=None, description="group that may read the socket; else root only"
    )
    resync_interval_s: float = Field(default=120, gt=0, description="how often everything is observed anew")
    source: SourceConfig
    frr: FRRConfig = FRRConfig()
    capture: CaptureConfig = CaptureConfig()
    center: CenterConfig | None = None

    @property
    def socket(self) -> Path:
        """The daemon's read-only socket."""
        return self.run_dir / "smartxd.sock"

    @property
    def manifest(self) -> Path:
        """What the trace plane tells the capture process."""
        return self.run_dir / "trace.json"

    @property
    def control_db(self) -> Path:
        """Inventory, conditions and history."""
        return self.state_dir / "control.sqlite"

    @property
    def captures_dir(self) -> Path:
        """The capture segments and their index."""
        return self.state_dir / "captures"


def load(path: Path) -> Config:
    """The configuration in the TOML file at ``path``; ConfigError names each wrong field."""
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as err:
        raise ConfigError(
            f"{path}: {err.strerror}", "name the box's configuration with --config FILE"
        ) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: not TOML: {err}") from err
    try:
        return Config.model_validate(raw)
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise ConfigError(f"{path}: {wrong}", "docs/configuration.md lists every field") from err
