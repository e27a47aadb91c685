"""The box's folder of secrets: a file each, read only where nobody else can read it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from smartxd.errors import SecretError
from smartxd.secrets import SecretFault, Secrets

SECRET_MAX = 80
"""Characters; a TCP MD5 key of the kernel's has so many (TCP_MD5SIG_MAXKEYLEN)."""
SECRETS_MAX = 1000
"""Files of the folder that are read."""
_USABLE = re.compile(r"[!-{}~]+")
"""What FRR takes in a password: printable and no blanks; vtysh cuts a line at ``|``."""


def read(path: Path) -> str:
    """The secret in a file: one line of printable ASCII; SecretError where it is none, or others' as well."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise SecretError("SecretUnreadable", f"{path}: {err.strerror}") from err
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise SecretError("SecretUnreadable", f"{path} is not a file: put the secret into one")
        if found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
            raise SecretError(
                "SecretExposed", f"{path} can be read by others: chown root and chmod 600 it, and change it"
            )
        raw = os.read(fd, SECRET_MAX + 3)
    finally:
        os.close(fd)
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    if not text:
        raise SecretError("SecretEmpty", f"{path} is empty: put the secret into it")
    if len(text) > SECRET_MAX or not _USABLE.fullmatch(text):
        raise SecretError(
            "SecretUnusable",
            f"{path}: a secret has 1 to {SECRET_MAX} printable ASCII characters on one line, "
            "without blanks and '|'",
        )
    return text


def survey(folder: Path, token: Callable[[str], str]) -> Secrets:
    """All secrets of the folder as tokens, and what is wrong with those that cannot be used."""
    tokens: dict[str, str] = {}
    faults: dict[str, SecretFault] = {}
    try:
        names = sorted(entry.name for entry in os.scandir(folder))[:SECRETS_MAX]
    except OSError:
        names = []
    for name in names:
        try:
            tokens[name] = token(read(folder / name))
        except SecretError as err:
            faults[name] = SecretFault(err.reason, err.message)
    return Secrets(tokens, faults, str(folder))
