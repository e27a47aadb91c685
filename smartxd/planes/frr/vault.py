"""The folder of a box's secrets: read, and kept out of everything that is compared, planned or logged."""

from __future__ import annotations

import hmac
import os
import re
import secrets as random
import stat
from dataclasses import dataclass, field
from pathlib import Path

from smartxd.planes.frr.secrets import SecretFault, Secrets

PASSWORD_MAX = 80
"""Bytes of a TCP MD5 key that the kernel takes (TCP_MD5SIG_MAXKEYLEN)."""
SECRETS_MAX = 1000
"""Files of the folder that are read."""

_LINE = re.compile(r"^([ \t]*neighbor \S+ password )(\S+)", re.MULTILINE)
_TOKEN = re.compile(r"secret-[0-9a-f]{32}")
_USABLE = re.compile(r"[!-{}~]+")
"""What FRR takes in a password: printable and no blanks; vtysh cuts a line at ``|``."""


@dataclass(slots=True)
class Vault:
    """Puts a token in the place of each password, and the password back where FRR is told."""

    folder: Path
    _key: bytes = field(default_factory=lambda: random.token_bytes(32), repr=False)
    _known: dict[str, str] = field(default_factory=dict, repr=False)

    def read(self) -> Secrets:
        """The secrets of the folder as tokens, and what is wrong with those that cannot be used."""
        tokens: dict[str, str] = {}
        faults: dict[str, SecretFault] = {}
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder))[:SECRETS_MAX]
        except OSError:
            names = []
        for name in names:
            found = self._file(name)
            if isinstance(found, SecretFault):
                faults[name] = found
            else:
                tokens[name] = self._token(found)
        return Secrets(tokens, faults, str(self.folder))

    def conceal(self, text: str) -> str:
        """A configuration with a token for each password of a neighbour."""
        return _LINE.sub(lambda match: match[1] + self._token(match[2]), text)

    def reveal(self, text: str) -> str:
        """What ``conceal`` was given."""
        return _TOKEN.sub(lambda match: self._known.get(match[0], match[0]), text)

    def _token(self, password: str) -> str:
        digest = hmac.digest(self._key, password.encode("utf-8", "surrogateescape"), "sha256").hex()
        token = f"secret-{digest[:32]}"
        self._known[token] = password
        return token

    def _file(self, name: str) -> str | SecretFault:
        path = self.folder / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as err:
            return SecretFault("SecretUnreadable", f"{path}: {err.strerror}")
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return SecretFault("SecretUnreadable", f"{path} is not a file: put the password into one")
            if found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
                return SecretFault(
                    "SecretExposed",
                    f"{path} can be read by others: chown root and chmod 600 it, and change it",
                )
            raw = os.read(fd, PASSWORD_MAX + 3)
        finally:
            os.close(fd)
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            return SecretFault("SecretEmpty", f"{path} is empty: put the password into it")
        if len(text) > PASSWORD_MAX or not _USABLE.fullmatch(text):
            return SecretFault(
                "SecretUnusable",
                f"{path}: a TCP MD5 password has 1 to {PASSWORD_MAX} printable ASCII characters on one line, "
                "without blanks and '|'",
            )
        return text
