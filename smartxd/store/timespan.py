"""How a person says since when: ``90s``, ``10m``, ``2h``, ``7d``, or a time as RFC 3339 writes it."""

from __future__ import annotations

import re
from datetime import datetime

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_NS = 1_000_000_000


def since_ns(text: str, now_s: float) -> int:
    """The time that ``text`` means, in nanoseconds since the epoch; ValueError when it means none."""
    if match := _DURATION.fullmatch(text):
        return int((now_s - int(match[1]) * _UNITS_S[match[2]]) * _NS)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not a time: {text!r}; write 90s, 10m, 2h, 7d or 2026-07-01T12:00:00Z") from None
    return int(at.astimezone().timestamp() * _NS)
