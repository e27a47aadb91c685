"""Boxes of the site: enrolled with a token, told from each other by it, and what they report."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime
from typing import Literal

from django.db import connections
from django.urls import Resolver404, resolve
from pydantic import ValidationError

from smartxd.center.models import Box
from smartxd.errors import SmartxError
from smartxd.report import INTERVAL_S, BoxReport

QUIET_INTERVALS = 3
"""A box not heard of for so many of its report intervals is Quiet: what it said may not hold any more."""

State = Literal["Ready", "NotReady", "Quiet", "Never"]

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def enroll(name: str, *, rotate: bool = False) -> str:
    """The token of a box that is now enrolled; only its hash is kept. A second time needs ``rotate``."""
    if not _NAME.fullmatch(name):
        raise SmartxError(f"not a box's name: {name!r}", "as in the metadata.name of its Box spec")
    token = secrets.token_urlsafe(32)
    known = Box.objects.filter(name=name)
    if known.exists():
        if not rotate:
            raise SmartxError(f"{name} is enrolled already", "--rotate gives it another token")
        known.update(token_hash=_hash(token))
    else:
        Box.objects.create(name=name, token_hash=_hash(token), enrolled_at=datetime.now(UTC))
    return token


def token_matches(name: str, token: str) -> bool:
    """Whether the token is that of the box; False as well for a box that is not enrolled."""
    found = Box.objects.filter(name=name).values_list("token_hash", flat=True).first()
    # A token is 256 random bits, so a plain hash cannot be searched.
    return hmac.compare_digest(_hash(token), found or "")


def sender_of(path: str, token: str) -> str | None:
    """The box that may send to ``path``; None when there is none there, or this is not its token."""
    try:
        name = str(resolve(path).kwargs.get("box", ""))
        return name if token_matches(name, token) else None
    except Resolver404:
        return None
    finally:
        connections.close_all()  # of this thread, which no request of Django's ends


def note_contact(name: str) -> None:
    """The box has just been heard of."""
    Box.objects.filter(name=name).update(last_contact=datetime.now(UTC))


def keep_report(report: BoxReport) -> None:
    """Keep what a box says of itself, in place of what it said before."""
    now = datetime.now(UTC)
    control = report.control
    Box.objects.filter(name=report.box).update(
        last_contact=now,
        reported_at=now,
        commit=control.commit if control else "",
        ready=control.ready if control else False,
        report=report.model_dump(mode="json"),
    )


def report_of(box: Box) -> BoxReport | None:
    """What the box last said; None before the first report, and for one of a release with another form."""
    try:
        return BoxReport.model_validate(box.report) if box.report else None
    except ValidationError:
        return None  # the box's next report replaces it


def state(box: Box, report: BoxReport | None, now: datetime) -> State:
    """The box in a word; Never has not been heard of since it was enrolled."""
    if box.last_contact is None:
        return "Never"
    interval_s = report.interval_s if report else INTERVAL_S
    if (now - box.last_contact).total_seconds() > QUIET_INTERVALS * interval_s:
        return "Quiet"
    return "Ready" if box.ready else "NotReady"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
