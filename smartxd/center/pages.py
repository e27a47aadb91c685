"""The pages that a person looks at: all boxes, and one box, in the boxes' own words."""

from __future__ import annotations

import mimetypes
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from smartxd.center import boxes, flowstore
from smartxd.center.flowstore import Totals
from smartxd.center.models import Box
from smartxd.report import CaptureReport, ConditionReport, ControlReport, SessionReport

REFRESH_S = 5
_GOOD_WHEN_TRUE = {"Ready", "SourceVerified"}
_MOST_TELLING = ("Stalled", "Contested", "Drifted", "SourceVerified", "Ready")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An object in a row: what is wrong with it, the most telling first, or else that it is Ready."""

    object: str
    conditions: tuple[ConditionReport, ...]
    well: bool

    @property
    def labels(self) -> list[str]:
        """``Stalled``, ``Not Ready``, …"""
        return [
            c.type if self.well or c.type not in _GOOD_WHEN_TRUE else f"Not {c.type}" for c in self.conditions
        ]

    @property
    def messages(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(c.message for c in self.conditions if c.message))


@dataclass(frozen=True, slots=True)
class BoxView:
    """A box as the pages show it."""

    name: str
    state: boxes.State
    last_contact: datetime | None
    reported_at: datetime | None
    control: ControlReport | None
    capture: CaptureReport | None
    objects: tuple[ObjectView, ...]
    """Those in trouble first."""
    established: int
    sessions_down: tuple[SessionReport, ...]
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

    @property
    def troubles(self) -> list[ObjectView]:
        """The objects that are not as they should be."""
        return [view for view in self.objects if not view.well]


def troubled(condition: ConditionReport) -> bool:
    """Whether the condition is one that a person should know of."""
    return condition.status != (condition.type in _GOOD_WHEN_TRUE)


def objects(conditions: Sequence[ConditionReport]) -> tuple[ObjectView, ...]:
    """A view for each object, those in trouble first."""
    by_object: dict[str, list[ConditionReport]] = {}
    for condition in sorted(conditions, key=_rank):
        by_object.setdefault(condition.object, []).append(condition)
    views = []
    for name, said in by_object.items():
        wrong = tuple(c for c in said if troubled(c))
        views.append(ObjectView(name, wrong or tuple(c for c in said if c.type == "Ready"), not wrong))
    # The box itself sums up its objects: after those that are as bad.
    return tuple(sorted(views, key=lambda v: (v.well, min(map(_rank, v.conditions), default=0), _is_box(v))))


def _rank(condition: ConditionReport) -> int:
    known = condition.type in _MOST_TELLING
    return _MOST_TELLING.index(condition.type) if known else len(_MOST_TELLING)


def _is_box(view: ObjectView) -> bool:
    return view.object.startswith("Box/")


def _view(box: Box, totals: list[Totals], now: datetime) -> BoxView:
    report = boxes.report_of(box)
    control = report.control if report else None
    capture = report.capture if report else None
    streams = capture.streams if capture else ()
    sessions = control.sessions if control else ()
    down = tuple(s for s in sessions if s.state != "Established")
    return BoxView(
        name=box.name,
        state=boxes.state(box, report, now),
        last_contact=box.last_contact,
        reported_at=box.reported_at,
        control=control,
        capture=capture,
        objects=objects(control.conditions) if control else (),
        established=len(sessions) - len(down),
        sessions_down=down,
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


def all_boxes(request: HttpRequest) -> HttpResponse:
    """The first page: all boxes."""
    totals = defaultdict(list)
    for total in flowstore.current().totals():
        totals[total.box].append(total)
    now = datetime.now(UTC)
    views = [_view(box, totals[box.name], now) for box in Box.objects.all()]
    counts = {state: sum(view.state == state for view in views) for state in ("Ready", "Quiet")}
    return _page(request, "boxes", {"boxes": views, "counts": counts, "now": now})


def one_box(request: HttpRequest, name: str) -> HttpResponse:
    """Everything that one box says of itself."""
    found = Box.objects.filter(name=name).first()
    if found is None:
        raise Http404(f"no box {name} is enrolled")
    now = datetime.now(UTC)
    view = _view(found, flowstore.current().totals(name), now)
    return _page(request, "box", {"box": view, "now": now, "all": "all" in request.GET})


def healthz(_: HttpRequest) -> HttpResponse:
    """200 when both databases answer."""
    flowstore.current().totals("")
    return JsonResponse({"ok": True, "boxes": Box.objects.count()})


def static(_: HttpRequest, path: str) -> HttpResponse:
    """A file that an installed application brings along."""
    found = finders.find(path)
    if found is None or not Path(found).is_file():
        raise Http404(path)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return HttpResponse(Path(found).read_bytes(), content_type=kind)


def _page(request: HttpRequest, name: str, context: dict[str, object]) -> HttpResponse:
    page = render(request, f"center/{name}.html", {**context, "refresh_s": REFRESH_S})
    page.headers["Content-Security-Policy"] = _POLICY
    page.headers["Cache-Control"] = "no-store"
    return page
