"""The configuration of the centre: ``center.toml``, and flags that go before it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smartxd.errors import ConfigError


class SiteConfig(BaseModel):
    """``center.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(
        default=Path("/var/lib/smartx-center"), description="SQLite files and the secret key"
    )
    listen: str = Field(
        default="127.0.0.1:8080",
        description="HOST:PORT; whoever reaches it may read, only enrolled boxes may write",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="names by which the site is reached, beside its host name, localhost and addresses",
    )
    retention_s: int = Field(default=30 * 86400, gt=0, description="the age at which rows are deleted")
    disk_min_free_bytes: int = Field(
        default=256 << 20, ge=0, description="below this, boxes are told to keep their batches for now"
    )

    @property
    def address(self) -> tuple[str, int]:
        """``listen`` taken apart; ConfigError when it is not HOST:PORT."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"listen: not HOST:PORT: {self.listen!r}", "for example 127.0.0.1:8080")
        return host.strip("[]"), int(port)

    @property
    def database(self) -> Path:
        """Boxes, their tokens and their last reports."""
        return self.data_dir / "center.sqlite"

    @property
    def flows_database(self) -> Path:
        """Captures of all boxes."""
        return self.data_dir / "flows.sqlite"


def load(path: Path | None, flags: Mapping[str, object]) -> SiteConfig:
    """The file's settings, then the flags that are not None; ConfigError names each wrong field."""
    raw: dict[str, object] = {}
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text())
        except OSError as err:
            raise ConfigError(f"{path}: {err.strerror}", "name the file with --config FILE") from err
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
            raise ConfigError(f"{path}: not TOML: {err}") from err
    try:
        return SiteConfig.model_validate(raw | {k: v for k, v in flags.items() if v is not None})
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise ConfigError(f"{path or 'flags'}: {wrong}", "docs/configuration.md lists every field") from err
