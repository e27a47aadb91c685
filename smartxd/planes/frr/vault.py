"""The folder of a box's secrets: read, and kept out of everything that is compared, planned or logged."""

from __future__ import annotations

import hmac
import re
import secrets as random
from dataclasses import dataclass, field
from pathlib import Path

from smartxd import secretfile
from smartxd.secrets import Secrets

_LINE = re.compile(r"^([ \t]*neighbor \S+ password )(\S+)", re.MULTILINE)
_TOKEN = re.compile(r"secret-[0-9a-f]{32}")


@dataclass(slots=True)
class Vault:
    """Puts a token in the place of each password, and the password back where FRR is told."""

    folder: Path
    _key: bytes = field(default_factory=lambda: random.token_bytes(32), repr=False)
    _known: dict[str, str] = field(default_factory=dict, repr=False)

    def read(self) -> Secrets:
        """The secrets of the folder as tokens, and what is wrong with those that cannot be used."""
        return secretfile.survey(self.folder, self._token)

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
