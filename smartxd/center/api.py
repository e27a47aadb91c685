"""The JSON API: ``/api/docs`` to read about it, ``/api/openapi.json`` for programs."""
# ruff: noqa: ARG001 (ninja hands each operation its request, by this name)

from __future__ import annotations

import shutil
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Path, Query, Schema
from ninja.errors import HttpError
from ninja.security import HttpBearer
from pydantic import Field, ValidationError

from smartxd import __version__
from smartxd.center import boxes, flowstore
from smartxd.center.flowstore import ConflictError, FlowFilter, OverflowingError, Put
from smartxd.center.models import Box
from smartxd.errors import StoreError
from smartxd.records import SYNCED
from smartxd.report import BoxReport
from smartxd.store.batch import MAX_ROWS, BatchKey, checksum
from smartxd.store.timespan import since_ns
from smartxd.sync.protocol import CHECKSUM, REPORT_MAX, decode

LIMIT_MAX = 10_000
COUNT_MAX = 1 << 46
"""Of packets or bytes in one row; sums of a batch stay within SQLite's integers."""
TEXT_MAX = 255
"""Bytes of a name or an address in one row."""

_UNPACKING = threading.BoundedSemaphore(2)
"""A hostile body unpacks to CONTENT_MAX, and its check takes a few times that."""

api = NinjaAPI(title="smartx-center", version=__version__, docs_url="/docs", openapi_url="/openapi.json")


class BoxToken(HttpBearer):
    """The token that ``smartx-center enroll`` printed, good for the box of the path only."""

    def authenticate(self, request: HttpRequest, token: str) -> str | None:
        """The box's name; None answers 401."""
        name = str(request.resolver_match.kwargs["box"])
        return name if boxes.token_matches(name, token) else None


class IngestOut(Schema):
    """What became of a batch."""

    result: str


class BoxOut(Schema):
    """A box as the list shows it; ``report`` is everything that it last said of itself."""

    name: str
    state: boxes.State
    commit: str
    ready: bool
    last_contact: datetime | None
    reported_at: datetime | None
    report: BoxReport | None

    @classmethod
    def of(cls, box: Box) -> BoxOut:
        """The box as it is now."""
        report = boxes.report_of(box)
        return cls(
            name=box.name,
            state=boxes.state(box, report, datetime.now(UTC)),
            commit=box.commit,
            ready=box.ready,
            last_contact=box.last_contact,
            reported_at=box.reported_at,
            report=report,
        )


class FlowQuery(Schema):
    """Which flows, and how many."""

    box: str | None = None
    since: str = "1h"
    interface: str | None = None
    policy: str | None = None
    address: str | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = 100


@api.exception_handler(StoreError)
def _store_failed(request: HttpRequest, err: StoreError) -> HttpResponse:
    # 503: the box keeps its batch and sends it again.
    return api.create_response(request, {"detail": err.line}, status=503)


@api.put(
    "/v1/ingest/{box}/{stream}/{epoch}/{seq}",
    auth=BoxToken(),
    response={200: IngestOut, 201: IngestOut},
    summary="Store a batch; again with the same content is answered 200, with other content 409",
)
def ingest(
    request: HttpRequest,
    box: str,
    stream: str,
    epoch: uuid.UUID,
    seq: Annotated[int, Path(ge=1, lt=1 << 63)],
) -> tuple[int, dict[str, str]]:
    """Store one batch in one transaction, then answer."""
    schema = SYNCED.get(stream)
    if schema is None:
        raise HttpError(404, f"no stream {stream!r}; known are {', '.join(SYNCED)}")
    store = flowstore.current()
    if not _has_room(store):
        store.expire()
        if not _has_room(store):
            raise HttpError(507, "the centre's disk is full; keep the batch for now")
    try:
        with _UNPACKING:
            table = decode(request.body, schema, MAX_ROWS)
            digest = _checked(table, request.headers.get(CHECKSUM, ""))
            put = store.put_batch(BatchKey(box, stream, str(epoch), seq), table, digest)
    except ValueError as err:
        raise HttpError(422, f"batch {stream}/{seq}: {err}") from err
    except OverflowingError as err:
        raise HttpError(422, f"batch {stream}/{seq}: {err.message}") from err
    except ConflictError as err:
        raise HttpError(409, err.message) from err
    boxes.note_contact(box)
    return (201 if put is Put.STORED else 200), {"result": put.value}


