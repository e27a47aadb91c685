"""The pages that a person looks at: all boxes, and one box, in the boxes' own words."""

from __future__ import annotations

import mimetypes
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from pydantic import ValidationError

from smartxd.center import flowstore
from smartxd.center.flowstore import Totals
from smartxd.center.models import Box
from smartxd.report import BoxReport, CaptureReport, ConditionReport, ControlReport

QUIET_S = 60
"""A box not heard of for so long is shown as such: what it said of itself may not hold any more."""
REFRESH_S = 5
_GOOD_WHEN_TRUE = {"Ready", "SourceVerified"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class BoxView:
    """A box as the pages show it."""

    name: str
    state: str
    """``Ready``, ``NotReady``, ``Quiet`` or ``Never``."""
    last_contact: datetime | None
    reported_at: datetime | None
    control: ControlReport | None
    capture: CaptureReport | None
    troubles: tuple[ConditionReport, ...]
    """The conditions that are not as they should be."""
    established: int
    pending_rows: int
    pending_batches: int
    lost_rows: int
    totals: tuple[Totals, ...]
    received_rows: int
    ready_for: str
    """How long the box has been, or not been, Ready; empty when it has not said."""
    contact_age: str

    @property
    def commit(self) -> str:
        """The commit that is applied, short."""
        return self.control.commit[:12] if self.control else ""


def troubled(condition: ConditionReport) -> bool:
    """Whether the condition is one that a person should know of."""
    return condition.status != (condition.type in _GOOD_WHEN_TRUE)


def _view(box: Box, totals: list[Totals], now: datetime) -> BoxView:
    try:
        report = BoxReport.model_validate(box.report) if box.report else None
    except ValidationError:
        report = None  # of a release whose reports had another form; the next one replaces it
    control = report.control if report else None
    capture = report.capture if report else None
    streams = capture.streams if capture else ()
    if box.last_contact is None:
        state = "Never"
    elif (now - box.last_contact).total_seconds() > QUIET_S:
        state = "Quiet"
    else:
        state = "Ready" if box.ready else "NotReady"
    return BoxView(
        name=box.name,
        state=state,
        last_contact=box.last_contact,
        reported_at=box.reported_at,
        control=control,
        capture=capture,
        troubles=tuple(c for c in control.conditions if troubled(c)) if control else (),
        established=sum(s.state == "Established" for s in control.sessions) if control else 0,
        pending_rows=sum(s.pending_rows for s in streams),
        pending_batches=sum(s.pending_batches for s in streams),
        lost_rows=sum(s.tombstoned_rows + s.quarantined_rows for s in streams),
        totals=tuple(totals),
        received_rows=sum(t.rows for t in totals),
        ready_for=_age(_ready_since(control), now),
        contact_age=_age(box.last_contact, now),
    )


def _ready_since(control: ControlReport | None) -> datetime | None:
    conditions = control.conditions if control else ()
    return next((c.since for c in conditions if c.object.startswith("Box/") and c.type == "Ready"), None)


def _age(since: datetime | None, now: datetime) -> str:
    """In one unit: ``12 s``, ``3 min``, ``5 h``, ``2 d``; empty without a time."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, length, bound in (("s", 1, 120), ("min", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < bound:
            return f"{seconds // length} {unit}"
    return f"{seconds // 86400} d"


def boxes(request: HttpRequest) -> HttpResponse:
    """The first page: all boxes."""
    totals = defaultdict(list)
    for total in flowstore.current().totals():
        totals[total.box].append(total)
    now = datetime.now(UTC)
    views = [_view(box, totals[box.name], now) for box in Box.objects.all()]
    ready = sum(view.state == "Ready" for view in views)
    return _page(request, "boxes", {"boxes": views, "ready": ready, "now": now})


def box(request: HttpRequest, name: str) -> HttpResponse:
    """Everything that one box says of itself."""
    found = Box.objects.filter(name=name).first()
    if found is None:
        raise Http404(f"no box {name} is enrolled")
    now = datetime.now(UTC)
    view = _view(found, flowstore.current().totals(name), now)
    return _page(request, "box", {"box": view, "now": now})


def healthz(_: HttpRequest) -> HttpResponse:
    """200 when both databases answer."""
    flowstore.current().totals("")
    return JsonResponse({"ok": True, "boxes": Box.objects.count()})


def static(_: HttpRequest, path: str) -> HttpResponse:
    """A file that an installed application brings along."""
    found = finders.find(path)
    if found is None:
        raise Http404(path)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return HttpResponse(Path(found).read_bytes(), content_type=kind)


def _page(request: HttpRequest, name: str, context: dict[str, object]) -> HttpResponse:
    page = render(request, f"center/{name}.html", {**context, "refresh_s": REFRESH_S})
    page.headers["Content-Security-Policy"] = _POLICY
    page.headers["Cache-Control"] = "no-store"
    return page
