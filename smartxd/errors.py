"""Every error that smartxd raises on purpose: what happened, and what to do next.

    SmartxError
    ├── ConfigError       the configuration file of a daemon or of the centre
    ├── SpecError         specs that do not validate; carries every finding
    ├── SourceError       the Git repo: unreachable, refused, too large
    ├── PlaneError        kernel, FRR or tracer as a whole cannot be observed or driven
    ├── SecretError       a file of secrets_dir that cannot be used
    ├── StoreError        the local SQLite files
    ├── SyncError         the centre: unreachable, or it refused a batch
    ├── DaemonError       the daemon: not running, or already running
    └── LabError          the lab could not be built

Commands print them as ``error: MESSAGE`` and, where there is one, ``hint: HINT``, and exit 1.
"""

from __future__ import annotations


class SmartxError(Exception):
    """An error with a message that says what and where, and a hint that says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def line(self) -> str:
        """Message and hint in one line, for a log."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(SmartxError):
    """The configuration file is missing or wrong."""


class SpecError(SmartxError):
    """Specs that do not validate; ``findings`` holds one line for each, ``file:line:column: …``."""

    def __init__(self, message: str, findings: tuple[str, ...], hint: str = "") -> None:
        super().__init__(message, hint)
        self.findings = findings


class SourceError(SmartxError):
    """The Git repo cannot be reached, or holds what must not be read."""


class PlaneError(SmartxError):
    """A whole plane is out of reach; ``reason`` is the CamelCase reason of the conditions it causes."""

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.reason = reason


class SecretError(SmartxError):
    """A secret cannot be used; ``reason`` is the CamelCase reason of the condition it causes."""

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.reason = reason


class StoreError(SmartxError):
    """A local SQLite file cannot be opened, read or written."""


class SyncError(SmartxError):
    """The centre did not take a batch; ``permanent`` when sending it again cannot help."""

    def __init__(self, message: str, hint: str = "", *, permanent: bool = False) -> None:
        super().__init__(message, hint)
        self.permanent = permanent


class DaemonError(SmartxError):
    """The daemon is not there when it is needed, or is there when it must not be."""


class LabError(SmartxError):
    """The lab could not be built, found or taken down."""
