"""How a person says since when: ``90s``, ``10m``, ``2h``, ``7d``, or a time as RFC 3339 writes it."""

from __future__ import annotations

import re
from datetime import datetime

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_NS = 1_000_000_000
_LAST_NS = 2**63 - 1


def since_ns(text: str, now_s: float) -> int:
    """The time that ``text`` means, in nanoseconds since the epoch; ValueError when it means none.

    Times before the epoch are the epoch, and what no 64 bits hold is the last time that they do.
    """
    try:
        if match := _DURATION.fullmatch(text):
            at_s = now_s - int(match[1]) * _UNITS_S[match[2]]
        else:
            at_s = datetime.fromisoformat(text).timestamp()  # without an offset: local time
        return min(max(0, int(at_s * _NS)), _LAST_NS)
    except (ValueError, OverflowError):
        raise ValueError(f"not a time: {text!r}; write 90s, 10m, 2h, 7d or 2026-07-01T12:00:00Z") from None
