"""A plan from what is observed: asked of the daemon of this box."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

from pydantic import BaseModel, ValidationError

from smartxd import config
from smartxd.errors import DaemonError, SourceError, SpecError
from smartxd.reconcile.planned import PlanReport
from smartxd.socketclient import get, post
from smartxd.source import folder
from smartxd.spec.document import Unreadable

TIMEOUT_S = 75.0
"""Longer than the daemon lets a request wait for its turn and its loop, so that its answer says why."""

_OTHER_RELEASE = "are smartxd and smartxctl of one release?"


class _Refusal(BaseModel):
    """Why the daemon makes no plan."""

    error: str
    findings: tuple[str, ...] = ()


def fetch(configuration: Path, specs: Path | None) -> PlanReport:
    """The plan to the daemon's target, or to what the files under ``specs`` ask for.

    SpecError when the daemon finds these specs not valid for its box, DaemonError when it makes no plan.
    """
    socket = config.load(configuration).socket
    if specs is None:
        status, text = get(socket, "/plan", TIMEOUT_S)
    else:
        body = json.dumps({"files": _texts(specs)})
        status, text = post(socket, "/plan", body, TIMEOUT_S)
    try:
        if status == HTTPStatus.OK:
            return PlanReport.model_validate_json(text)
        refusal = _Refusal.model_validate_json(text)
    except ValidationError as err:
        raise DaemonError(f"{socket}: answered {status}, and not with a plan", _OTHER_RELEASE) from err
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise SpecError(refusal.error, refusal.findings)
    hint = _OTHER_RELEASE if status == HTTPStatus.NOT_FOUND else ""
    raise DaemonError(f"{socket}: {refusal.error}", hint)


def _texts(specs: Path) -> dict[str, str]:
    """The text of each spec file; SourceError where one is not text."""
    texts: dict[str, str] = {}
    for path, content in folder.read(specs).items():
        try:
            if isinstance(content, Unreadable):
                raise SourceError(f"{path}: {content.message}")
            texts[path] = content.decode()
        except UnicodeDecodeError as err:
            raise SourceError(f"{path}: not UTF-8", f"smartxctl validate {specs} says where") from err
    return texts