def _has_room(store: flowstore.FlowStore) -> bool:
    free = shutil.disk_usage(settings.SMARTX.data_dir).free
    needed: int = settings.SMARTX.disk_min_free_bytes
    return free >= needed or free + store.reusable_bytes() >= needed


def _checked(table: pa.Table, claimed: str) -> str:
    if table.num_rows == 0:
        raise ValueError("no rows")
    for name in ("packets", "skbs", "bytes"):
        if pc.max(table[name]).as_py() >= COUNT_MAX:
            raise ValueError(f"column {name} holds {pc.max(table[name]).as_py()}, which no drain can count")
    for name in (field.name for field in table.schema if pa.types.is_string(field.type)):
        if (pc.max(pc.binary_length(table[name])).as_py() or 0) > TEXT_MAX:
            raise ValueError(f"column {name} holds a text of more than {TEXT_MAX} bytes")
    digest = checksum(table)
    if digest != claimed:
        raise ValueError(f"the content does not have the checksum of header {CHECKSUM}")
    return digest


@api.post("/v1/boxes/{box}/report", auth=BoxToken(), response={204: None}, summary="A box's own report")
def report(request: HttpRequest, box: str) -> tuple[int, None]:
    """Keep what a box says of itself."""
    if len(request.body) > REPORT_MAX:
        raise HttpError(413, f"the report is larger than {REPORT_MAX} bytes")
    try:
        said = BoxReport.model_validate_json(request.body)
    except ValidationError as err:
        first = err.errors()[0]
        raise HttpError(422, f"report: {'.'.join(map(str, first['loc']))}: {first['msg']}") from err
    if said.box != box:
        raise HttpError(422, f"report: it is of box {said.box!r}, not {box!r}")
    boxes.keep_report(said)
    return 204, None


@api.get("/v1/boxes", response=list[BoxOut], summary="All boxes")
def list_boxes(request: HttpRequest) -> list[BoxOut]:
    """All boxes, by name."""
    return [BoxOut.of(box) for box in Box.objects.all()]


@api.get("/v1/boxes/{box}", response=BoxOut, summary="One box")
def one_box(request: HttpRequest, box: str) -> BoxOut:
    """One box; 404 when it is not enrolled."""
    found = Box.objects.filter(name=box).first()
    if found is None:
        raise HttpError(404, f"no box {box!r} is enrolled")
    return BoxOut.of(found)


@api.get("/v1/flows", summary="Flows, newest first")
def list_flows(request: HttpRequest, query: Query[FlowQuery]) -> dict[str, Any]:
    """Rows of records.FLOW with the box; ``since`` is 10m, 2h, … or an RFC 3339 time."""
    try:
        since = since_ns(query.since, time.time())
    except ValueError as err:
        raise HttpError(422, f"since: {err}") from err
    wanted = FlowFilter(since, query.box, query.interface, query.policy, query.address)
    return {"flows": flowstore.current().flows(wanted, query.limit).to_pylist()}


@api.get("/v1/totals", response=list[flowstore.Totals], summary="What has come, per box, stream and epoch")
def list_totals(request: HttpRequest, box: str | None = None) -> list[flowstore.Totals]:
    """Totals of everything that ever came, deleted rows included."""
    return flowstore.current().totals(box)


@api.get("/v1/healthz", summary="Whether the site can read its databases")
def healthz(request: HttpRequest) -> dict[str, Any]:
    """200 when both databases answer."""
    flowstore.current().totals("")
    return {"ok": True, "version": __version__, "boxes": Box.objects.count(), "at": datetime.now(UTC)}
