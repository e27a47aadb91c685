"""``/plan`` on the socket: what smartxd would do now, for the target or for specs that somebody thinks about.

Specs are judged in the thread of the request, one request at a time, so that the box goes on converging
whatever they cost; the loop only observes and plans.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smartxd.daemon.server import Refused
from smartxd.desired import Desired, desire
from smartxd.errors import SmartxError, SpecError
from smartxd.reconcile.planned import PlanReport
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import FILES_MAX, load

REQUESTS_MAX = 3
"""Requests under way at once; further ones are refused."""

WAIT_S = 30.0
"""How long a request waits for its turn to be judged, and then for the loop."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Asks the loop what it would do now; the answer is cancelled when the daemon ends."""

    desired: Desired | None = None
    """What the box is to be; None stands for the target."""
    answer: Future[PlanReport] = field(default_factory=Future)


class _Specs(BaseModel):
    """The body of ``POST /plan``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    files: dict[str, str] = Field(max_length=FILES_MAX)
    """Text by path; the paths only serve to say where something is wrong."""


class Planner:
    """Answers ``/plan`` in the threads of the socket."""

    def __init__(
        self,
        box: str,
        ask: Callable[[PlanRequest], None],
        judge: Callable[[Fleet], tuple[str, ...]],
        wait_s: float = WAIT_S,
    ) -> None:
        """``ask`` hands a request to the loop; ``judge`` gives a valid fleet's findings of this box."""
        self._box, self._ask, self._judge, self._wait_s = box, ask, judge, wait_s
        self._requests = threading.BoundedSemaphore(REQUESTS_MAX)
        self._judging = threading.Lock()

    def for_target(self) -> str:
        """The plan to the newest valid commit, as JSON."""
        with self._slot():
            return self._answer(PlanRequest())

    def for_specs(self, body: bytes) -> str:
        """The plan to the specs in ``body``, as JSON."""
        with self._slot():
            return self._answer(PlanRequest(self._desired(body)))

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._requests.acquire(blocking=False):
            raise _unavailable(f"{REQUESTS_MAX} plans are being made already; ask again later")
        try:
            yield
        finally:
            self._requests.release()

    def _desired(self, body: bytes) -> Desired:
        try:
            specs = _Specs.model_validate_json(body)
        except ValidationError as err:
            first = err.errors()[0]
            where = ".".join(map(str, first["loc"][:1]))
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                f'not {{"files": {{"PATH": "TEXT", …}}}}: {where + ": " if where else ""}{first["msg"]}',
            ) from None
        if not self._judging.acquire(timeout=self._wait_s):
            raise _unavailable(f"other specs were being judged for {self._wait_s:g} s; ask again later")
        try:
            fleet = load({path: text.encode() for path, text in specs.files.items()})
            findings = self._judge(fleet)
            if findings:
                raise SpecError("these specs are not for this box", findings)
            return desire(fleet, self._box)
        except SpecError as err:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, err.message, err.findings) from None
        finally:
            self._judging.release()

    def _answer(self, request: PlanRequest) -> str:
        self._ask(request)
        try:
            return request.answer.result(self._wait_s).model_dump_json()
        except TimeoutError:
            request.answer.cancel()
            raise _unavailable(f"smartxd was busy for {self._wait_s:g} s; ask again later") from None
        except CancelledError:
            raise _unavailable("smartxd is ending") from None
        except SmartxError as err:
            raise _unavailable(err.line) from None


def _unavailable(why: str) -> Refused:
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, why)
